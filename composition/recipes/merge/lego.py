"""The recipe of LoRA-LEGO: clusters of rank-1 units."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from composition.recipes import checks
from composition.recipes.base import Inputs, option
from composition.recipes.merge.frame import RANK_BEFORE, RankedRecipe
from composition.recipes.method import Method, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class LegoRecipe(RankedRecipe):
    """LoRA-LEGO: cluster the rank-1 units of all adapters into `rank` groups and keep the reweighted centroids.

    Weights are an extension of this hub: adapter i enters as w_i·ΔW_i (√|w_i| on both halves of its units).
    """

    kind: ClassVar[str] = "lego"
    version: ClassVar[int] = 3
    earlier: ClassVar[Mapping[int, Mapping[str, Any]]] = RANK_BEFORE
    name: ClassVar[str] = "LoRA-LEGO"
    min_inputs: ClassVar[int] = 1

    profile: str = option(
        "choice",
        default="paper",
        choices=("paper", "ctm", "nsc"),
        label="Profile",
        help="paper: raw units, output × √(r/k). ctm: output × √(Σr/k). nsc: clusters on half-normalised units.",
    )
    r_ref: str = option(
        "choice",
        default="mean",
        choices=("mean", "max", "sum"),
        label="Reference rank",
        help="Which r the output factor √(r/k) uses if ranks differ; profile ctm always takes the sum.",
    )
    seed: int = option(
        "integer", default=0, minimum=0, maximum=2**32 - 1, label="Seed", help="Seed of the k-means++ starts."
    )
    n_init: int = option(
        "integer",
        default=10,
        minimum=1,
        maximum=100,
        label="Restarts",
        help="How many k-means starts are tried; the tightest clustering wins.",
    )

    @classmethod
    def knows(cls, data: Mapping[str, Any]) -> bool:
        """Version 1 drew the units of the profile `nsc` in another order; all else in it means the same."""
        redrawn = data.get("version") == 1 and data.get("profile") == "nsc"
        return not redrawn and super(LegoRecipe, cls).knows(data)

    def available(self, inputs: Inputs) -> dict[str, int]:
        """One cluster a unit at most: Σr."""
        return checks.pooled_ranks(inputs)


METHODS = (
    Method(
        kind="lego",
        verb="merge",
        label="LoRA-LEGO",
        summary="Clusters the rank-1 units of all adapters into k groups and keeps their reweighted centroids.",
        recipe=LegoRecipe,
        function="composition.merging.lego:lego",
        core="composition.merging.core.lego:merged",
        rough=True,
        needs=Needs(min_inputs=1),
        purpose="balance",
        searched=True,
        paper="https://arxiv.org/abs/2409.16167",
    ),
)
