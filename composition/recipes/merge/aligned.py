"""The recipe of merges of updates aligned by one SVD: KnOTS."""

from dataclasses import dataclass
from typing import ClassVar

from composition.facts import ModuleFacts
from composition.recipes.merge.core import density_option, scale_option
from composition.recipes.merge.frame import RankedRecipe
from composition.recipes.method import Method, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class KnotsRecipe(RankedRecipe):
    """TIES on the updates' coordinates in common output directions; weights are proportions."""

    kind: ClassVar[str] = "knots"
    name: ClassVar[str] = "KnOTS-TIES"

    density: float = density_option(0.2, "Share of each adapter's numbers in a module that stay; the paper tunes it.")
    scale: float = scale_option(0.6, "λ: what the merge is multiplied by; 0.6 is the paper's example, it tunes it.")

    def flops(self, shape: ModuleFacts, pooled: int, count: int) -> float:
        return RankedRecipe.flops(self, shape, pooled, count) + 600 * pooled * shape.in_features * count


METHODS = (
    Method(
        kind="knots",
        verb="merge",
        label="KnOTS-TIES",
        summary="Aligns the updates by one SVD, then trims, elects signs and averages in the common directions.",
        recipe=KnotsRecipe,
        function="composition.merging.core.knots:knots",
        needs=Needs(min_inputs=2),
        purpose="conflicts",
        searched=True,
        paper="https://arxiv.org/abs/2410.19735",
    ),
)
