"""PEFT adapters in several files, as some trainers cut them: joined into the one file that PEFT loads.

    adapter_model-00001-of-00002.safetensors …, adapter_model.safetensors.index.json

PEFT itself writes and reads one file. The config stays as it is; the tensors keep their names and bytes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from composition.formats.foreign.looks import header_of, json_object, top_weights
from composition.formats.foreign.parts import WIDTHS, Originals, Part, stored_tensors
from composition.formats.foreign.plan import Base, refuse
from composition.formats.peft.files import base_of as base_of
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE
from composition.formats.safetensors_header import write_header
from composition.formats.sources import Files, read_start

LABEL = "PEFT in several files"
INDEX = f"{WEIGHTS_FILE}.index.json"
_SHARD = re.compile(r"adapter_model-(\d+)-of-(\d+)\.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The plan of a joined adapter: the config as pushed, the tensors of all shards by name."""

    label: str
    originals: tuple[str, ...]
    given: bytes
    parts: dict[str, Part]
    warnings: tuple[str, ...] = ()

    def config(self) -> bytes:
        """The adapter_config.json, as it was pushed."""
        return self.given

    @property
    def size(self) -> int:
        """Bytes of the tensors."""
        return sum(_bytes(part) for part in self.parts.values())

    def weights(self, files: Files) -> Iterator[bytes]:
        """The bytes of adapter_model.safetensors, a tensor at a time."""
        yield write_header({name: (part.dtype, part.shape) for name, part in self.parts.items()}, {"format": "pt"})
        with Originals(files) as originals:
            for part in self.parts.values():
                yield originals.values(part).tobytes()


def detect(files: Files) -> bool:
    """PEFT's config, and shards instead of the one file of weights."""
    return CONFIG_FILE in files and WEIGHTS_FILE not in files and bool(_shards(files)) and _says_peft(files)


def _says_peft(files: Files) -> bool:
    return "peft_type" in json_object(files, CONFIG_FILE)


def _shards(files: Files) -> list[str]:
    return [path for path in top_weights(files) if _SHARD.fullmatch(path)]


def plan(files: Files, base: Base) -> Joined:
    """Raises `import.file_missing`, `.tensor_twice`, `.dtype`."""
    shards = _shards(files)
    totals = {match[2] for path in shards if (match := _SHARD.fullmatch(path))}
    numbers = {int(match[1]) for path in shards if (match := _SHARD.fullmatch(path))}
    total = int(next(iter(totals)))
    if len(totals) != 1 or numbers != set(range(1, total + 1)):
        refuse(
            "file_missing",
            LABEL,
            f"the names speak of {', '.join(sorted(totals))} files, and {len(shards)} are there",
            "Push all of them.",
            files=shards,
        )
    parts: dict[str, Part] = {}
    for path in shards:
        for name, stored in stored_tensors(header_of(files, path), path).items():
            if stored.dtype not in WIDTHS:
                refuse("dtype", LABEL, f"{name} is stored as {stored.dtype}", "Save it as float16.", tensors=[name])
            if name in parts:
                refuse(
                    "tensor_twice",
                    LABEL,
                    f"{name} is in {parts[name].stored.file} and in {path}",
                    "They are no parts of one adapter; push each as an adapter of its own.",
                    tensors=[name],
                )
            parts[name] = Part.of(stored)
    originals = (*shards, *({INDEX} & set(files)))
    given = read_start(files[CONFIG_FILE], files[CONFIG_FILE].size)
    return Joined(label=LABEL, originals=tuple(sorted(originals)), given=given, parts=dict(sorted(parts.items())))


def _bytes(part: Part) -> int:
    count = 1
    for extent in part.shape:
        count *= extent
    return count * WIDTHS[part.dtype]().itemsize
