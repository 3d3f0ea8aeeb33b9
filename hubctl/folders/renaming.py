"""A mended copy of weights whose tensors' names peft would skip: the steps come from the hub's refusal, in its facts.

The steps are told in `composition/formats/peft/renaming.py`, which makes them; here they are only carried out. The copy
is written to a temporary folder: the header anew, the tensors' bytes as they are. Nobody's own file is touched.
"""

import json
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubctl.errors import Refused

WEIGHTS = "adapter_model.safetensors"
MOST_HEADER = 512 << 20
SHOWN = 3
Step = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Renamed:
    """What a mended copy has anew: [old, new] for every tensor of `file` whose name changed, of `tensors`."""

    file: str
    tensors: int
    changes: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON form, with the first examples."""
        examples = [list(change) for change in self.changes[:SHOWN]]
        return {"file": self.file, "tensors": self.tensors, "renamed": len(self.changes), "examples": examples}

    def said(self) -> str:
        """A line with the counts, and one for each of the first examples."""
        lines = [
            f"renamed {len(self.changes)} of {self.tensors} tensors in a copy of {self.file}; the file here stays:"
        ]
        lines += [f"  {old} → {new}" for old, new in self.changes[:SHOWN]]
        return "\n".join(lines)


def new_name(name: str, steps: Sequence[Step]) -> str:
    """A tensor's name after all steps. Refused for a step that this client doesn't know."""
    for step in steps:
        if {"strip", "where"} == set(step):
            name = ".".join(_stripped(name.split("."), step["strip"], step["where"]))
        elif {"replace", "by"} == set(step):
            name = step["by"] + name[len(step["replace"]) :] if name.startswith(step["replace"]) else name
        elif {"insert"} == set(step):
            name = name if name.startswith(step["insert"]) else step["insert"] + name
        else:
            raise Refused(
                f"the hub names a step of renaming that this hubctl doesn't know: {dict(step)}. Update hubctl."
            )
    return name


def _stripped(parts: list[str], text: str, where: str) -> list[str]:
    if where == "start":
        begin = next((place for place, part in enumerate(parts) if part != text), len(parts))
        return parts[begin:]
    if where == "after_factor":
        before = ["", *parts]
        return [part for last, part in zip(before, parts, strict=False) if part != text or last[:5] != "lora_"]
    if where == "anywhere":
        return [part for part in parts if part != text]
    raise Refused(f"the hub names a place that this hubctl doesn't know: {where!r}. Update hubctl.")


@contextmanager
def mended(files: Mapping[str, Path], steps: Sequence[Step]) -> Iterator[tuple[dict[str, Path], Renamed]]:
    """`files` with a mended copy in place of the weights, as long as the block lasts, and what was renamed."""
    if WEIGHTS not in files:
        raise Refused(f"there is no {WEIGHTS} among the files to rename tensors in.")
    with tempfile.TemporaryDirectory(prefix="hubctl-") as folder:
        copy = Path(folder) / WEIGHTS
        renamed = write_renamed(files[WEIGHTS], copy, steps)
        yield {**files, WEIGHTS: copy}, renamed


def write_renamed(source: Path, copy: Path, steps: Sequence[Step]) -> Renamed:
    """Write `source`, a safetensors file, to `copy` with its tensors renamed; memory is that of the header."""
    with source.open("rb") as read, copy.open("wb") as write:
        header = _header(read, source)
        metadata = {name: value for name, value in header.items() if name == "__metadata__"}
        names = {name: new_name(name, steps) for name in header if name not in metadata}
        if len(set(names.values())) < len(names):
            raise Refused(f"{source}: two tensors would get one name. Save the adapter anew with peft.")
        text = json.dumps({**metadata, **{names[name]: header[name] for name in names}}, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        write.write(struct.pack("<Q", len(text)) + text)
        shutil.copyfileobj(read, write, 8 << 20)
    changes = tuple((old, new) for old, new in names.items() if old != new)
    return Renamed(WEIGHTS, len(names), changes)


def _header(read: Any, source: Path) -> dict[str, Any]:
    start = read.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else MOST_HEADER + 1
    try:
        if length > MOST_HEADER:
            raise ValueError
        header = json.loads(read.read(length))
        if not isinstance(header, dict):
            raise ValueError
    except ValueError:
        raise Refused(f"{source} is not a safetensors file.") from None
    return header
