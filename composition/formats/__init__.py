"""Adapters, generators and datasets on disk: a sub-package for each format, and one table of their rows.

`table` says what a row is. Importing this loads no torch.
"""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from composition.errors import CompositionError
from composition.formats.sources import LocalFile
from composition.formats.table import ADAPTER, FORMATS

if TYPE_CHECKING:
    from composition.base_shapes import BaseShapes
    from composition.factors import LoraWeights

__all__ = ["FORMATS", "read_adapter"]


def read_adapter(folder: str | PathLike[str], *, base: "BaseShapes | None" = None) -> "LoraWeights":
    """The adapter in a folder, of any known format, its weights read when asked for.

    With a `base` (`module_shapes`), modules have the base's present names also where the files have those of an older
    release, so that both can be merged.
    Raises CompositionError `adapter.*` or `config.*`, saying what was found, what was expected and what to do.
    """
    path = Path(folder)
    if not path.is_dir():
        raise CompositionError(
            "adapter.no_folder", f"There is no folder {path}. Give the folder that holds the adapter."
        )
    files = {entry.name: LocalFile(entry) for entry in sorted(path.iterdir()) if entry.is_file()}
    readable = [row for row in FORMATS.holding(ADAPTER) if row.read]
    for row in readable:
        if row.detect(files):
            return row.reader()(path, base) if row.by_base else row.reader()(path)
    found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
    raise CompositionError(
        "adapter.unknown_format",
        f"{path.name} holds {found}, which is not a known adapter format ({', '.join(row.label for row in readable)}). "
        f"Give a folder with {' and '.join(readable[-1].files)}.",
    )
