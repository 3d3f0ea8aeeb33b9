"""The recipes of differences: one update without others, or without what lies in their directions."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from composition.errors import RecipeError
from composition.recipes.base import Inputs, option
from composition.recipes.merge.frame import RankedRecipe
from composition.recipes.method import Method, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtractRecipe(RankedRecipe):
    """w_1 ΔW_1 − Σ_{i>1} w_i ΔW_i; equal weights mean 1 each. Exact where no rank is given."""

    kind: ClassVar[str] = "subtract"
    name: ClassVar[str] = "Subtraction"

    def aim(self, count: int) -> tuple[float, ...] | None:
        first, *others = self.weights or (1.0,) * count
        return (first, *(-weight for weight in others))

    def settled(self, inputs: Inputs) -> Self:
        return self if self.rank is not None else replace(self, rank=max(self.available(inputs).values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class OrthogonalRecipe(RankedRecipe):
    """The first update without what lies in the directions of the others; never of a higher rank than it has."""

    kind: ClassVar[str] = "orthogonal"
    name: ClassVar[str] = "Orthogonal complement"
    weighted: ClassVar[bool] = False

    part: str = option(
        "choice",
        default="both",
        choices=("both", "inputs", "outputs", "update"),
        label="Without",
        help="What is taken away. inputs: the directions that the others read (their A). outputs: those that they "
        "write (their B). both: one and the other, (I − P_B) ΔW (I − P_A). update: only the part along the others' "
        "whole updates, so that the inner product with each is zero.",
    )

    def aim(self, count: int) -> tuple[float, ...] | None:
        return (1.0, *(0.0,) * (count - 1))

    def check(self, inputs: Inputs) -> None:
        RankedRecipe.check(self, inputs)
        if self.weights is not None:
            raise RecipeError("weights", "Weights: the directions of an update don't depend on them. Leave them out.")

    def available(self, inputs: Inputs) -> dict[str, int]:
        """min(Σr, in, out) for the modules of the first adapter: the others add none."""
        _, first = inputs[0]
        possible = RankedRecipe.available(self, inputs)
        return {module: rank for module, rank in possible.items() if module in first.modules}

    def settled(self, inputs: Inputs) -> Self:
        """The first adapter's rank, which losing directions doesn't raise; for whole updates, what makes it exact."""
        if self.rank is not None:
            return self
        _, first = inputs[0]
        largest = max(self.available(inputs).values())
        own = max(module.r for module in first.modules.values())
        return replace(self, rank=largest if self.part == "update" else min(own, largest))


METHODS = (
    Method(
        kind="subtract",
        verb="merge",
        label="Subtraction",
        summary="The first adapter's update minus those of the others: what one learned that the others hadn't.",
        recipe=SubtractRecipe,
        function="composition.merging.difference:subtract",
        core="composition.merging.difference:subtract_core",
        needs=Needs(min_inputs=2),
        purpose="difference",
        paper="https://arxiv.org/abs/2212.04089",
    ),
    Method(
        kind="orthogonal",
        verb="merge",
        label="Orthogonal complement",
        summary="The first adapter's update without what lies in the directions that the others read or write.",
        recipe=OrthogonalRecipe,
        function="composition.merging.difference:orthogonal",
        core="composition.merging.difference:orthogonal_core",
        needs=Needs(min_inputs=2),
        purpose="difference",
    ),
)
