"""Bases whose weights are in the hub's own store (`hubctl base push`): a worker fetches what a job needs.

HUB_BASE_CACHE has a folder for each set of files, named by their digests, at most HUB_BASE_CACHE_MB in all; the least
recently used go first, and what a job uses stays. The workers of a host share it, and so may hosts, by a shared
folder: whoever needs a base first fetches it, and turns a GGUF into dense weights, while the others wait for it. Files
on the disk of a store that is a folder of this machine are linked, which costs no room.
"""

from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path

from django.conf import settings
from django.db.models import Q, Sum

from hub import disk
from hub.errors import DiskFull
from hub.models import BaseFile, BaseModel
from hub.services.content.manifest import Entry
from workers.cache import Cache
from workers.weights.one_at_a_time import alone

MB = 1_000_000
CONFIG = "config.json"
DENSE, GGUF = ".safetensors", ".gguf"
# A folder that no job has used for so long may go; what a job uses is touched at every beat.
SECONDS_KEPT = 300.0
# What a GGUF's weights may grow to when they are dense: from four bits or so to 32.
GROWTH = 8


def fetchable(bases: Collection[int]) -> set[int]:
    """Of these bases' ids, those whose weights are in the hub's store and fit into this machine's budget."""
    rows = BaseFile.objects.filter(base__in=bases).values("base").order_by()
    rows = rows.annotate(
        size=Sum("blob__size"),
        dense=_sum(path__iendswith=DENSE),
        packed=_sum(path__iendswith=GGUF),
        config=_sum(path=CONFIG),
    )
    return {row["base"] for row in rows if _is_whole(row) and _grown(row) <= budget()}


def fetched(base: BaseModel, say: Callable[[str], None] = lambda message: None) -> Path | None:
    """The folder with the base's config, tokenizer and dense weights; None where the store has none that fit.

    DiskFull where the budget is used up by bases that are at work now.
    """
    if base.pk not in fetchable([base.pk]):
        return None
    rows = base.files.order_by("path").values_list("path", "blob", "blob__size")
    files = {path: Entry(sha256, size) for path, sha256, size in rows}
    packed = next((path for path in files if path.lower().endswith(GGUF)), None)
    if any(path.lower().endswith(DENSE) for path in files) or packed is None:
        return _folder(base, files, say)
    return _converted(base, files[packed], packed, say)


def touch() -> None:
    """Say that the bases that a job uses are in use. Another thread may do it."""
    _store().touch()


def let_go() -> None:
    """No job uses any of them now."""
    _store().let_go()


def budget() -> int:
    """Bytes that fetched bases may take on this machine; 0 is that none is fetched."""
    return settings.WORKER_BASE_CACHE_MB * MB


def _folder(base: BaseModel, files: dict[str, Entry], say: Callable[[str], None]) -> Path:
    store, key = _store(), Cache.key(files)
    with alone(store.root, str(base), say):
        if not (store.root / key).is_dir():
            size = sum(entry.size for entry in files.values())
            _make_room(store, size, key)
            say(f"Fetching {base} from the hub, {size / MB:,.0f} MB; this happens once a machine")
        return store.folder(files)


def _converted(base: BaseModel, entry: Entry, path: str, say: Callable[[str], None]) -> Path:
    """Dense weights of a GGUF in the store. The file itself isn't kept."""
    from composition.running.base_models import convert_gguf

    store, key = _store(), f"dense-{entry.sha256}"

    def fill(work: Path) -> None:
        fetch = work / "packed"
        store.fetch(entry, fetch / Path(path).name)
        say(f"Converting {Path(path).name}; this happens once a machine")
        made = convert_gguf(fetch / Path(path).name, work / "dense", base_id=base.name)
        for file in made.iterdir():
            file.rename(work / file.name)
        made.rmdir()
        (fetch / Path(path).name).unlink()
        fetch.rmdir()

    with alone(store.root, str(base), say):
        if not (store.root / key).is_dir():
            _make_room(store, entry.size * GROWTH, key)
            say(f"Fetching {base} from the hub, {entry.size / MB:,.0f} MB")
        return store.made(key, fill)


def _make_room(store: Cache, size: int, spare: str) -> None:
    """Let unused bases go until `size` bytes fit into the budget and on the disk. DiskFull where they don't."""
    store.make_room(size, spare={store.root / spare})
    there = store.size()
    if there + size > store.budget:
        raise DiskFull(
            f"A base of {size / MB:,.0f} MB doesn't fit beside those at work now: HUB_BASE_CACHE_MB is "
            f"{store.budget / MB:,.0f}, and {there / MB:,.0f} MB are used."
        )
    if reason := disk.low(store.root, size=size):
        raise DiskFull(reason)


def _store() -> Cache:
    return _cache(str(settings.WORKER_BASE_CACHE), budget())


@cache
def _cache(root: str, size: int) -> Cache:
    return Cache(root, size, keep_seconds=SECONDS_KEPT)


def _sum(**of: str) -> Sum:
    return Sum("blob__size", filter=Q(**of), default=0)


def _is_whole(row: dict) -> bool:
    return bool((row["dense"] and row["config"]) or row["packed"])


def _grown(row: dict) -> int:
    return row["size"] if row["dense"] else row["packed"] * GROWTH
