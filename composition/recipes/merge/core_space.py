"""The recipes of merges done on small cores: Core Space, compress-then-merge, Pico."""

from dataclasses import dataclass
from typing import ClassVar

from composition.facts import ModuleFacts
from composition.recipes.base import option
from composition.recipes.merge.core import density_option, scale_option
from composition.recipes.merge.frame import RankedRecipe
from composition.recipes.method import Method, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSpaceRecipe(RankedRecipe):
    """Another merge on the adapters' cores in shared bases; weights are proportions in TIES, else 1 each."""

    kind: ClassVar[str] = "core-space"
    name: ClassVar[str] = "Core Space"

    inner: str = option(
        "choice",
        default="ties",
        choices=("ties", "ta", "tsv", "iso-c"),
        label="Inner merge",
        help="Done on the cores: TIES, task arithmetic, TSV or Iso-C. TIES depends on how updates are factored.",
    )
    density: float = density_option(0.2, "Share of each core's numbers that TIES keeps; the paper tunes it.")
    isotropic: bool = option(
        "boolean",
        default=False,
        label="Even spectrum",
        help="Give the result's directions their mean strength, as Iso-C does; the paper's best goes with TSV.",
    )
    scale: float = scale_option(1.0, "λ: what the merge is multiplied by; the paper tunes it on validation data.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CtmRecipe(RankedRecipe):
    """Common bases of rank k first, then a merge of k × k cores; weights are proportions."""

    kind: ClassVar[str] = "ctm"
    name: ClassVar[str] = "Compress, then merge"

    inner: str = option(
        "choice",
        default="ties",
        choices=("ties", "dare-ties", "mean"),
        label="Inner merge",
        help="What is done on the small cores: TIES, TIES after DARE, or their mean.",
    )
    beta: float = option(
        "number",
        default=0.25,
        minimum=0.0,
        maximum=1.0,
        label="Norm blend",
        help="β: 1 lets strong adapters choose the common bases, 0 gives all the same say. The paper tunes it.",
    )
    density: float = density_option(0.25, "Share of each core's numbers that TIES keeps; the paper tunes it.")
    dare_density: float = density_option(
        0.7, "Share of the numbers that DARE keeps; only for dare-ties.", "DARE density"
    )
    seed: int = option("integer", default=0, minimum=0, maximum=2**32 - 1, label="Seed", help="Seed of DARE's draws.")
    scale: float = scale_option(0.75, "λ: what the merge is multiplied by; 0.75 is the paper's example, it tunes it.")

    def flops(self, shape: ModuleFacts, pooled: int, count: int) -> float:
        return RankedRecipe.flops(self, shape, pooled, count) + 2e5 * pooled**2


@dataclass(frozen=True, slots=True, kw_only=True)
class PicoRecipe(RankedRecipe):
    """Shared output directions damped, merged, and brought back to one adapter's size; weights are proportions."""

    kind: ClassVar[str] = "pico"
    name: ClassVar[str] = "Pico"

    inner: str = option(
        "choice",
        default="ta",
        choices=("ta", "ties", "tsv"),
        label="Inner merge",
        help="What follows the calibration: task arithmetic, TIES on cores, or TSV.",
    )
    density: float = density_option(0.2, "Share of each core's numbers that TIES keeps.")
    directions: str = option(
        "choice",
        default="factors",
        choices=("factors", "updates"),
        label="Directions",
        help="factors: directions of the stored B, as in the paper. updates: those of ΔW, however it is factored.",
    )
    scale: float = scale_option(
        1.0, "What the result is multiplied by, which is of one adapter's size; the paper takes 1."
    )


METHODS = (
    Method(
        kind="core-space",
        verb="merge",
        label="Core Space",
        summary="TIES, TSV or Iso-C on small cores of the updates in bases that all adapters share.",
        recipe=CoreSpaceRecipe,
        function="composition.merging.core.core_space:core_space",
        core="composition.merging.core.core_space:merged",
        needs=Needs(min_inputs=2),
        purpose="conflicts",
        paper="https://arxiv.org/abs/2509.17786",
    ),
    Method(
        kind="ctm",
        verb="merge",
        label="Compress, then merge",
        summary="Finds the best common bases of rank k, then merges small cores in them: nothing is cut afterwards.",
        recipe=CtmRecipe,
        function="composition.merging.core.ctm:ctm",
        core="composition.merging.core.ctm:merged",
        needs=Needs(min_inputs=2),
        purpose="conflicts",
        searched=True,
        paper="https://openreview.net/forum?id=p32nWlgwYC",
    ),
    Method(
        kind="pico",
        verb="merge",
        label="Pico",
        summary="Damps output directions that the adapters share, merges, and restores one adapter's size.",
        recipe=PicoRecipe,
        function="composition.merging.core.pico:pico",
        core="composition.merging.core.pico:merged",
        needs=Needs(min_inputs=2),
        purpose="conflicts",
        searched=True,
        paper="https://arxiv.org/abs/2604.16826",
    ),
)
