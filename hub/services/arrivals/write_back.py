"""Has the disk begin on a file's bytes while more of them come, so that the sync in the end finds little left to do.

This is a hint: what counts as kept is what `fsync` has returned for. Linux alone has the call (sync_file_range(2)).
"""

import ctypes
import sys
from collections.abc import Callable

STEP = 8 << 20
_WRITE = 2  # SYNC_FILE_RANGE_WRITE: begin, and don't wait


def begin(file: int, at: int, end: int) -> None:
    """Begin to write the steps of `STEP` bytes that end in (at, end], of which all bytes are there."""
    first, last = at // STEP * STEP, end // STEP * STEP
    if _call is not None and first < last:
        _call(file, first, last - first, _WRITE)


def _found() -> Callable[[int, int, int, int], int] | None:
    call = getattr(ctypes.CDLL(None), "sync_file_range", None) if sys.platform == "linux" else None
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return call


_call = _found()
