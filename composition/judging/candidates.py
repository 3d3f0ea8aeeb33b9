"""The merges that a search tries: chosen methods over a grid of rank, scale, density and weights.

A candidate is the whole recipe of a merge, settled for the inputs, so that merging by it gives the bytes that were
measured. Fields of a method that the grid doesn't know keep their defaults.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

from composition.errors import CompositionError, RecipeError
from composition.recipes import CatRecipe, MergeRecipe
from composition.recipes.base import Inputs, Recipe
from composition.recipes.judging import MergeSearchRecipe
from composition.recipes.method import Method
from composition.registry import methods_of

MOST = 256
"""Candidates of one search."""
PURPOSES = ("balance", "conflicts", "exact")
"""What merges are for that a search tries where none is named: those that are to do what all of the adapters do."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The candidates' recipes in their order, and why methods were left out: kind → sentence."""

    candidates: tuple[Recipe, ...]
    left_out: dict[str, str]


def grid(recipe: MergeSearchRecipe, inputs: Inputs) -> Grid:
    """All candidates for these inputs.

    Raises RecipeError for a method that is unknown, that needs data, or that was named and doesn't take the inputs;
    `methods` or the grid's values where nothing is left, or more than `MOST`.
    """
    found: dict[str, Recipe] = {}
    left_out: dict[str, str] = {}
    for method in _methods(recipe):
        try:
            for one in _over_grid(method, recipe, inputs):
                found.setdefault(str(one.to_dict()), one)
        except CompositionError as refusal:
            if method.kind in recipe.named:
                raise
            left_out[method.kind] = refusal.message
    if not found:
        why = " ".join(left_out.values())
        raise RecipeError("methods", f"Methods: none of them takes these adapters. {why}")
    if len(found) > MOST:
        raise RecipeError(
            "methods",
            f"Methods: the grid has {len(found)} candidates; a search takes at most {MOST}. "
            "Name fewer methods, or fewer ranks, scales and densities.",
        )
    return Grid(tuple(found.values()), left_out)


def exact_mean(count: int) -> MergeRecipe:
    """The recipe of the exact mean of `count` adapters, at the sum of their ranks: what every merge is compared to."""
    return CatRecipe(weights=(1 / count,) * count)


def label_of(recipe: Recipe) -> str:
    """A candidate in a few words: its kind, and the values that the grid gave it."""
    words = [recipe.kind]
    for name in ("rank", "scale", "density"):
        value = getattr(recipe, name, None)
        if value is not None:
            words.append(f"{name} {value:g}")
    if weights := getattr(recipe, "weights", None):
        words.append("weights " + ", ".join(f"{weight:.3g}" for weight in weights))
    return " ".join(words)


def _methods(recipe: MergeSearchRecipe) -> list[Method]:
    """Those that were named, else all that need the adapters alone and are to do what all of them do."""
    known = {method.kind: method for method in methods_of("merge") if method.offered}
    free = {kind: method for kind, method in known.items() if not method.needs.base_model}
    for kind in recipe.named:
        if kind not in known:
            raise RecipeError("methods", f"Methods: there is no merge {kind!r}. Use some of: {', '.join(free)}.")
        if kind not in free:
            raise RecipeError(
                "methods",
                f"Methods: {kind} needs data of its own, which a search doesn't give it. Leave it out, and compare "
                "its result with the best one found.",
            )
    usual = [method for method in free.values() if method.purpose in PURPOSES]
    return [free[kind] for kind in recipe.named] or usual


def _over_grid(method: Method, recipe: MergeSearchRecipe, inputs: Inputs) -> Iterator[Recipe]:
    """The method's candidates. Raises CompositionError where the method doesn't take the inputs at any value."""
    own = {field.name for field in fields(method.recipe)}
    axes: dict[str, Sequence[Any]] = {}
    if "rank" in own and recipe.ranks:
        axes["rank"] = [int(rank) for rank in recipe.ranks]
    if "scale" in own:
        axes["scale"] = recipe.scales
    if "density" in own:
        axes["density"] = recipe.densities
    if "weights" in own:
        axes["weights"] = _weights(recipe.lean, len(inputs), equal_weight(method, len(inputs)))
    shared: dict[str, Any] = {"across_quantisations": recipe.across_quantisations}
    shared |= {"seed": recipe.seed} if "seed" in own else {}
    refusals, fits = [], False
    for values in product(*axes.values()):
        try:
            one = method.recipe(**shared, **dict(zip(axes, values, strict=True)))
            one.check(inputs)
        except CompositionError as refusal:
            refusals.append(refusal)
            continue
        fits = True
        yield one.settled(inputs)
    if not fits:
        raise refusals[0]


def equal_weight(method: Method, count: int) -> float:
    """What each adapter weighs where a recipe of the method gives no weights."""
    one = method.recipe()
    return one.equal_weight(count) if isinstance(one, MergeRecipe) else 1.0


def _weights(lean: float | None, count: int, equal: float) -> list[tuple[float, ...] | None]:
    """None for equal weights, then each adapter in turn ahead, with the same sum."""
    if lean is None:
        return [None]
    share = equal * count / (count - 1 + lean)
    return [None, *(tuple(share * (lean if n == ahead else 1.0) for n in range(count)) for ahead in range(count))]
