"""The one piece of code that an adapter may carry: the loader of mixtures, byte for byte one that this hub knows."""

import hashlib
from functools import cache
from pathlib import Path

from composition.errors import CompositionError
from composition.formats.mixture.config import LOADER_FILE
from composition.formats.sources import FileSource

LOADER = Path(__file__).resolve().parents[2] / "moe" / LOADER_FILE
EARLIER_LOADERS = frozenset({"92036bc1c554e4e0f9583b3109ed7e4f83a14298aff7545e839f5932b38bd891"})
"""SHA-256 of loaders that earlier releases put into assemblies."""
MAX_LOADER = 1 << 20


def check_loader(path: str, source: FileSource) -> None:
    """Refuse a file that has the loader's name but is not the loader: `content.code`."""
    if path != LOADER_FILE:
        return
    with source.open() as stream:
        digest = hashlib.sha256(stream.read(MAX_LOADER + 1)).hexdigest()
    if source.size > MAX_LOADER or (digest != _own_loader() and digest not in EARLIER_LOADERS):
        raise CompositionError(
            "content.code",
            f"{path} is program code, but not the loader of assemblies that this hub knows. "
            "Leave it out, or replace it with the hub's own.",
            file=path,
        )


@cache
def _own_loader() -> str:
    return hashlib.sha256(LOADER.read_bytes()).hexdigest()
