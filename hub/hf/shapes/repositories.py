"""A repository as model_info, dataset_info and the lists give it: each property by itself, and only those asked for.

Whatever a list is long, the properties that it shows are looked up together, see `Sight`.
"""

from collections.abc import Callable, Collection, Sequence
from functools import cached_property

from hub import queries
from hub.access import Viewer
from hub.errors import HubError
from hub.hf.places import DATASETS, MODELS
from hub.hf.shapes.moments import moment
from hub.models import Gate, Repository, Revision, Version, Visibility
from hub.services.content.cards import Card, read_card
from hub.services.content.manifest import CARD, BlobSource, Entry, read_whole
from hub.services.content.pointers import GitFile, git_files

DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
EMPTY = Card()
SAID = ("parameters", "dtype", "base_model_name", "task_type")
"""Facts of a version that are shown of it."""


class Sight:
    """What one viewer is shown of some repositories: each look-up is made once for all of them, when it is needed.

    `at` gives the revision to show of one; else it is what `main` is at. `names` are ids that differ (`ns/name.v2`).
    """

    def __init__(
        self,
        viewer: Viewer,
        found: Sequence[Repository],
        *,
        at: dict[int, Revision | None] | None = None,
        names: dict[int, str] | None = None,
        blobs: bool = False,
    ) -> None:
        self.viewer, self.found, self.at, self.names, self.blobs = viewer, found, at, names or {}, blobs

    @cached_property
    def heads(self) -> dict[int, Revision | None]:
        return queries.heads(self.found) if self.at is None else self.at

    @cached_property
    def versions(self) -> dict[int, Version]:
        if self.at is not None:
            shown = {pk: revision.version for pk, revision in self.at.items() if revision and revision.version}
            if shown:
                return shown
        return queries.latest_versions(self.found, facts=SAID)

    @cached_property
    def manifests(self) -> dict[int, dict[str, tuple[str, int]]]:
        return queries.manifests([revision for revision in self.heads.values() if revision])

    @cached_property
    def storage(self) -> dict[int, int]:
        return queries.used_storage(self.found)

    @cached_property
    def children(self) -> dict[int, int]:
        return queries.children_counts(self.viewer, self.found)

    def files(self, row: Repository) -> dict[str, Entry]:
        """The files that are shown of it, by path."""
        revision = self.heads.get(row.pk)
        found = self.manifests[revision.pk] if revision else {}
        return {path: Entry(*entry) for path, entry in found.items()}

    def card(self, row: Repository) -> Card:
        """Its card; an empty one where there is none, or none that can be read."""
        entry = self.files(row).get(CARD)
        try:
            return read_card(read_whole(BlobSource(entry))) if entry else EMPTY
        except (HubError, OSError):
            return EMPTY

    def show(self, row: Repository, wanted: Collection[str]) -> dict:
        """Its id and these properties."""
        name = self.names.get(row.pk, row.full_name)
        said = {"_id": f"{row.pk:024x}", "id": name}
        return said | {key: PROPERTIES[key](self, row) for key in wanted}


def _siblings(sight: Sight, row: Repository) -> list[dict]:
    files = sight.files(row)
    if not sight.blobs:
        return [{"rfilename": path} for path in files]
    return [sibling(file) for file in git_files(files).values()]


