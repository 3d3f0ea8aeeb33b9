"""A base as model_info gives it."""

from collections.abc import Callable, Collection

from hub.hf.base_places import BasePlace, Edition
from hub.hf.shapes.moments import moment
from hub.hf.shapes.repositories import sibling
from hub.models import BaseModel
from hub.services.content.manifest import Manifest
from hub.services.content.pointers import git_files

LIBRARY = "transformers"


def shown(place: BasePlace, edition: Edition, wanted: Collection[str], *, blobs: bool) -> dict:
    """Its id and these properties; those that bases have not are none."""
    said = {"_id": f"{edition.base.pk:024x}", "id": place.id}
    files = _siblings(edition.manifest, blobs) if "siblings" in wanted else []
    return said | {key: files if key == "siblings" else _property(key, place, edition) for key in wanted}


def _property(key: str, place: BasePlace, edition: Edition) -> object:
    return PROPERTIES[key](place, edition) if key in PROPERTIES else None


def _siblings(manifest: Manifest, blobs: bool) -> list[dict]:
    if not blobs:
        return [{"rfilename": path} for path in manifest]
    return [sibling(file) for file in git_files(manifest).values()]


def _tags(base: BaseModel) -> list[str]:
    found = [LIBRARY, str(base.config.get("model_type") or "")]
    found += [f"license:{base.license}"] if base.license else []
    parent = base.derived_from
    found += [f"base_model:{parent.name}", f"base_model:{base.relation}:{parent.name}"] if parent else []
    return [tag for tag in found if tag]


def _config(base: BaseModel) -> dict:
    return {key: base.config[key] for key in ("architectures", "model_type") if key in base.config}


def _parents(base: BaseModel) -> dict | None:
    if base.derived_from is None:
        return None
    parent = base.derived_from
    return {"relation": base.relation, "models": [{"_id": f"{parent.pk:024x}", "id": parent.name}]}


def _size(edition: Edition) -> int:
    return sum(entry.size for entry in set(edition.manifest.values()))


PROPERTIES: dict[str, Callable[[BasePlace, Edition], object]] = {
    "author": lambda place, edition: place.id.partition("/")[0],
    "baseModels": lambda place, edition: _parents(edition.base),
    "cardData": lambda place, edition: {"license": edition.base.license} if edition.base.license else {},
    "config": lambda place, edition: _config(edition.base),
    "createdAt": lambda place, edition: moment(edition.base.created_at),
    "disabled": lambda place, edition: False,
    "downloads": lambda place, edition: 0,
    "downloadsAllTime": lambda place, edition: 0,
    "gated": lambda place, edition: False,
    "lastModified": lambda place, edition: moment(edition.created_at),
    "library_name": lambda place, edition: LIBRARY,
    "likes": lambda place, edition: 0,
    "modelId": lambda place, edition: place.id,
    "private": lambda place, edition: False,
    "sha": lambda place, edition: edition.oid,
    "spaces": lambda place, edition: [],
    "tags": lambda place, edition: _tags(edition.base),
    "trendingScore": lambda place, edition: 0,
    "usedStorage": lambda place, edition: _size(edition),
}
