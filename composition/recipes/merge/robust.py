"""The recipe of RobustMerge."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from composition.recipes import checks
from composition.recipes.base import Inputs, option
from composition.recipes.merge.frame import MergeRecipe
from composition.recipes.method import Method, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustMergeRecipe(MergeRecipe):
    """RobustMerge on factors of equal ranks; equal weights mean 1 each."""

    kind: ClassVar[str] = "robust-merge"
    version: ClassVar[int] = 1
    earlier: ClassVar[Mapping[int, Mapping[str, Any]]] = {}
    name: ClassVar[str] = "RobustMerge"
    tried: ClassVar[tuple[float, ...]] = (1.0, 1.4)

    density: float = option(
        "number",
        default=0.2,
        minimum=0.0001,
        maximum=1.0,
        label="Density",
        help="The share of the numbers of A, and of B, that is kept.",
    )
    top: float = option(
        "number",
        default=0.2,
        minimum=0.0,
        maximum=1.0,
        label="Top",
        help="The share of a module's ranks whose rescaling stays as it is; those below are raised to its lowest.",
    )
    scale: float = option(
        "number",
        default=2.0,
        minimum=0.0,
        maximum=100.0,
        label="Scale",
        help="λ, on A and on B: ΔW grows by its square. The authors' code has 2 for eight tasks; tune it.",
    )
    balanced: bool = option(
        "boolean",
        default=False,
        label="Balanced",
        help="Bring each adapter to the factors of its ΔW's SVD first; off as in the paper. Without it the result "
        "depends on how each adapter happens to split ΔW into A and B.",
    )

    def check(self, inputs: Inputs) -> None:
        MergeRecipe.check(self, inputs)
        checks.check_equal_ranks(inputs, self.name, "Use ties, which takes any mix.")

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """The adapters' common rank for every module."""
        return checks.common_ranks(inputs)


METHODS = (
    Method(
        kind="robust-merge",
        verb="merge",
        label="RobustMerge",
        summary="Trims A and B, strengthens the directions that lost most, and adds up with one norm for all tasks.",
        recipe=RobustMergeRecipe,
        function="composition.merging.elementwise.robust:robust_merge",
        needs=Needs(min_inputs=2),
        purpose="conflicts",
        searched=True,
        paper="https://arxiv.org/abs/2502.17159",
    ),
)
