"""Where a base's weights are: a prepared folder, the Hugging Face cache, a GGUF file, or the hub's own store.

Folders are `<HUB_BASES>/<org>/<name>` (followed by `@revision` unless it is main). The source in a base's row comes
from a user: it may name a package, or a folder below the bases folder, never any other path. A folder of another name
than the base's own counts only where an administrator named it.
"""

import importlib.util
import os
import re
from collections.abc import Collection
from pathlib import Path

from django.conf import settings
from django.db.models import QuerySet

from composition.errors import CompositionError
from hub.models import BaseModel
from workers.weights import stored
from workers.weights.one_at_a_time import alone

PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def holds(base: BaseModel) -> bool:
    """True if this worker can find the weights, even if they must be converted first."""
    try:
        return any(find(base) is not None for find in (_folder, _gguf, _cached))
    except CompositionError:
        # The base's name can't be a folder's name: no worker holds it, and the other bases are still looked for.
        return False


def held_bases() -> list[int]:
    """Ids of the bases this worker can find, or fetch from the hub."""
    return sorted(_held(BaseModel.objects.all()))


def held_of(ids: Collection[int]) -> set[int]:
    """Those of these ids whose bases this worker can find, or fetch from the hub."""
    return _held(BaseModel.objects.filter(pk__in=ids)) if ids else set()


def _held(bases: QuerySet[BaseModel]) -> set[int]:
    rows = list(bases.only("pk", "name", "revision", "source", "source_by_admin"))
    here = {base.pk for base in rows if holds(base)}
    return here | stored.fetchable({base.pk for base in rows} - here)


def base_folder(base: BaseModel, say=lambda message: None) -> Path:
    """A folder with config, tokenizer and dense weights; a GGUF is converted once. Errors: `base.not_held`."""
    if found := _folder(base) or _cached(base):
        return found
    gguf = _gguf(base)
    if gguf is None and (found := stored.fetched(base, say)):
        return found
    if gguf is None:
        path = (base.source or {}).get("path")
        unnamed = path not in (None, base.folder) and not base.source_by_admin
        hint = f" Its source names {path!r}, which only an administrator may name." if unnamed else ""
        raise CompositionError(
            "base.not_held",
            f"This worker holds no weights of {base}. Put them in HUB_BASES/{base.folder} on its machine, or into the "
            f"hub: hubctl base push FOLDER {base}.{hint}",
            base=str(base),
        )
    from composition.running.base_models import convert_gguf

    with alone(bases_roots()[0], str(base), say):
        say(f"Converting {gguf.name}; this happens once a machine")
        return convert_gguf(gguf, _home(base, bases_roots()[0]), base_id=base.name)


def bases_roots() -> list[Path]:
    """The folders in which this machine keeps bases: HUB_BASES."""
    return [Path(root) for root in str(settings.WORKER_BASES).split(os.pathsep)]


def _home(base: BaseModel, root: Path) -> Path:
    parts = base.name.split("/")
    if not all(PART.fullmatch(part) for part in [*parts, base.revision]):
        raise CompositionError("base.name", f"{base} can't be used as a folder name. Name the base org/name.")
    last = parts[-1] if base.revision == "main" else f"{parts[-1]}@{base.revision}"
    return root.joinpath(*parts[:-1], last)


def _folder(base: BaseModel) -> Path | None:
    homes = [home for root in bases_roots() for home in (_home(base, root), _named(base, root)) if home]
    return next((h for h in homes if (h / "config.json").is_file() and any(h.glob("*.safetensors"))), None)


def _named(base: BaseModel, root: Path) -> Path | None:
    """The folder below the root that the base's row names, if it is there without leaving the root by a link."""
    source = base.source or {}
    path = source.get("path")
    if source.get("kind") != "folder" or not isinstance(path, str):
        return None
    if path != base.folder and not base.source_by_admin:
        return None
    folder = (root / path).resolve()
    return folder if folder.is_relative_to(root.resolve()) else None


def _gguf(base: BaseModel) -> Path | None:
    """`<bases>/org/name.gguf`, a GGUF in `<bases>/org/name`, or one that an installed package ships."""
    for root in bases_roots():
        home = _home(base, root)
        beside = home.with_name(home.name + ".gguf")
        for path in [beside, *sorted(home.glob("*.gguf"))]:
            if path.is_file():
                return path
    package = (base.source or {}).get("package")
    if (base.source or {}).get("kind") != "gguf" or not isinstance(package, str) or not PACKAGE.fullmatch(package):
        return None
    spec = importlib.util.find_spec(package.replace("-", "_").lower())
    for place in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(place).glob("*.gguf")):
            return path
    return None


def _cached(base: BaseModel) -> Path | None:
    """The snapshot in the Hugging Face cache, if its weights are there as safetensors."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(base.name, "config.json", revision=base.revision)
    except HFValidationError:
        return None
    if not isinstance(config, str):
        return None
    snapshot = Path(config).parent
    return snapshot if any(snapshot.glob("*.safetensors")) else None
