"""Whether a transfer lost something: source base and adapter, target base and the new adapter on the same rows.

Lossless means what the paper means by it: at least as good as the better of the old adapter and the bare target. The
interval is of that difference, paired by rows where each arm's were kept. An adapter trained on the target with real
data, where its owner names one, is the ceiling.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from composition.intervals import Interval, difference, in_percent, in_points, paired_difference, wilson
from hub.access import Viewer, visible
from hub.models import BaseModel, Evaluation, Version
from hub.queries.repository import seen

SHARES = ("exact_match", "choice")
SOURCE_BASE, SOURCE, TARGET, MOVED, ORACLE = "source base", "source adapter", "target base", "transferred", "oracle"
SAME_RECIPE = ("split", "limit", "max_new_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Who is measured: `version` None is the bare base."""

    role: str
    name: str
    version: Version | None
    base: BaseModel


def arms_of(viewer: Viewer, version: Version, oracle: Version | None = None) -> list[Arm]:
    """The arms this viewer may see, in the table's order; a hidden parent hides its base's arm too."""
    row = version.parentage.select_related("parent__repository__namespace", "parent__base").first()
    arms = []
    if row and seen(viewer, [row.parent.repository_id]):
        parent = row.parent
        arms.append(Arm(role=SOURCE_BASE, name=str(parent.base), version=None, base=parent.base))
        arms.append(Arm(role=SOURCE, name=str(parent), version=parent, base=parent.base))
    arms.append(Arm(role=TARGET, name=str(version.base), version=None, base=version.base))
    arms.append(Arm(role=MOVED, name=str(version), version=version, base=version.base))
    if oracle:
        arms.append(Arm(role=ORACLE, name=str(oracle), version=oracle, base=oracle.base))
    return arms


def verdict(viewer: Viewer, version: Version, *, dataset: Version | None = None, oracle: Version | None = None) -> dict:
    """{"state", "sentence", "dataset", "split", "metric", "arms", "differences", "missing", "datasets"}.

    `state`: unmeasured, lossless, better, open (a loss within chance) or lossy. An arm is {"role", "name", "metrics",
    "rows", "share": interval or None}; a difference is the transferred adapter minus an arm: {"role", "value", "low",
    "high", "paired"}. `missing` lists the roles not measured in the same way as the transferred adapter.
    """
    arms = arms_of(viewer, version, oracle)
    found = _measured(viewer, arms)
    key = _best_key(found, arms, dataset)
    told = {"dataset": None, "split": None, "metric": None, "arms": [], "differences": [], "missing": []}
    told["datasets"] = sorted({str(row.dataset) for row in found.values()})
    if key is None:
        sentence = "It has not been measured yet. Measure all arms on one dataset to learn whether it lost something."
        return {**told, "state": "unmeasured", "sentence": sentence, "missing": [arm.role for arm in arms]}
    here = {arm.role: found[arm.role, key] for arm in arms if (arm.role, key) in found}
    moved = here[MOVED]
    metric = next((name for name in SHARES if name in moved.metrics), None)
    told |= {"dataset": str(moved.dataset), "split": moved.split, "metric": metric}
    told["arms"] = [_arm(arm, here.get(arm.role), metric) for arm in arms]
    told["missing"] = [arm.role for arm in arms if arm.role not in here]
    against = {role: less(moved, row, metric) for role, row in here.items() if role != MOVED and metric}
    told["differences"] = [{"role": role, **asdict(gap)} for role, gap in against.items() if gap]
    return {**told, **_words(moved, here, against, metric)}


def _measured(viewer: Viewer, arms: Sequence[Arm]) -> dict[tuple, Evaluation]:
    """(role, what was measured) → the newest evaluation of it."""
    found = {}
    for arm in arms:
        rows = Evaluation.objects.filter(version=arm.version, base=arm.base)
        rows = rows.filter(visible(viewer, prefix="dataset__repository__"))
        for row in rows.select_related("dataset__repository__namespace").order_by("pk"):
            found[arm.role, _key(row)] = row
    return found


def _key(row: Evaluation) -> tuple:
    return (row.dataset_id, row.dataset_digest, row.rows, *(row.recipe.get(name) for name in SAME_RECIPE))


def _best_key(found: dict[tuple, Evaluation], arms: Sequence[Arm], dataset: Version | None) -> tuple | None:
    """What the transferred adapter was measured on: with a share, with the most arms, the newest."""
    mine = [key for role, key in found if role == MOVED and dataset in (None, found[role, key].dataset)]

    def rank(key: tuple) -> tuple:
        row = found[MOVED, key]
        return any(name in row.metrics for name in SHARES), sum((arm.role, key) in found for arm in arms), row.pk

    return max(mine, key=rank, default=None)


def _arm(arm: Arm, row: Evaluation | None, metric: str | None) -> dict:
    share = wilson(row.metrics[metric] * row.rows, row.rows) if row and metric in row.metrics else None
    return {
        "role": arm.role,
        "name": arm.name,
        "metrics": row.metrics if row else {},
        "rows": row.rows if row else None,
        "share": asdict(share) if share else None,
    }


def less(moved: Evaluation, other: Evaluation, metric: str) -> Interval | None:
    """Moved minus other, on one split, paired where both saw the same rows; None where the other has no such metric."""
    if metric not in other.metrics:
        return None
    mine, theirs = moved.hits.get(metric, ""), other.hits.get(metric, "")
    if mine and len(mine) == len(theirs):
        return paired_difference([int(digit) for digit in mine], [int(digit) for digit in theirs])
    return difference(moved.metrics[metric] * moved.rows, moved.rows, other.metrics[metric] * other.rows, other.rows)


def _words(moved: Evaluation, here: dict, against: dict, metric: str | None) -> dict:
    """{"state", "sentence"}."""
    needed = [role for role in (SOURCE, TARGET) if against.get(role) is None]
    if metric is None or needed:
        lacks = " and ".join(needed) if metric else "a metric that counts rows (exact_match or choice)"
        return {"state": "unmeasured", "sentence": f"To judge the transfer, measure {lacks} on the same rows."}
    best = max((SOURCE, TARGET), key=lambda role: here[role].metrics[metric])
    gap = against[best]
    points = f"{abs(100 * gap.value):.1f} points"
    bounds = f"95 % interval of the difference: {in_points(gap.low)} to {in_points(gap.high)} points, {moved.rows} rows"
    floor = f"the {best} ({in_percent(here[best].metrics[metric])}), the better of source adapter and target base"
    if gap.low > 0:
        state, said = "better", f"Lossless, and better: {points} above {floor}."
    elif gap.value >= 0:
        state, said = (
            "lossless",
            f"Lossless: {points if gap.value else 'level with'} {'above ' if gap.value else ''}{floor}.",
        )
    elif gap.high >= 0:
        state, said = "open", f"No proven loss: {points} below {floor}, which chance alone may explain."
    else:
        state, said = "lossy", f"It lost something: {points} below {floor}."
    sentence = f"{said} {in_percent(moved.metrics[metric])} right; {bounds}."
    if ORACLE in here and here[ORACLE].metrics.get(metric):
        share = moved.metrics[metric] / here[ORACLE].metrics[metric]
        sentence += f" That is {100 * share:.0f} % of the oracle's {in_percent(here[ORACLE].metrics[metric])}."
    return {"state": state, "sentence": sentence}