def sibling(file: GitFile) -> dict:
    """A file as `blobs=true` shows it."""
    shown = {"rfilename": file.path, "size": file.size, "blobId": file.oid}
    if file.is_lfs:
        shown["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return shown


def _base_models(sight: Sight, row: Repository) -> dict | None:
    if row.base is None or not row.is_adapter:
        return None
    return {"relation": "adapter", "models": [{"_id": f"{row.base.pk:024x}", "id": row.base.name}]}


def _config(sight: Sight, row: Repository) -> dict:
    version = sight.versions.get(row.pk)
    if version is None or not row.peft_type:
        return {}
    named = row.base.name if row.base else version.facts.get("base_model_name")
    said = {"base_model_name_or_path": named, "task_type": version.facts.get("task_type")}
    return {"peft": {key: value for key, value in said.items() if value}}


def _safetensors(sight: Sight, row: Repository) -> dict | None:
    version = sight.versions.get(row.pk)
    total = version and version.facts.get("parameters")
    if not isinstance(total, int):
        return None
    dtype = str(version.facts.get("dtype") or "")
    return {"parameters": {DTYPES.get(dtype, dtype.upper() or "F32"): total}, "total": total}


def _pipeline(sight: Sight, row: Repository) -> str | None:
    return queries.card_word(row, "pipeline_tag") or None


def _library(sight: Sight, row: Repository) -> str | None:
    return queries.card_word(row, "library_name") or ("peft" if row.peft_type else None)


def _head(sight: Sight, row: Repository) -> str | None:
    revision = sight.heads.get(row.pk)
    return revision.oid if revision else None


def _nothing(sight: Sight, row: Repository) -> None:
    return None


Property = Callable[[Sight, Repository], object]
PROPERTIES: dict[str, Property] = {
    "author": lambda sight, row: row.namespace.name,
    "baseModels": _base_models,
    "cardData": lambda sight, row: sight.card(row).front,
    "childrenModelCount": lambda sight, row: sight.children.get(row.pk, 0),
    "config": _config,
    "createdAt": lambda sight, row: moment(row.created_at),
    "description": lambda sight, row: row.description,
    "disabled": lambda sight, row: False,
    "downloads": lambda sight, row: row.downloads,
    "downloadsAllTime": lambda sight, row: row.downloads,
    "gated": lambda sight, row: False if row.gate == Gate.OPEN else str(row.gate),
    "lastModified": lambda sight, row: moment(row.updated_at),
    "library_name": _library,
    "likes": lambda sight, row: 0,
    "mainSize": lambda sight, row: sum(entry.size for entry in sight.files(row).values()),
    "model-index": lambda sight, row: sight.card(row).front.get("model-index"),
    "modelId": lambda sight, row: sight.names.get(row.pk, row.full_name),
    "pipeline_tag": _pipeline,
    "private": lambda sight, row: row.visibility == Visibility.PRIVATE,
    "safetensors": _safetensors,
    "sha": _head,
    "siblings": _siblings,
    "spaces": lambda sight, row: [],
    "tags": lambda sight, row: queries.tags(row),
    "trendingScore": lambda sight, row: 0,
    "usedStorage": lambda sight, row: sight.storage.get(row.pk, 0),
}
# What this hub knows nothing of: asked for, they are answered as none.
UNKNOWN = {
    MODELS: "evalResults gguf inference inferenceProviderMapping mask_token resourceGroup transformersInfo widgetData "
    "xetEnabled",
    DATASETS: "citation paperswithcode_id resourceGroup xetEnabled",
}
PROPERTIES |= {key: _nothing for keys in UNKNOWN.values() for key in keys.split()}

BOTH = (
    "author cardData createdAt disabled downloads downloadsAllTime gated lastModified likes private sha siblings tags "
    "trendingScore usedStorage"
).split()
OF_MODELS = "baseModels childrenModelCount config library_name model-index pipeline_tag safetensors spaces".split()
EXPANDABLE = {
    MODELS: sorted([*BOTH, *OF_MODELS, *UNKNOWN[MODELS].split()]),
    DATASETS: sorted([*BOTH, "description", "mainSize", *UNKNOWN[DATASETS].split()]),
}
"""What `expand` may name."""
LISTED = {
    MODELS: "modelId likes private downloads tags pipeline_tag library_name createdAt gated".split(),
    DATASETS: "author disabled gated lastModified private sha description downloads likes tags createdAt".split(),
}
FULL = "author gated lastModified sha siblings".split()
ALONE = {
    MODELS: [*LISTED[MODELS], *FULL, "disabled", *OF_MODELS, "cardData", "usedStorage"],
    DATASETS: [*LISTED[DATASETS], "siblings", "cardData", "usedStorage"],
}
"""Of one repository, where nothing is named."""
