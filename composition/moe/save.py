"""An assembly on disk: one PEFT adapter directory, written one tensor at a time, the same bytes every time.

    adapter_config.json         peft_type METEORA or SMORA, experts, ranks, scales, how tokens are routed
    adapter_model.safetensors   the stack: A, B as stored, gates (and SMoRA's bias) in float32
    router.json                 how the router was made: data, steps, losses, routing shares, held-out figures
    lora_moe_peft.py            the loader, byte for byte this project's own; the only code an assembly holds

The caller, who knows where the parts come from, writes the card.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from composition.errors import CompositionError
from composition.formats.mixture.config import LOADER_FILE, ROUTER_FILE
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE
from composition.formats.safetensors_writer import replace_file, safetensors_header, tensor_bytes
from composition.moe.assemble import Assembly

NUMBERS = re.compile(r"\[[\s\d.,eE+-]+\]")
LOADER = Path(__file__).with_name(LOADER_FILE)


def save_assembly(assembly: Assembly, folder: str | PathLike[str], *, draft: bool = False) -> None:
    """Write the directory. A draft, whose router routes at random, is refused unless `draft` says it is meant.

    Raises CompositionError `assembly.untrained`, and what making the tensors raises; the folder then lacks the config.
    """
    if assembly.draft and not draft:
        raise CompositionError(
            "assembly.untrained",
            "The router is not trained, so tokens would go to random experts. "
            "Train it, or assemble with train=prototype.",
        )
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    replace_file(path / WEIGHTS_FILE, _safetensors(assembly))
    replace_file(path / ROUTER_FILE, iter([_json(assembly.router or {"stage": assembly.config["trained"]})]))
    replace_file(path / LOADER_FILE, iter([LOADER.read_bytes()]))
    replace_file(path / CONFIG_FILE, iter([_json(assembly.config)]))


def loader_digest() -> str:
    """The SHA-256 of the one loader that an assembly may hold."""
    return hashlib.sha256(LOADER.read_bytes()).hexdigest()


def _safetensors(assembly: Assembly) -> Iterator[bytes]:
    """Wider dtypes first, so that every tensor lies at a multiple of its item's size."""
    order = sorted(assembly.entries.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    yield safetensors_header({key: (entry.dtype, entry.shape) for key, entry in order}, {})
    for key, entry in order:
        tensor = entry.load()
        if tuple(tensor.shape) != entry.shape:
            raise ValueError(f"{key} is {list(tensor.shape)}, announced as {list(entry.shape)}")
        yield tensor_bytes(tensor, entry.dtype, key)


def _json(data: dict[str, Any]) -> bytes:
    """Indented, but lists of numbers on one line: patterns have one for every module."""
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n").encode()
