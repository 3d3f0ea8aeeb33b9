"""The search itself: rounds of successive halving over candidates, then the table with the front and the best.

It knows no model: `measure` gives an arm's figures on a span of rows. What has been measured is kept in a `Kept`, and a
search that was killed goes on from there to the same end, since nothing is drawn at random.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from composition.intervals import Interval
from composition.judging.figures import Figures, less
from composition.judging.front import Point, front
from composition.judging.halving import cost_of, schedule, survivors
from composition.judging.loss import INPUT
from composition.progress import Progress, ignore
from composition.recipes.judging import MergeSearchRecipe

Measure = Callable[[str, int, int], Figures]
"""(arm, begin, end) → its figures on rows begin to end of each task, in the search's order of rows."""


class Kept(Protocol):
    """What was measured of each arm; survives a kill where it is written to a disk."""

    def get(self, arm: str) -> Figures | None: ...

    def put(self, arm: str, figures: Figures) -> None: ...


@dataclass(slots=True)
class InMemory:
    """A `Kept` that is gone with its process."""

    arms: dict[str, Figures] = field(default_factory=dict)

    def get(self, arm: str) -> Figures | None:
        return self.arms.get(arm)

    def put(self, arm: str, figures: Figures) -> None:
        self.arms[arm] = figures


def search(
    ranks: Mapping[str, int],
    tasks: Sequence[int],
    recipe: MergeSearchRecipe,
    measure: Measure,
    *,
    beside: Sequence[str] = (),
    kept: Kept | None = None,
    called: Mapping[str, str] = MappingProxyType({}),
    progress: Progress = ignore,
) -> dict[str, Any]:
    """`ranks` is candidate → rank of its largest module, `tasks` the rows of each dataset, `beside` arms that are
    measured on the last rows to compare with: the base, the inputs, the mean. `called` is how progress calls an arm.

    {"rounds": rows by round, "best": candidate, "own": the mean of each task's best input, "arms": {arm: row}}; a row
    is {"quality", "kept": that by "own", "nll", "tasks": [{"share", "rows"}], "rounds", "made" (seconds)}, of
    candidates also "rank", and of those measured to the end "front" and "less": the best's share less theirs, {"value",
    "low", "high", "paired"}. RecipeError `budget` as `schedule`.
    """
    sizes = [list(ranks.values()).count(rank) for rank in dict.fromkeys(ranks.values())]
    planned = schedule(recipe, sizes, tasks)
    found = _Found(kept or InMemory(), measure, tasks, progress, cost_of(planned, sizes, tasks), called)
    found.total += len(beside) * sum(min(planned[-1], rows) for rows in tasks)
    left = list(ranks)
    rounds = dict.fromkeys(ranks, 0)
    for number, rows in enumerate(planned, 1):
        figures = {arm: found.up_to(arm, rows, f"Round {number} of {len(planned)}") for arm in left}
        rounds |= dict.fromkeys(left, number)
        if number < len(planned):
            left = survivors({arm: figures[arm].rank for arm in left}, {arm: ranks[arm] for arm in left})
    for arm in beside:
        found.up_to(arm, planned[-1], "To compare with")
    best = max(left, key=lambda arm: found.of(arm).rank)
    rows_of = {arm: _row(found.of(arm)) | {"rounds": rounds.get(arm, len(planned))} for arm in [*beside, *ranks]}
    on_front = front([Point(found.of(arm).quality, ranks[arm], found.of(arm).made) for arm in left])
    for arm, rank in ranks.items():
        rows_of[arm]["rank"] = rank
    for arm, is_on in zip(left, on_front, strict=True):
        rows_of[arm] |= {"front": is_on, "less": asdict(_less(found.of(best), found.of(arm)))}
    own = _own([found.of(arm) for arm in beside if arm.startswith(INPUT)])
    for row in rows_of.values():
        row["kept"] = row["quality"] / own if own else None
    return {"rounds": planned, "best": best, "own": own, "arms": rows_of}


def _own(inputs: Sequence[Figures]) -> float:
    """The mean over the tasks of what the best input has there."""
    tasks = list(zip(*(figures.tasks for figures in inputs), strict=True))
    return sum(max(task.share for task in here) for here in tasks) / len(tasks) if tasks else 0.0


def _less(best: Figures, other: Figures) -> Interval:
    return Interval(0.0, 0.0, 0.0, True) if best is other else less(best, other)


def _row(figures: Figures) -> dict[str, Any]:
    tasks = [{"share": task.share, "rows": task.rows} for task in figures.tasks]
    return {"quality": figures.quality, "nll": figures.nll, "tasks": tasks, "made": round(figures.made, 3)}


@dataclass(slots=True)
class _Found:
    """The arms' figures, measured where they are not known yet."""

    kept: Kept
    measure: Measure
    tasks: Sequence[int]
    progress: Progress
    total: int
    called: Mapping[str, str]
    done: int = 0
    seen: dict[str, Figures] = field(default_factory=dict)

    def up_to(self, arm: str, rows: int, said: str) -> Figures:
        """The arm on the first `rows` rows of each task, also where an earlier run had read more of them."""
        found = self.kept.get(arm)
        before = max((task.rows for task in found.tasks), default=0) if found else 0
        if found is None or before < min(rows, max(self.tasks)):
            new = self.measure(arm, before, rows)
            if found:
                pairs = zip(found.tasks, new.tasks, strict=True)
                new = Figures([task.with_more(more) for task, more in pairs], new.made)
            self.kept.put(arm, found := new)
        last = max((task.rows for task in self.seen[arm].tasks), default=0) if arm in self.seen else 0
        self.seen[arm] = found.first(rows)
        self.done += sum(min(rows, there) - min(last, there) for there in self.tasks)
        words = f"{said}: {self.called.get(arm, arm)}"
        self.progress(min(self.done / self.total, 1.0), words, quality=self.seen[arm].quality)
        return self.seen[arm]

    def of(self, arm: str) -> Figures:
        return self.seen[arm]
