"""Jobs a viewer may watch, and how they ended."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Prefetch, Q, QuerySet

from composition.registry import methods_of
from hub import access
from hub.access import Viewer
from hub.models import (
    ADAPTER,
    FINAL,
    Job,
    JobInput,
    Kind,
    State,
    Version,
    Visibility,
)
from hub.queries.repository import seen

HIDDEN_INPUT = "private "
LOOKED_BACK = 20
HIDDEN_PLACE = re.compile(rf"{HIDDEN_INPUT}({'|'.join(Kind.values)}) [0-9]+(?![0-9])")

PRIVATE_TEXTS = frozenset({"examples", "kept_examples", "rejected_examples", "rows", "seeds", "classes", "task"})
"""Keys whose texts come from a job's private files, or were invented from them; numbers may stand there."""


def jobs(viewer: Viewer, state: str = "") -> QuerySet[Job]:
    """Jobs this viewer began, and those of namespaces they belong to, newest first."""
    access.require_user(viewer)
    found = Job.objects.filter(access.watchable(viewer))
    if state:
        found = found.filter(state=state)
    related = ("output_namespace", "output__namespace", "base", "created_by", "result__repository__namespace")
    measured = tuple(f"evaluation__{name}" for name in ("dataset__repository__namespace", "base", "created_by"))
    heavy = ("outcome", "base__config", "base__shapes", "result__facts", "result__report", "evaluation__base__shapes")
    versions = Version.objects.select_related("repository__namespace").defer("facts", "report")
    found = found.select_related(*related, *measured).defer(*heavy)
    return found.prefetch_related(Prefetch("inputs__version", versions), "files").order_by("-pk")


def input_words(rows: Iterable[JobInput]) -> list[tuple[JobInput, str]]:
    """A job's inputs, each with what it is called where it must not be named: "private adapter 2", by its place.

    Inputs count by the kind of their repository, in the order of their roles: adapters, datasets, generator, onto, …
    """
    counts: Counter[str] = Counter()
    words = []
    for row in sorted(rows, key=lambda row: (row.role, row.position)):
        kind = row.version.repository.kind
        counts[kind] += 1
        words.append((row, f"{HIDDEN_INPUT}{kind} {counts[kind]}"))
    return words


def named_inputs(text: str, names: Mapping[str, str]) -> str:
    """A text that a worker wrote, with the names of private inputs in their places, as far as `names` has them."""
    return HIDDEN_PLACE.sub(lambda found: names.get(found[0], found[0]), text) if HIDDEN_INPUT in text else text


def without_private(value: Any) -> Any:
    """A report, figures or an error's facts without texts of the job's private files."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key not in PRIVATE_TEXTS or isinstance(item, int | float)}
        return {key: without_private(item) for key, item in kept.items()}
    return [without_private(item) for item in value] if isinstance(value, list) else value


def report_of(viewer: Viewer, version: Version) -> dict | None:
    """What the version reports of how it was made, with the names of private inputs where the viewer sees them."""
    report = without_private(version.report)
    written = json.dumps(report)
    if version.job is None or HIDDEN_INPUT not in written:
        return report
    rows = list(version.job.inputs.select_related("version__repository__namespace"))
    # The experts of a mixture that was joined keep names of their own, from the jobs that made it.
    if any(row.version.is_mixture for row in rows):
        return report
    ids = seen(viewer, [row.version.repository_id for row in rows])
    names = {word: str(row.version) for row, word in input_words(rows) if row.version.repository_id in ids}
    return json.loads(named_inputs(written, names))


def private_relatives(job: Job) -> set[str]:
    """`ns/name` of the private repositories one step behind the job's inputs: what these were made from."""
    inputs = job.inputs.values("version")
    behind = Version.objects.filter(Q(offspring__child__in=inputs) | Q(pk__in=_read_for(inputs)))
    rows = behind.exclude(repository__visibility=Visibility.PUBLIC).select_related("repository__namespace")
    return {version.repository.path for version in rows.defer("facts", "report", "recipe")}


def _read_for(versions: QuerySet) -> QuerySet:
    """The inputs of the jobs that made these versions."""
    return JobInput.objects.filter(job__in=Version.objects.filter(pk__in=versions).values("job")).values("version")


def job_end(pk: int) -> dict | None:
    """State, attempt, error and message of a job that is over; None while it isn't."""
    row = Job.objects.filter(pk=pk).values("state", "attempt", "error", "message").first()
    return row if row is None or row["state"] in FINAL else None


def newest_answer(viewer: Viewer, verb: str, versions: Sequence[Version]) -> Job | None:
    """The viewer's own newest job of this verb that is done and had just these adapters, in this order."""
    kinds = [method.kind for method in methods_of(verb)]
    wanted = [version.pk for version in versions]
    own = access.require_user(viewer).jobs.filter(kind__in=kinds, state=State.DONE, inputs__version=wanted[0])
    rows = own.prefetch_related("inputs__version__repository__namespace").order_by("-pk")[:LOOKED_BACK]
    return next((job for job in rows if _adapters(job) == wanted), None)


def _adapters(job: Job) -> list[int]:
    rows = sorted((row for row in job.inputs.all() if row.role == ADAPTER), key=lambda row: row.position)
    return [row.version_id for row in rows]


def job_of_key(viewer: Viewer, key: str | None) -> Job | None:
    """The viewer's job that was asked for under this idempotency key."""
    return access.require_user(viewer).jobs.filter(idempotency_key=key).first() if key else None


def took(kind: str, queue: str, most: int = 25) -> list[tuple[float, float]]:
    """(expected, taken) seconds of the last jobs of this kind and queue that were done at the first attempt."""
    done = Job.objects.filter(kind=kind, queue=queue, state=State.DONE, expected_seconds__isnull=False)
    rows = done.order_by("-id").values_list("attempt", "expected_seconds", "started_at", "finished_at")[:most]
    return [
        (expected, (end - begin).total_seconds())
        for attempt, expected, begin, end in rows
        if attempt == 1 and begin and end
    ]
