"""Successive halving (Jamieson and Talwalkar, 2016, arXiv:1502.07943), within each rank.

All candidates are measured on a few rows of every task; the better half goes on to twice as many, until the rows are
used up. Halves are taken within candidates of one rank, or else small ranks would be gone before anybody could see
what they cost. Rows that were measured are not measured again: a round adds those that are new.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from composition.errors import RecipeError
from composition.recipes.judging import LEAST_ROWS, MergeSearchRecipe

LEAST = 2
"""Candidates of a rank that are never taken out, so that the best is compared with another."""
Key = TypeVar("Key")


def schedule(recipe: MergeSearchRecipe, groups: Sequence[int], tasks: Sequence[int]) -> list[int]:
    """Rows of each task that have been read by the end of each round, for this many candidates of each rank.

    `tasks` are the rows that each dataset has. RecipeError `budget` where even the fewest rows cost more.
    """
    for divisor in range(10_000):
        first, last = (max(LEAST_ROWS, rows >> divisor) for rows in (recipe.first_rows, recipe.rows))
        planned = _doubling(first, min(last, max(tasks)))
        cost = cost_of(planned, groups, tasks)
        if recipe.budget is None or cost <= recipe.budget:
            return planned
        if last == LEAST_ROWS:
            break
    raise RecipeError(
        "budget",
        f"Budget: {sum(groups)} candidates on {LEAST_ROWS} rows of {len(tasks)} datasets read {cost} rows, more than "
        f"{recipe.budget}. Give more, or try fewer candidates.",
    )


def cost_of(planned: Sequence[int], groups: Sequence[int], tasks: Sequence[int]) -> int:
    """Rows read in all."""
    total, before, left = 0, 0, list(groups)
    for rows in planned:
        new = sum(min(rows, there) - min(before, there) for there in tasks)
        total += new * sum(left)
        before, left = rows, [kept(count) for count in left]
    return total


def kept(count: int) -> int:
    """How many of `count` candidates of one rank go on."""
    return max((count + 1) // 2, min(count, LEAST))


def survivors(scores: Mapping[Key, tuple[float, float]], groups: Mapping[Key, int]) -> list[Key]:
    """The better half of each group, in their order; the earlier one of equals."""
    found: set[Key] = set()
    for group in set(groups.values()):
        members = [key for key in scores if groups[key] == group]
        best = sorted(members, key=lambda key: scores[key], reverse=True)
        found.update(best[: kept(len(members))])
    return [key for key in scores if key in found]


def _doubling(first: int, last: int) -> list[int]:
    rows = [first] if first < last else [last]
    while rows[-1] < last:
        rows.append(min(2 * rows[-1], last))
    return rows
