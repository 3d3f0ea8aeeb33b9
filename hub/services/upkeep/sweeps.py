"""Folders that every machine sweeps for itself, when it next writes there.

The schedule's tasks run on one machine at a time, and see that one's folders only. So whoever fills a folder that is of
its machine alone asks here whether it is time to remove what is old in it.
"""

import contextlib
import time
from pathlib import Path

SECONDS = 86_400
MARK = ".swept"


def is_time(folder: Path) -> bool:
    """True once a day for each folder that is there; the mark in it says when it was last."""
    mark = folder / MARK
    try:
        if time.time() - mark.stat().st_mtime < SECONDS:
            return False
    except FileNotFoundError:
        if not folder.is_dir():
            return False
    with contextlib.suppress(OSError):  # On a full disk it is swept all the same.
        mark.touch()
    return True
