"""What was measured, and the datasets to measure on."""

from collections.abc import Callable, Sequence

from django.db.models import Prefetch, Q

from composition.judging.loss import BASE, INPUT, MEAN, MERGED
from composition.recipes import MeasureMergeRecipe, Recipe
from hub.access import Viewer, open_to, visible
from hub.models import ADAPTER, BaseModel, Evaluation, Job, JobInput, Kind, State, Version, heavy
from hub.models import DATASET as DATASET_ROLE
from hub.queries.finding.listing import repositories
from hub.queries.repository import latest_versions, seen

DATASET = ("dataset__repository__namespace",)
SAME_ROWS = ("limit", "max_new_tokens")


def evaluations(viewer: Viewer, version: Version) -> list[Evaluation]:
    """Measurements of a version on datasets this viewer sees, newest first."""
    found = Evaluation.objects.filter(version=version).filter(visible(viewer, prefix="dataset__repository__"))
    found = found.select_related("dataset__repository__namespace", "base", "created_by")
    return list(found.defer(*heavy("dataset__", "base__")).order_by("-pk"))


def measured_on(viewer: Viewer, measured: Sequence[Version], split: str) -> list[Version]:
    """The newest version of each dataset on whose split one of these was measured, by name: of those that this viewer
    sees, and whose files they may have."""
    found = Evaluation.objects.filter(version__in=[version.pk for version in measured], split=split)
    found = found.filter(visible(viewer, prefix="dataset__repository__"), open_to(viewer, "dataset__repository__"))
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


def loss_of(viewer: Viewer, version: Version) -> dict | None:
    """What a merge lost, as `loss_table`, by the newest measurement whose inputs and datasets this viewer all sees."""
    measured = Job.objects.filter(kind=MeasureMergeRecipe.kind, state=State.DONE, outcome__isnull=False)
    measured = measured.filter(inputs__version=version, inputs__role=ADAPTER, inputs__position=0)
    inputs = JobInput.objects.select_related("version__repository__namespace").defer(*heavy("version__"))
    measured = measured.select_related("base").defer(*heavy(base="base__"))
    for job in measured.prefetch_related(Prefetch("inputs", inputs)).order_by("-pk")[:20]:
        needed = {row.version.repository_id for row in job.inputs.all()}
        if needed == set(seen(viewer, list(needed))):
            return loss_table(job, str)
    return None


def loss_table(job: Job, name: Callable[[Version], str]) -> dict:
    """The answer of a measured merge with names: {"job", "state", "sentence", "less", "arms", "tasks"}.

    An arm is {"arm", "name", "mean"}, a task {"dataset", "split", "rows", "best", "less", "shares", "kept", "nll"}, the
    last three by arm.
    """
    found, rows = job.outcome["loss"], list(job.inputs.all())
    merged, *inputs = sorted((row for row in rows if row.role == ADAPTER), key=lambda row: row.position)
    datasets = sorted((row for row in rows if row.role == DATASET_ROLE), key=lambda row: row.position)
    names = {BASE: job.base.name} | {f"{INPUT}{n}": name(row.version) for n, row in enumerate(inputs)}
    names |= {MEAN: "exact mean", MERGED: name(merged.version)}
    there = {arm for task in found["tasks"] for arm in (*task["shares"], *task["nll"])}
    tasks = [
        {**task, "dataset": name(row.version), "split": job.recipe["split"]}
        for task, row in zip(found["tasks"], datasets, strict=True)
    ]
    arms = [{"arm": arm, "name": names[arm], "mean": found["means"].get(arm)} for arm in names if arm in there]
    return {"job": job.pk, **{key: found[key] for key in ("state", "sentence", "less")}, "arms": arms, "tasks": tasks}


def newest_datasets(viewer: Viewer, most: int = 100) -> list[Version]:
    """The newest versions of the datasets this viewer sees, the last changed first."""
    found = list(repositories(viewer, kind=Kind.DATASET)[:most])
    newest = latest_versions(found, whole=True)
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
    found = found.select_related("dataset__repository__namespace", "base").defer(*heavy("dataset__", "base__"))
    for row in found.order_by("pk"):
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
