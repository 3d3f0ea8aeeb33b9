"""The recipes of plain arithmetic on updates: truncated SVD, concatenation, rank-wise average."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from composition.recipes import checks
from composition.recipes.base import Inputs
from composition.recipes.merge.frame import RANK_BEFORE, MergeRecipe, RankedRecipe
from composition.recipes.method import Method, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class SvdRecipe(RankedRecipe):
    """The best rank-`rank` approximation of Σ w_i ΔW_i; equal weights mean 1/n each, the mean."""

    kind: ClassVar[str] = "svd"
    version: ClassVar[int] = 3
    earlier: ClassVar[Mapping[int, Mapping[str, Any]]] = RANK_BEFORE
    name: ClassVar[str] = "Truncated SVD"
    min_inputs: ClassVar[int] = 1

    def equal_weight(self, count: int) -> float:
        return 1 / count


@dataclass(frozen=True, slots=True, kw_only=True)
class CatRecipe(MergeRecipe):
    """Concatenation: exactly Σ w_i ΔW_i at rank Σr; equal weights mean 1 each, the sum (give 1/n for the mean)."""

    kind: ClassVar[str] = "cat"
    name: ClassVar[str] = "Concatenation"

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """Σr for every module."""
        return checks.pooled_ranks(inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageRecipe(MergeRecipe):
    """Rank-wise average: A and B averaged rank by rank, which is not the average of ΔW; equal weights mean 1/n each."""

    kind: ClassVar[str] = "average"
    name: ClassVar[str] = "Rank-wise average"

    def equal_weight(self, count: int) -> float:
        return 1 / count

    def check(self, inputs: Inputs) -> None:
        MergeRecipe.check(self, inputs)
        checks.check_equal_ranks(inputs)

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """The adapters' common rank for every module."""
        return checks.common_ranks(inputs)


METHODS = (
    Method(
        kind="svd",
        verb="merge",
        label="Truncated SVD",
        summary="The closest rank-k adapter to the weighted mean of the adapters' updates.",
        recipe=SvdRecipe,
        function="composition.merging.svd:svd",
        core="composition.merging.svd:merged",
        needs=Needs(min_inputs=1),
        purpose="balance",
        searched=True,
    ),
    Method(
        kind="cat",
        verb="merge",
        label="Concatenation",
        summary="Exactly the weighted sum of the adapters' updates; the rank is the sum of theirs.",
        recipe=CatRecipe,
        function="composition.merging.cat:cat",
        core="composition.merging.core.plain:total",
        needs=Needs(min_inputs=2),
        purpose="exact",
    ),
    Method(
        kind="average",
        verb="merge",
        label="Rank-wise average",
        summary="Averages A and B rank by rank; meaningful for adapters that started from the same seed.",
        recipe=AverageRecipe,
        function="composition.merging.average:average",
        core="composition.merging.core.plain:rankwise",
        needs=Needs(min_inputs=2),
        purpose="balance",
    ),
)
