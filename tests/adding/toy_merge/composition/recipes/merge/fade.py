"""The recipe of a toy merge: each adapter counts less than the one before it."""

from dataclasses import dataclass
from typing import ClassVar

from composition.recipes import checks
from composition.recipes.base import Inputs, option
from composition.recipes.merge import MergeRecipe
from composition.recipes.method import Method, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class FadeRecipe(MergeRecipe):
    """Σ decay^i w_i ΔW_i exactly, i = 0, 1, … in the adapters' order; equal weights mean 1 each."""

    kind: ClassVar[str] = "fade"
    name: ClassVar[str] = "Fading sum"

    decay: float = option(
        "number",
        default=0.5,
        minimum=0.01,
        maximum=1,
        label="Decay",
        help="How much each adapter counts beside the one before it.",
    )

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """Σr for every module."""
        return checks.pooled_ranks(inputs)


METHODS = (
    Method(
        kind="fade",
        verb="merge",
        label="Fading sum",
        summary="The sum of the adapters' updates, each counting less than the one before it.",
        recipe=FadeRecipe,
        function="composition.merging.fade:fade",
        needs=Needs(min_inputs=2),
    ),
)
