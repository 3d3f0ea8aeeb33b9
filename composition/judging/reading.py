"""Which rows a search of merges is judged on, and which rows its merges may read: never one row for both.

Text is taken from datasets that are given for it, or else from the tasks themselves, where there is one for each
adapter: from a split that none is judged on, or from a share of the rows of the split that is. A split called test is
never read, unless it is what the task is judged on: later figures are reported on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from composition.errors import RecipeError
from composition.formats.dataset.files import COMPLETION, TEXT
from composition.recipes.judging import LEAST_ROWS, MergeSearchRecipe

MOST_SHARE = 3
"""At most one of so many rows of a split is read where the others are judged on."""
USUAL_TEXT = ("train", "validation")

Facts = Mapping[str, Any]
"""What is known of a dataset: {"splits": {name: rows}, "kinds": {name: kind}}."""


@dataclass(frozen=True, slots=True)
class Text:
    """What each adapter's own text is: a dataset, by its place among the search's, with one split and rows of all."""

    places: tuple[int, ...]
    split: str
    rows: int


@dataclass(frozen=True, slots=True)
class Reading:
    """`judged` is (split, rows that are judged on) of each task; `text` is None where there is none, and `why`."""

    judged: tuple[tuple[str, int], ...]
    text: Text | None
    why: str = ""

    @property
    def left(self) -> "Reading":
        """With as many rows to judge on as are left where some of a split are read."""
        text = self.text
        if text is None or text.places[0] > 0:
            return self
        judged = [(split, rows - text.rows if split == text.split else rows) for split, rows in self.judged]
        return replace(self, judged=tuple(judged))


def tasks_of(recipe: MergeSearchRecipe, count: int, datasets: Sequence[Any]) -> Sequence[Any]:
    """The datasets to measure on, in a search of `count` adapters; the others, the last ones, are text.

    RecipeError `text_sets` where these are neither none nor one for each adapter, or leave no task.
    """
    given = recipe.text_sets
    if given and (given != count or given >= len(datasets)):
        raise RecipeError(
            "text_sets",
            f"Datasets of text: {given} of {len(datasets)} datasets, for {count} adapters. Give {count}, one for each "
            "adapter, as the last ones, after the datasets to measure on; or 0.",
        )
    return datasets[: len(datasets) - given]


def divide(recipe: MergeSearchRecipe, count: int, datasets: Sequence[Facts]) -> Reading:
    """The rows of a search of `count` adapters on these datasets, by what is known of them before they are read.

    RecipeError `text_sets` as `tasks_of`.
    """
    tasks = tasks_of(recipe, count, datasets)
    last = datasets[len(tasks) :]
    splits = [recipe.split_of(facts.get("splits", {})) for facts in tasks]
    judged = [(split, facts.get("splits", {}).get(split, 0)) for split, facts in zip(splits, tasks, strict=True)]
    try:
        text = _of_their_own(recipe, last, len(tasks)) if last else _of_tasks(recipe, count, tasks, splits)
    except _None as none:
        return Reading(tuple(judged), None, str(none))
    return Reading(tuple(judged), text)


class _None(Exception):
    """There is no text, and this is why."""


def _of_their_own(recipe: MergeSearchRecipe, datasets: Sequence[Facts], first: int) -> Text:
    """The datasets that were given for it: a split that all have."""
    _wanted(recipe)
    for split in _common(datasets, USUAL_TEXT):
        return Text(tuple(range(first, first + len(datasets))), split, recipe.text_rows)
    raise _None("The datasets of text have no split of prompts or texts in common; push each with a split train.")


def _of_tasks(recipe: MergeSearchRecipe, count: int, tasks: Sequence[Facts], splits: Sequence[str]) -> Text:
    """Rows of the tasks that are not judged on."""
    _wanted(recipe)
    if len(tasks) != count:
        raise _None(
            f"It reads a text of each adapter, and there are {len(tasks)} datasets for {count} adapters. Give one task "
            "for each adapter, in their order, or datasets of text."
        )
    places = tuple(range(count))
    shared = _common(tasks, (*USUAL_TEXT, *splits))
    for split in shared:
        if split not in splits and split in USUAL_TEXT:
            return Text(places, split, recipe.text_rows)
    for split in shared:
        if split in USUAL_TEXT or set(splits) == {split}:
            there = min(facts["splits"][split] for facts, own in zip(tasks, splits, strict=True) if own == split)
            rows = min(recipe.text_rows, there // MOST_SHARE)
            if rows >= LEAST_ROWS:
                return Text(places, split, rows)
            raise _None(
                f"The tasks have the split {split!r} alone, and with {there} rows it is too short to read some and "
                "judge on the others. Push a split train, or give datasets of text."
            )
    raise _None("The tasks have no split in common to read. Push each with a split train, or give datasets of text.")


def _wanted(recipe: MergeSearchRecipe) -> None:
    if not recipe.text_rows:
        raise _None("It reads text, and no rows of text were asked for.")


def _common(datasets: Sequence[Facts], usual: Sequence[str]) -> list[str]:
    """The splits of prompts or texts that all have, the usual ones first."""
    readable = [
        {split for split, rows in facts.get("splits", {}).items() if rows and _kind(facts, split) in (COMPLETION, TEXT)}
        for facts in datasets
    ]
    common = set.intersection(*readable) if readable else set()
    first = [split for split in dict.fromkeys(usual) if split in common]
    return [*first, *sorted(common - set(first))]


def _kind(facts: Facts, split: str) -> str:
    return str(facts.get("kinds", {}).get(split, COMPLETION))
