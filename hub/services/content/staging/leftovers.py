"""What is left of uploads that nobody knows any more: folders of this machine, and objects in the bucket."""

import math
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from django.conf import settings

from hub.models import ChunkStore, StagedPart, Upload
from hub.services.content.staging.object_store import INCOMING, bucket
from hub.services.upkeep.batches import batched


def of_machine(before: datetime) -> Iterator[tuple[str, Callable[[], None]]]:
    """(name, how to remove it) of folders here of no known upload or chunk store that nobody touched since."""
    root = Path(settings.UPLOAD_FOLDER)
    paths = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    old = [path for path in paths if _touched(path) < before.timestamp()]
    rows = (Upload, ChunkStore) if old else ()
    known = {str(pk) for model in rows for pk in model.objects.values_list("pk", flat=True)}
    for path in old:
        if path.name not in known:
            yield path.name, partial(shutil.rmtree, path, ignore_errors=True)


def _touched(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # Removed in between.
        return math.inf


def of_bucket(before: datetime) -> Iterator[tuple[str, Callable[[], None]]]:
    """(name, how to remove it) of what was stored below `incoming/` before then and belongs to nothing known."""
    here = bucket()
    old = (name for name, stored in here.walk(f"{INCOMING}/") if stored < before)
    for some in batched(old):
        known = _known_names(some)
        for name in some:
            if name not in known:
                yield name, lambda name=name: here.delete([name])


def _known_names(names: Sequence[str]) -> set[str]:
    """Those whose row is there: a part's own, else that of the chunk store whose id the name has."""
    owners = {name: owner for name in names if (owner := _uuid(name))}
    parts = StagedPart.objects.filter(name__in=owners.values()).values_list("name", flat=True)
    stores = ChunkStore.objects.filter(pk__in=owners.values()).values_list("pk", flat=True)
    known = {*parts, *stores}
    return {name for name, owner in owners.items() if owner in known}


def _uuid(name: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(name.split("/")[2])
    except (IndexError, ValueError):
        return None
