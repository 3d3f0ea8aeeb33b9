"""What was measured, and the datasets to measure on."""

from collections.abc import Sequence

from django.db.models import Q

from hub.access import Viewer, visible
from hub.models import Evaluation, Kind, Version
from hub.queries.repository import latest_versions, repositories


def evaluations(viewer: Viewer, version: Version) -> list[Evaluation]:
    """Measurements of a version on datasets this viewer sees, newest first."""
    found = Evaluation.objects.filter(version=version).filter(visible(viewer, prefix="dataset__repository__"))
    return list(found.select_related("dataset__repository__namespace", "base", "created_by").order_by("-pk"))


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
