"""What was measured, and the datasets to measure on."""

from collections.abc import Sequence

from django.db.models import Q

from composition.recipes import Recipe
from hub.access import Viewer, visible
from hub.models import BaseModel, Evaluation, Kind, Version
from hub.queries.repository import latest_versions, repositories

DATASET = ("dataset__repository__namespace",)
SAME_ROWS = ("limit", "max_new_tokens")


def evaluations(viewer: Viewer, version: Version) -> list[Evaluation]:
    """Measurements of a version on datasets this viewer sees, newest first."""
    found = Evaluation.objects.filter(version=version).filter(visible(viewer, prefix="dataset__repository__"))
    return list(found.select_related("dataset__repository__namespace", "base", "created_by").order_by("-pk"))


def measured_on(viewer: Viewer, measured: Sequence[Version], split: str) -> list[Version]:
    """The newest version of each dataset this viewer sees on whose split one of these was measured, by name."""
    found = Evaluation.objects.filter(version__in=[version.pk for version in measured], split=split)
    found = found.filter(visible(viewer, prefix="dataset__repository__"))
    rows = {row.dataset.repository_id: row.dataset.repository for row in found.select_related(*DATASET)}
    newest = latest_versions(list(rows.values()))
    return sorted(newest.values(), key=str)


def kept_evaluation(version: Version | None, base: BaseModel, dataset: Version, recipe: Recipe) -> Evaluation | None:
    """The newest evaluation that is what this recipe, an evaluation's, would measure, with its hits by row."""
    wanted = recipe.to_dict()
    found = Evaluation.objects.filter(version=version, base=base, dataset_digest=dataset.content_digest)
    shares = set(wanted["metrics"]) - {"nll"}
    for row in found.filter(split=wanted["split"]).order_by("-pk")[:20]:
        same = all(row.recipe.get(name) == wanted[name] for name in SAME_ROWS)
        if same and set(wanted["metrics"]) <= row.metrics.keys() and shares <= row.hits.keys():
            return row
    return None


def newest_datasets(viewer: Viewer, most: int = 100) -> list[Version]:
    """The newest versions of the datasets this viewer sees, the last changed first."""
    found = list(repositories(viewer, kind=Kind.DATASET)[:most])
    newest = latest_versions(found)
    return [newest[row.pk] for row in found if row.pk in newest]


def compare(viewer: Viewer, compared: Sequence[Version], *, dataset: Version | None = None) -> dict:
    """A table of the newest evaluation of each version, and of their bare bases, on each dataset one was measured on.

    {"columns": [name, …], "rows": [{"dataset", "split", "metrics": {column: {metric: value}}}]}, bare bases first.
    """
    bases = {version.base_id: version.base for version in compared if version.base_id}
    of_bases = Q(version=None, base__in=bases)
    found = Evaluation.objects.filter(of_bases | Q(version__in=[v.pk for v in compared]))
    found = found.filter(visible(viewer, prefix="dataset__repository__"))
    if dataset:
        found = found.filter(dataset=dataset)
    names = {version.pk: str(version) for version in compared}
    columns = [base.name for base in bases.values()] + list(names.values())
    rows: dict[tuple, dict] = {}
    for row in found.select_related("dataset__repository__namespace", "base").order_by("pk"):
        label = str(row.dataset)
        line = rows.setdefault((label, row.split), {"dataset": label, "split": row.split, "metrics": {}})
        column = names[row.version_id] if row.version_id else row.base.name
        line["metrics"][column] = {**row.metrics, "rows": row.rows}
    told = [key for key in sorted(rows) if rows[key]["metrics"].keys() & names.values()]
    return {"columns": columns, "rows": [rows[key] for key in told]}
