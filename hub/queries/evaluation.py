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


def newest_measured(viewer: Viewer, compared: Sequence[Version], *, dataset: Version | None = None) -> dict:
    """The newest evaluation of each version, and of their bare bases, on each split that one of them was measured on.

    {"columns": [name, …], "rows": {(dataset, split): {column: Evaluation}}}, bare bases first.
    """
    bases = {version.base_id: version.base for version in compared if version.base_id}
    of_bases = Q(version=None, base__in=bases)
    found = Evaluation.objects.filter(of_bases | Q(version__in=[v.pk for v in compared]))
    found = found.filter(visible(viewer, prefix="dataset__repository__"))
    if dataset:
        found = found.filter(dataset=dataset)
    names = {version.pk: str(version) for version in compared}
    rows: dict[tuple[str, str], dict[str, Evaluation]] = {}
    for row in found.select_related("dataset__repository__namespace", "base").order_by("pk"):
        line = rows.setdefault((str(row.dataset), row.split), {})
        line[names[row.version_id] if row.version_id else row.base.name] = row
    told = [key for key in sorted(rows) if rows[key].keys() & names.values()]
    columns = [base.name for base in bases.values()] + list(names.values())
    return {"columns": columns, "rows": {key: rows[key] for key in told}}


def compare(viewer: Viewer, compared: Sequence[Version], *, dataset: Version | None = None) -> dict:
    """The same as plain figures.

    {"columns": [name, …], "rows": [{"dataset", "split", "metrics": {column: {metric: value}}}]}, bare bases first.
    """
    found = newest_measured(viewer, compared, dataset=dataset)
    rows = [
        {
            "dataset": label,
            "split": split,
            "metrics": {column: {**one.metrics, "rows": one.rows} for column, one in line.items()},
        }
        for (label, split), line in found["rows"].items()
    ]
    return {"columns": found["columns"], "rows": rows}
