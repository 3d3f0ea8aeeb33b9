"""What was measured of each arm, in a folder of the worker's cache: a job that was killed goes on from there."""

import json
import os
from pathlib import Path
from typing import Any

from composition.judging.figures import Figures


class Store:
    """A JSON file an arm, each written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, arm: str) -> Any:
        """What was kept of the arm, None where nothing was."""
        path = self._path(arm)
        return json.loads(path.read_text()) if path.exists() else None

    def write(self, arm: str, value: Any) -> None:
        """Keep it in place of what was there."""
        part = self._path(arm).with_suffix(".part")
        part.write_text(json.dumps(value))
        os.replace(part, self._path(arm))

    def _path(self, arm: str) -> Path:
        return self.folder / f"{arm}.json"


class FiguresOnDisk(Store):
    """The arms' figures, as `composition.judging.search.Kept` has them."""

    def get(self, arm: str) -> Figures | None:
        """The arm's figures, None where it has none yet."""
        found = self.read(arm)
        return None if found is None else Figures.of(found)

    def put(self, arm: str, figures: Figures) -> None:
        """Keep them."""
        self.write(arm, figures.to_dict())
