"""The recipes of merges by singular vectors of the updates: TSV-Merge, Iso-C, Iso-CTS."""

from dataclasses import dataclass
from typing import ClassVar

from composition.recipes.base import option
from composition.recipes.merge.core import scale_option
from composition.recipes.merge.frame import RankedRecipe
from composition.recipes.method import Method, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class TsvRecipe(RankedRecipe):
    """λ Σ w_i ΔW_i with all adapters' singular vectors made orthogonal first; equal weights mean 1 each."""

    kind: ClassVar[str] = "tsv"
    name: ClassVar[str] = "TSV-Merge"
    tried: ClassVar[tuple[float, ...]] = (1.0, 2.0, 3.0)
    adds: ClassVar[bool] = True

    scale: float = scale_option(
        1.0, "λ: what the merge is multiplied by; the paper takes 1, LoRAs of unlike tasks often want about 0.5."
    )
    triplets: int | None = option(
        "integer",
        default=None,
        minimum=1,
        maximum=4096,
        label="Triplets",
        help="How many singular triplets of each adapter are kept; empty for all.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IsoCRecipe(RankedRecipe):
    """The strongest directions of Σ w_i ΔW_i, all with the mean of their strengths; equal weights mean 1 each."""

    kind: ClassVar[str] = "iso-c"
    name: ClassVar[str] = "Iso-C"
    tried: ClassVar[tuple[float, ...]] = (1.0, 2.0, 3.0)
    adds: ClassVar[bool] = True

    scale: float = scale_option(1.0, "λ: what the merge is multiplied by; the paper tunes it on validation data.")


@dataclass(frozen=True, slots=True, kw_only=True)
class IsoCtsRecipe(RankedRecipe):
    """Iso-C with directions of single adapters beside the common ones; equal weights mean 1 each."""

    kind: ClassVar[str] = "iso-cts"
    name: ClassVar[str] = "Iso-CTS"
    tried: ClassVar[tuple[float, ...]] = (1.0, 2.0, 3.0)
    adds: ClassVar[bool] = True

    scale: float = scale_option(1.0, "λ: what the merge is multiplied by; the paper tunes it on validation data.")
    common: float = option(
        "number",
        default=0.8,
        minimum=0.0,
        maximum=1.0,
        label="Common part",
        help="Share of the rank that directions of the sum get; adapters share the rest, one each at least.",
    )


METHODS = (
    Method(
        kind="tsv",
        verb="merge",
        label="TSV-Merge",
        summary="Adds the updates after their singular vectors were made orthogonal, so that none writes over another.",
        recipe=TsvRecipe,
        function="composition.merging.core.tsv:tsv",
        core="composition.merging.core.tsv:merged",
        needs=Needs(min_inputs=2),
        purpose="conflicts",
        searched=True,
        paper="https://arxiv.org/abs/2412.00081",
    ),
    Method(
        kind="iso-c",
        verb="merge",
        label="Iso-C",
        summary="Gives the strongest directions of the updates' sum one common strength.",
        recipe=IsoCRecipe,
        function="composition.merging.core.isotropic:iso_c",
        core="composition.merging.core.isotropic:evened",
        needs=Needs(min_inputs=2),
        purpose="conflicts",
        paper="https://arxiv.org/abs/2502.04959",
    ),
    Method(
        kind="iso-cts",
        verb="merge",
        label="Iso-CTS",
        summary="Common directions of the sum and own ones of each adapter, all with one strength.",
        recipe=IsoCtsRecipe,
        function="composition.merging.core.isotropic:iso_cts",
        core="composition.merging.core.isotropic:common_and_own",
        needs=Needs(min_inputs=2),
        purpose="conflicts",
        paper="https://arxiv.org/abs/2502.04959",
    ),
)
