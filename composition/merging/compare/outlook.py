"""What is known of a method before it is judged: its recipe for these adapters, its result's size, why it can't be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from composition.errors import CompositionError
from composition.merging.core.cores import Cores
from composition.merging.diagnostics import share
from composition.recipes import MergeRecipe
from composition.recipes.base import Inputs
from composition.recipes.compare import CompareRecipe
from composition.recipes.method import Method
from composition.registry import methods_of

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "auto": 4}


@dataclass(frozen=True, slots=True)
class Outlook:
    """A method with its settled recipe for the adapters, or the reason why it isn't judged."""

    method: Method
    recipe: MergeRecipe | None
    ranks: Mapping[str, int]
    size: int
    reason: str = ""
    core: Callable[[Cores, Any], Tensor] | None = None

    @property
    def by_core(self) -> bool:
        """Whether it can be judged from Grams."""
        return self.core is not None and not self.reason

    def cut(self, cores: Cores) -> int | None:
        """The rank that its core is cut to in this module; None where the recipe has no rank."""
        rank = getattr(self.recipe, "rank", None)
        return None if rank is None else min(rank, sum(cores.ranks))

    def target(self, count: int) -> list[float]:
        """The weights of the sum that the method is held against, as its own report is: Σ|w| = n."""
        assert self.recipe is not None
        return share(self.recipe.aim(count), count)

    def head(self) -> dict[str, Any]:
        """What every row has."""
        return {
            "kind": self.method.kind,
            "label": self.method.label,
            "rank": max(self.ranks.values(), default=None),
            "bytes": self.size,
            **({"reason": self.reason} if self.reason else {}),
        }


def outlooks(recipe: CompareRecipe, inputs: Inputs) -> list[Outlook]:
    """Of the methods that the recipe names; where it names none, of all merges but those that take updates apart."""
    named = recipe.methods
    return [
        _outlook(method, recipe, inputs)
        for method in methods_of("merge")
        if (method.purpose != "difference" if named is None else method.kind in named)
    ]


def _outlook(method: Method, recipe: CompareRecipe, inputs: Inputs) -> Outlook:
    if method.needs.base_model:
        return Outlook(method, None, {}, 0, "It needs the base model and some text: merge with it and measure.")
    given = {"rank": recipe.rank, "weights": recipe.weights, "across_quantisations": recipe.across_quantisations}
    own = {field.name for field in fields(method.recipe)}
    try:
        if method.needs.max_inputs and len(inputs) > method.needs.max_inputs:
            raise CompositionError("merge.too_many_inputs", f"It takes at most {method.needs.max_inputs} adapters.")
        wanted = method.recipe(**{name: value for name, value in given.items() if name in own})
        wanted.check(inputs)
        settled = wanted.settled(inputs)
    except CompositionError as error:
        return Outlook(method, None, {}, 0, error.message)
    assert isinstance(settled, MergeRecipe)
    ranks = settled.output_ranks(inputs)
    widths = {m: f.in_features + f.out_features for _, facts in inputs for m, f in facts.modules.items()}
    size = sum(rank * widths[module] for module, rank in ranks.items()) * BYTES[settled.dtype]
    return Outlook(method, settled, ranks, size, core=method.load_core())
