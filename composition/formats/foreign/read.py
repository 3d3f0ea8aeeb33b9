"""Reads a foreign folder on this machine: made into PEFT's files in a temporary folder, and read from there."""

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composition.formats.foreign.plan import Base
from composition.formats.foreign.rows import MODULES
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE
from composition.formats.peft.read import read as read_peft
from composition.formats.sources import LocalFile

if TYPE_CHECKING:
    from composition.base_shapes import BaseShapes
    from composition.factors import LoraWeights


def read(name: str, folder: Path, base: "BaseShapes | None" = None) -> "LoraWeights":
    """The adapter of the format `name` in `folder`.

    Raises `import.*`; `import.needs_base` where names or rows depend on a base, and none was given.
    """
    files = {entry.name: LocalFile(entry) for entry in sorted(folder.iterdir()) if entry.is_file()}
    plan = MODULES[name].plan(files, Base.of(base))
    with tempfile.TemporaryDirectory(prefix="imported-") as place:
        made = Path(place) / folder.name
        made.mkdir()
        (made / CONFIG_FILE).write_bytes(plan.config())
        with (made / WEIGHTS_FILE).open("wb") as out:
            out.writelines(plan.weights(files))
        return read_peft(made, base)  # mapped, so it outlives its name


def __getattr__(name: str) -> Any:
    if name.startswith("read_") and name.removeprefix("read_") in MODULES:
        return partial(read, name.removeprefix("read_"))
    raise AttributeError(name)
