"""A comparison of merges as pages show it: sentences, what to try first, a row a method, two drawings."""

from composition.registry import METHODS
from hub import queries
from hub.access import Viewer
from hub.http.job_serializers import show_whole
from hub.models import Job, Version
from hub.web.charts import comparison as charts

TEMPLATE = "merge/comparison.html"
"""Kinds of jobs whose answer is shown here name it as their `answer_page`."""
PAIRS = 40
PAIRED = ("cosines", "row_angle", "row_chance", "column_angle", "column_chance", "sign_conflict", "sign_error")


def build(report: dict | None) -> dict | None:
    """For templates/merge/comparison.html; None where there is no answer (any more)."""
    if not report:
        return None
    judged = [row for row in report["methods"] if "reason" not in row]
    return {
        "report": report,
        "advice": _advice(report),
        "rows": [row | _kept(row) for row in judged],
        "left_out": [row for row in report["methods"] if "reason" in row],
        "partly": report["judged"] < report["modules"],
        "adapters": list(zip(report["adapters"], report["pairs"]["cosines"], strict=True)),
        "pairs": _pairs(report),
        "spectrum": charts.spectrum(report),
        "conflicts": charts.conflicts(report),
    }


def latest(viewer: Viewer, versions: list[Version]) -> dict | None:
    """The viewer's newest comparison of just these adapters, in this order; None where there is none."""
    job = queries.newest_answer(viewer, "compare", versions) if viewer.user and len(versions) > 1 else None
    return build(answer(viewer, job)) if job else None


def answer(viewer: Viewer, job: Job) -> dict | None:
    """What the job answered, as this viewer may see it."""
    return show_whole(viewer, job)["outcome"]


def _advice(report: dict) -> list[dict]:
    """What to try first, without and with a little text, each method once."""
    found = {}
    for word, said in (("without_text", "Try first"), ("with_text", "With a little text")):
        given = report["recommended"][word]
        if given["kind"] in METHODS:
            found.setdefault(given["kind"], {"said": said, "label": METHODS[given["kind"]].label, **given})
    return list(found.values())


def _pairs(report: dict) -> list[dict]:
    """Two adapters a row, those whose updates are most alike or opposed first; figures that a report lacks are None."""
    matrices, names = report["pairs"], [adapter["name"] for adapter in report["adapters"]]
    places = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    rows = [
        {"names": (names[i], names[j])} | {name: matrices[name][i][j] if name in matrices else None for name in PAIRED}
        for i, j in places
    ]
    return sorted(rows, key=lambda row: -abs(row["cosines"] or 0))[:PAIRS]


def _kept(row: dict) -> dict:
    known = [share for share in row["kept_inputs"] if share is not None]
    return {"least": min(known, default=None), "most": max(known, default=None)}
