"""The recipes of means on the sphere: SLERP and the Karcher mean."""

from dataclasses import dataclass
from typing import ClassVar

from composition.errors import CompositionError, RecipeError
from composition.recipes.base import Inputs, option
from composition.recipes.merge.frame import RankedRecipe
from composition.recipes.method import Method, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class SlerpRecipe(RankedRecipe):
    """Two updates along the great circle between them, module by module, cut to a rank."""

    kind: ClassVar[str] = "slerp"
    name: ClassVar[str] = "SLERP"
    weighted: ClassVar[bool] = False

    t: float = option(
        "number",
        default=0.5,
        minimum=0.0,
        maximum=1.0,
        label="t",
        help="Where between the first adapter (0) and the second (1).",
    )

    def aim(self, count: int) -> tuple[float, ...] | None:
        return (1 - self.t, self.t)

    def check(self, inputs: Inputs) -> None:
        RankedRecipe.check(self, inputs)
        if len(inputs) > 2:
            raise CompositionError(
                "merge.too_many_inputs",
                f"SLERP is between two adapters, got {len(inputs)}. Use karcher, the mean of any number on the sphere.",
                given=len(inputs),
                maximum=2,
            )
        if self.weights is not None:
            raise RecipeError("weights", "Weights: SLERP takes none. Say by t how near the second adapter is.")


@dataclass(frozen=True, slots=True, kw_only=True)
class KarcherRecipe(RankedRecipe):
    """The mean direction of the updates on the sphere, with their mean norm, module by module, cut to a rank."""

    kind: ClassVar[str] = "karcher"
    name: ClassVar[str] = "Karcher mean"

    iterations: int = option(
        "integer",
        default=10,
        minimum=1,
        maximum=1000,
        label="Iterations",
        help="At most so many steps towards the mean; it stops sooner when a step is shorter than 1e-5.",
    )


METHODS = (
    Method(
        kind="slerp",
        verb="merge",
        label="SLERP",
        summary="Turns the first update towards the second along the great circle between them, keeping their norms.",
        recipe=SlerpRecipe,
        function="composition.merging.manifold:slerp",
        core="composition.merging.manifold:slerp_core",
        needs=Needs(min_inputs=2, max_inputs=2),
        purpose="balance",
    ),
    Method(
        kind="karcher",
        verb="merge",
        label="Karcher mean",
        summary="The mean direction of the updates on the sphere, with their mean norm: like the mean, not shortened.",
        recipe=KarcherRecipe,
        function="composition.merging.manifold:karcher",
        core="composition.merging.manifold:karcher_core",
        needs=Needs(min_inputs=2),
        purpose="balance",
        searched=True,
    ),
)
