"""Adapter formats: one file a format, each with `detect(folder)` and `read(folder)`. Importing this loads no torch."""

from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from composition.errors import CompositionError

if TYPE_CHECKING:
    from composition.weights import LoraWeights

FORMATS = {"PEFT LoRA": "composition.formats.peft.read"}


def read_adapter(folder: str | PathLike[str]) -> "LoraWeights":
    """The adapter in a folder, of any known format, its weights read when asked for.

    Raises CompositionError `adapter.*` or `config.*`, saying what was found, what was expected and what to do.
    """
    path = Path(folder)
    if not path.is_dir():
        raise CompositionError(
            "adapter.no_folder", f"There is no folder {path}. Give the folder that holds the adapter."
        )
    for module in FORMATS.values():
        reader = import_module(module)
        if reader.detect(path):
            return reader.read(path)
    found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
    raise CompositionError(
        "adapter.unknown_format",
        f"{path.name} holds {found}, which is no known adapter format ({', '.join(FORMATS)}). "
        "Give a folder with adapter_config.json and adapter_model.safetensors.",
    )
