"""The merges that a search tries: chosen methods over a grid of rank, scale, density and weights.

A candidate is the whole recipe of a merge, settled for the inputs, so that merging by it gives the bytes that were
measured. Fields of a method that the grid doesn't know keep their defaults.

The usual grid has one or two methods of each family, each at few scales of its own. The full one has every method that
needs the adapters alone and is to do what all of them do, over all scales and densities. RegMean, which reads text, is
in both, where there is text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from composition.errors import CompositionError, RecipeError
from composition.judging.reading import Facts, Reading, Text, divide
from composition.recipes import CatRecipe, MergeRecipe
from composition.recipes.base import Inputs, Recipe
from composition.recipes.judging import FULL, FULL_DENSITIES, FULL_SCALES, MergeSearchRecipe
from composition.recipes.method import Method
from composition.registry import METHODS, methods_of

MOST = 256
"""Candidates of one search."""
PURPOSES = ("balance", "conflicts", "exact")
"""What merges are for that the full grid tries: those that are to do what all of the adapters do."""


NO_TEXT = "It reads a text of each adapter, and none was given."


@dataclass(frozen=True, slots=True)
class Grid:
    """The candidates' recipes in their order, and why methods were left out: kind → sentence."""

    candidates: tuple[Recipe, ...]
    left_out: dict[str, str]


def grid(recipe: MergeSearchRecipe, inputs: Inputs, text: Text | None = None, why: str = "") -> Grid:
    """All candidates for these inputs; those that read text read `text`, and are left out by `why` where it is None.

    Raises RecipeError for a method that is unknown, that needs data which a search doesn't give it, or that was named
    and doesn't take the inputs; `methods` or the grid's values where nothing is left, or more than `MOST`.
    """
    found: dict[str, Recipe] = {}
    left_out: dict[str, str] = {}
    for method in _methods(recipe):
        try:
            if method.needs.base_model and text is None:
                raise RecipeError("methods", why or NO_TEXT)
            for one in _over_grid(method, recipe, inputs, text):
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


def planned(recipe: MergeSearchRecipe, inputs: Inputs, datasets: Sequence[Facts]) -> tuple[Grid, Reading]:
    """The grid of a search, and which rows it judges on and reads. Raises RecipeErrors as `grid` and `divide`."""
    reading = divide(recipe, len(inputs), datasets)
    found = grid(recipe, inputs, reading.text, reading.why)
    reads = any(reads_text(one) for one in found.candidates)
    return found, reading.left if reads else replace(reading, text=None)


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


def reads_text(recipe: Recipe) -> bool:
    """Whether a candidate reads each adapter's text."""
    return METHODS[recipe.kind].needs.base_model


def _methods(recipe: MergeSearchRecipe) -> list[Method]:
    """Those that were named, else those of the grid."""
    known = {method.kind: method for method in methods_of("merge") if method.offered}
    possible = {kind: method for kind, method in known.items() if method.searched or not method.needs.base_model}
    for kind in recipe.named:
        if kind not in known:
            raise RecipeError("methods", f"Methods: there is no merge {kind!r}. Use some of: {', '.join(possible)}.")
        if kind not in possible:
            raise RecipeError(
                "methods",
                f"Methods: {kind} learns from data of its own, which a search doesn't give it. Leave it out, and "
                "compare its result with the best one found.",
            )
    if recipe.named:
        return [possible[kind] for kind in recipe.named]
    if recipe.grid == FULL:
        return [method for method in possible.values() if method.purpose in PURPOSES or method.needs.base_model]
    return [method for method in possible.values() if method.searched]


def _over_grid(method: Method, recipe: MergeSearchRecipe, inputs: Inputs, text: Text | None) -> Iterator[Recipe]:
    """The method's candidates. Raises CompositionError where the method doesn't take the inputs at any value."""
    own = {field.name for field in fields(method.recipe)}
    axes: dict[str, Sequence[Any]] = {}
    if "rank" in own and recipe.ranks:
        axes["rank"] = [int(rank) for rank in recipe.ranks]
    if "scale" in own:
        axes["scale"] = _scales(method, recipe, len(inputs))
    if "density" in own and (densities := recipe.densities or (FULL_DENSITIES if recipe.grid == FULL else ())):
        axes["density"] = densities
    if "weights" in own:
        axes["weights"] = _weights(recipe.lean, len(inputs), equal_weight(method, len(inputs)))
    shared: dict[str, Any] = {"across_quantisations": recipe.across_quantisations}
    shared |= {"seed": recipe.seed} if "seed" in own else {}
    shared |= {"split": text.split, "rows": text.rows} if method.needs.base_model and text else {}
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


def _scales(method: Method, recipe: MergeSearchRecipe, count: int) -> Sequence[float]:
    """Those that were asked for, else those of the grid; a merge that reads text has its own in both."""
    if recipe.scales:
        return recipe.scales
    assert issubclass(method.recipe, MergeRecipe)
    return FULL_SCALES if recipe.grid == FULL and not method.needs.base_model else method.recipe.scales_tried(count)


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
