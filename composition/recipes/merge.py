"""The recipes of the data-free merges: LoRA-LEGO, truncated SVD, concatenation, rank-wise average."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from composition.recipes import checks
from composition.recipes.across import across_option
from composition.recipes.base import Inputs, Recipe, option
from composition.recipes.layout import BEFORE_LAYOUTS, layout_option
from composition.recipes.method import Method, Needs

_DTYPES = ("float32", "float16", "bfloat16", "auto")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRecipe(Recipe):
    """What all merges share: weights per adapter and the dtype of the result."""

    version: ClassVar[int] = 2
    earlier: ClassVar[Mapping[int, Mapping[str, Any]]] = BEFORE_LAYOUTS
    name: ClassVar[str] = ""
    min_inputs: ClassVar[int] = 2

    weights: tuple[float, ...] | None = option(
        "numbers",
        default=None,
        label="Weights",
        help="One number for each adapter, in their order; empty for equal weights.",
    )
    dtype: str = option(
        "choice",
        default="float32",
        choices=_DTYPES,
        label="Precision",
        help="How the result is stored; auto takes the widest of the inputs. Computed in float32 or better.",
    )
    across_quantisations: bool = across_option()
    layout: str = layout_option()

    def check(self, inputs: Inputs) -> None:
        """Check count, mergeability, shapes and weights; methods add their own checks."""
        checks.check_count(inputs, self.min_inputs, self.name)
        checks.check_mergeable(inputs)
        checks.check_shapes(inputs)
        checks.check_weights(inputs, self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class LegoRecipe(MergeRecipe):
    """LoRA-LEGO: cluster the rank-1 units of all adapters into `rank` groups and keep the reweighted centroids.

    Weights are an extension of this hub: adapter i enters as w_i·ΔW_i (√|w_i| on both halves of its units).
    """

    kind: ClassVar[str] = "lego"
    version: ClassVar[int] = 2
    name: ClassVar[str] = "LoRA-LEGO"
    min_inputs: ClassVar[int] = 1

    rank: int = option(
        "integer",
        default=16,
        minimum=1,
        maximum=4096,
        label="Rank",
        help="Number of clusters, which is the rank of the result; a module with fewer units keeps one for each.",
    )
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

    def check(self, inputs: Inputs) -> None:
        MergeRecipe.check(self, inputs)
        checks.check_rank(inputs, checks.pooled_ranks(inputs), self.rank)

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """min(rank, Σr) for every module."""
        return {module: min(self.rank, pooled) for module, pooled in checks.pooled_ranks(inputs).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SvdRecipe(MergeRecipe):
    """The best rank-`rank` approximation of Σ w_i ΔW_i; equal weights mean 1/n each, the mean."""

    kind: ClassVar[str] = "svd"
    name: ClassVar[str] = "Truncated SVD"
    min_inputs: ClassVar[int] = 1

    rank: int = option(
        "integer",
        default=16,
        minimum=1,
        maximum=4096,
        label="Rank",
        help="Rank of the result; a module whose sum has a lower rank keeps that rank.",
    )

    def check(self, inputs: Inputs) -> None:
        MergeRecipe.check(self, inputs)
        checks.check_rank(inputs, self._available(inputs), self.rank)

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """min(rank, Σr, in, out) for every module."""
        return {module: min(self.rank, available) for module, available in self._available(inputs).items()}

    @staticmethod
    def _available(inputs: Inputs) -> dict[str, int]:
        sides = {m: min(s.in_features, s.out_features) for _, facts in inputs for m, s in facts.modules.items()}
        return {module: min(pooled, sides[module]) for module, pooled in checks.pooled_ranks(inputs).items()}


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

    def check(self, inputs: Inputs) -> None:
        MergeRecipe.check(self, inputs)
        checks.check_equal_ranks(inputs)

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """The adapters' common rank for every module."""
        return dict(sorted((module, shape.r) for _, facts in inputs for module, shape in facts.modules.items()))


METHODS = (
    Method(
        kind="lego",
        verb="merge",
        label="LoRA-LEGO",
        summary="Clusters the rank-1 units of all adapters into k groups and keeps their reweighted centroids.",
        recipe=LegoRecipe,
        function="composition.merging.lego:lego",
        needs=Needs(min_inputs=1),
        paper="https://arxiv.org/abs/2409.16167",
    ),
    Method(
        kind="svd",
        verb="merge",
        label="Truncated SVD",
        summary="The closest rank-k adapter to the weighted mean of the adapters' updates.",
        recipe=SvdRecipe,
        function="composition.merging.svd:svd",
        needs=Needs(min_inputs=1),
    ),
    Method(
        kind="cat",
        verb="merge",
        label="Concatenation",
        summary="Exactly the weighted sum of the adapters' updates; the rank is the sum of theirs.",
        recipe=CatRecipe,
        function="composition.merging.cat:cat",
        needs=Needs(min_inputs=2),
    ),
    Method(
        kind="average",
        verb="merge",
        label="Rank-wise average",
        summary="Averages A and B rank by rank; meaningful for adapters that started from the same seed.",
        recipe=AverageRecipe,
        function="composition.merging.average:average",
        needs=Needs(min_inputs=2),
    ),
)
