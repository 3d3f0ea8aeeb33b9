"""What is known of one arm, an adapter or the bare base, on some datasets: right or wrong by row, and likelihoods.

Datasets are tasks, known by their place. Arms are compared on the same rows only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from composition.intervals import Interval, mean_of, paired_difference


@dataclass(slots=True)
class Task:
    """One arm on one dataset, row by row: a digit, "0110…"; −log p (nats) and tokens of the completion.

    `hits` is empty where the metric that counts rows was not measured, the others where likelihoods were not.
    """

    hits: str = ""
    losses: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.hits)

    @property
    def share(self) -> float:
        """The share of rows that are right; 0 of none."""
        return self.hits.count("1") / len(self.hits) if self.hits else 0.0

    @property
    def nll(self) -> float:
        """Negative log-likelihood a token, nats; 0 where none was measured."""
        return sum(self.losses) / sum(self.tokens) if any(self.tokens) else 0.0

    def first(self, rows: int) -> "Task":
        """The same arm on the first rows alone."""
        return Task(self.hits[:rows], self.losses[:rows], self.tokens[:rows])

    def with_more(self, more: "Task") -> "Task":
        """The same arm with the rows that follow."""
        return Task(self.hits + more.hits, self.losses + more.losses, self.tokens + more.tokens)


@dataclass(slots=True)
class Figures:
    """One arm on every task, and the seconds that it took to make the arm."""

    tasks: list[Task] = field(default_factory=list)
    made: float = 0.0

    @property
    def quality(self) -> float:
        """The mean of the tasks' shares."""
        return sum(task.share for task in self.tasks) / len(self.tasks) if self.tasks else 0.0

    @property
    def nll(self) -> float:
        """The mean of the tasks' likelihoods."""
        return sum(task.nll for task in self.tasks) / len(self.tasks) if self.tasks else 0.0

    @property
    def rank(self) -> tuple[float, float]:
        """What arms are put in order by, the best largest: the share, then the likelihood."""
        return self.quality, -self.nll

    def first(self, rows: int) -> "Figures":
        """The same arm on the first rows of each task alone."""
        return Figures([task.first(rows) for task in self.tasks], self.made)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"made": self.made, "tasks": [asdict(task) for task in self.tasks]}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Figures":
        """The inverse of `to_dict`."""
        return cls([Task(**task) for task in data["tasks"]], data["made"])


def less(one: Figures, other: Figures) -> Interval:
    """The mean over the tasks of one arm's share less the other's, paired by rows, on those both were measured on."""
    return mean_of([task_less(mine, theirs) for mine, theirs in zip(one.tasks, other.tasks, strict=True)])


def task_less(one: Task, other: Task) -> Interval:
    """The same on one task."""
    rows = min(one.rows, other.rows)
    return paired_difference(digits(one.hits[:rows]), digits(other.hits[:rows]))


def digits(hits: str) -> Sequence[int]:
    """0 or 1 by row."""
    return [int(digit) for digit in hits]
