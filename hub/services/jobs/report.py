"""The dry run: what a job would do, cost and run into, from header facts alone, before anything is queued."""

from collections.abc import Sequence
from math import exp, log
from statistics import median

from composition.errors import CompositionError
from hub import queries
from hub.access import Viewer
from hub.errors import HubError
from hub.licences import combined, conflicts
from hub.models import Repository, User, Visibility, sharing_names
from hub.names import worker_name
from hub.services.jobs.draft import Draft
from hub.services.jobs.kinds import kind_of
from hub.services.jobs.kinds.base import JobKind, misfit
from hub.services.jobs.output import resulting_visibility
from hub.services.jobs.prepare import examine
from hub.services.jobs.request import JobRequest
from hub.services.jobs.scheduling import able_workers, queue_of, waiting_sentence

A_MOMENT = 0.1
MOST_OFF = 100.0
# What is told where nothing more is known, or may be.
UNKNOWN = {
    **dict.fromkeys(("ranks", "rank", "bytes", "seconds", "memory", "licence")),
    **{name: [] for name in ("inputs", "licence_conflicts", "workers", "notes", "shortcuts")},
    "visibility": Visibility.PRIVATE,
    "waiting_for": "",
    "becomes": None,
}


def check_job(*, actor: User | Viewer, request: JobRequest) -> dict:
    """What `queue_job` with the same request would meet.

    {"ok", "problems": [{code, message, …}], "inputs": [{"name", "fits", "reason"}], "ranks": {module: r}, "rank",
    "bytes", "seconds", "memory", "licence", "licence_conflicts": [str], "visibility", "workers": [name],
    "waiting_for", "becomes": {"name", "new"}, "files": [{role, name, …facts}], "notes": [str],
    "shortcuts": [{kind, label, reason}]}; `seconds`,
    `memory` and `bytes` are estimates, null where there is a problem.
    """
    draft = examine(actor, request)
    kind = kind_of(request.kind)
    report = {
        "ok": not draft.problems,
        "problems": [as_dict(problem) for problem in draft.problems],
        "files": [{**file.facts, "role": file.role, "name": file.name} for file in draft.given],
        **UNKNOWN,
    }
    if draft.method and not draft.in_sight:
        return report
    report |= _rights(draft, kind) | (_outlook(draft, kind) if draft.method else {})
    report["inputs"] = _fits(draft, kind)
    report["becomes"] = _becomes(draft, kind)
    report["notes"] = kind.notes(draft, report["visibility"]) if draft.recipe else []
    if not report["ok"]:
        return report
    cost = kind.cost(draft)
    known = queries.took(request.kind, queue_of(draft.method))
    return report | cost | {"seconds": corrected(cost.get("seconds"), known)}


def corrected(seconds: float | None, known: Sequence[tuple[float, float]]) -> float | None:
    """What a kind's formula gives, times what jobs before took for what it gave them: the median of the ratios.

    `known` is (expected, taken) of each. Few jobs count for less, k of them by the power k / (k + 1), since one may
    have met a busy machine; a ratio is at most `MOST_OFF` either way.
    """
    ratios = [log(max(taken, A_MOMENT) / max(expected, A_MOMENT)) for expected, taken in known]
    if seconds is None or not ratios:
        return seconds
    bounded = [min(max(ratio, -log(MOST_OFF)), log(MOST_OFF)) for ratio in ratios]
    return round(seconds * exp(median(bounded) * len(ratios) / (len(ratios) + 1)), 1)


def as_dict(problem: HubError | CompositionError) -> dict:
    """A refusal as {code, message, …facts}."""
    if isinstance(problem, CompositionError):
        return problem.to_dict()
    return {"code": problem.code, "message": problem.message, **problem.facts}


def _becomes(draft: Draft, kind: JobKind) -> dict | None:
    """{"name": the version that the result would be, "new": whether its repository is new}; None where it has no place.

    Another result may come first, and one with the bytes of the newest version makes none.
    """
    if not kind.makes or draft.place is None:
        return None
    namespace, name = draft.place
    models = Repository.objects.filter(sharing_names(kind.makes), namespace=namespace, name__iexact=name)
    found = models.filter(deleted_at=None).first()
    last = found.versions.order_by("-number").values_list("number", flat=True).first() if found else None
    return {"name": f"{namespace.name}/{found.name if found else name}@v{(last or 0) + 1}", "new": found is None}


def _rights(draft: Draft, kind: JobKind) -> dict:
    """Licences of the parents and the result's visibility."""
    parents, asked = kind.parents(draft.request), kind.visibility(draft.request.visibility)
    licences = [(str(version), version.repository.license) for version in parents]
    return {
        "licence": combined([licence for _, licence in licences])[0],
        "licence_conflicts": conflicts(licences),
        "visibility": resulting_visibility(parents, asked if asked in Visibility.values else None),
    }


def _outlook(draft: Draft, kind: JobKind) -> dict:
    """Who could run it, what it would wait for, and whether there is a shorter way."""
    bases = kind.bases(draft.method, draft.request.adapters, draft.base)
    unknown = draft.method.needs.base_model and not bases
    return {
        "workers": [worker_name(worker.name) for worker in able_workers(draft.method, bases)],
        "waiting_for": "" if unknown else waiting_sentence(draft.method, bases),
        "shortcuts": kind.shorter_ways(draft.request),
    }


def _fits(draft: Draft, kind: JobKind) -> list[dict]:
    """Whether each adapter can stand beside the first, and why not."""
    adapters, method = draft.request.adapters, draft.method
    reasons = [misfit(kind, method, adapters[0], version, draft.recipe) if method else "" for version in adapters]
    return [
        {"name": str(version), "fits": not reason, "reason": reason}
        for version, reason in zip(adapters, reasons, strict=True)
    ]
