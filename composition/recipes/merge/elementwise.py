"""The recipes of elementwise merges: what each number of the updates, or of their factors, counts for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from composition.errors import RecipeError
from composition.facts import ModuleFacts
from composition.recipes import checks
from composition.recipes.base import Inputs, option
from composition.recipes.merge.frame import MergeRecipe, RankedRecipe
from composition.recipes.method import Method, Needs

UPDATE, FACTORS, BALANCED = "update", "factors", "balanced"
EACH, SWEEPS = 200, 20
"""Rough: floating-point operations that a rule's work on a number takes the time of; sweeps of the cut."""
FUNCTION = "composition.merging.elementwise.merge:elementwise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """Which numbers of an adapter are left out, and what makes up for it.

    magnitude: all but the largest. middle: the smallest and the share γ of the largest. random: any. ranked: any, small
    ones more often. At density 1 none is.
    """

    rule: Literal["magnitude", "middle", "random", "ranked"] = "magnitude"
    density: float = 1.0
    gamma: float = 0.0
    epsilon: float = 0.0
    rescale: str = "none"
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Election:
    """How the sign of a number is elected, and what the sum of those that agree is divided by."""

    by: str
    weighted: bool
    divide: str


def signs_option(default: str) -> Any:
    """The field that says how signs are elected."""
    return option(
        "choice",
        default=default,
        choices=("total", "frequency", "none"),
        label="Signs",
        help="Who elects each number's sign: total, the adapters' sum; frequency, one vote each; none, nobody: a "
        "plain sum. Only those that agree with it count.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementwiseRecipe(RankedRecipe):
    """A rule on single numbers, of ΔW (cut to a rank) or of A and B.

    Equal weights mean 1 each where signs are elected, else the mean: 1/n on ΔW, 1/n² on factors (1/n on each half).
    """

    min_inputs: ClassVar[int] = 1

    density: float = option(
        "number",
        default=0.5,
        minimum=0.0001,
        maximum=1.0,
        label="Density",
        help="The share of each adapter's numbers that is kept; the papers use 0.2 to 0.5.",
    )
    space: str = option(
        "choice",
        default=UPDATE,
        choices=(UPDATE, FACTORS, BALANCED),
        label="Space",
        help="update: on ΔW, then cut to the rank. factors: on A and B apart, as PEFT does without svd; needs equal "
        "ranks and depends on how each adapter happens to split ΔW into A and B. balanced: on the factors of each "
        "ΔW's SVD.",
    )
    scale: float = option(
        "number", default=1.0, minimum=-100.0, maximum=100.0, label="Scale", help="λ: what the result is multiplied by."
    )

    def equal_weight(self, count: int) -> float:
        if self.election is not None:
            return 1.0
        return 1 / count if self.space == UPDATE else 1 / count**2

    @property
    def leaving(self) -> Leaving:
        """Which numbers are left out."""
        return Leaving(density=self.density)

    @property
    def election(self) -> Election | None:
        """How signs are elected; None for a plain sum."""
        return None

    def check(self, inputs: Inputs) -> None:
        MergeRecipe.check(self, inputs)
        if self.space == UPDATE:
            self._check_rank(inputs)
            return
        checks.check_equal_ranks(inputs, f"{self.name} on factors", "Choose the space update, which takes any mix.")
        if self.rank is not None:
            raise RecipeError(
                "rank", f"Rank: {self.rank} was given, but on factors the adapters' rank stays. Leave it empty."
            )

    def _check_rank(self, inputs: Inputs) -> None:
        largest = max(self.available(inputs).values())
        if self.rank is not None and self.rank > largest:
            raise RecipeError(
                "rank",
                f"Rank: {self.rank} is more than the largest module can have, {largest}. Use at most {largest}.",
                largest=largest,
            )

    def flops(self, shape: ModuleFacts, pooled: int, count: int) -> float:
        """On ΔW every number of every adapter is looked at, and the cut sweeps over the numbers of the result."""
        if self.space != UPDATE:
            return MergeRecipe.flops(self, shape, pooled, count)
        numbers = shape.in_features * shape.out_features
        return numbers * (2 * pooled + EACH * count + 4 * SWEEPS * ((self.rank or 16) + 8))

    def settled(self, inputs: Inputs) -> Self:
        return RankedRecipe.settled(self, inputs) if self.space == UPDATE else self

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """On ΔW min(rank, in, out) for every module; on factors the adapters' own rank."""
        return RankedRecipe.output_ranks(self, inputs) if self.space == UPDATE else checks.common_ranks(inputs)

    def available(self, inputs: Inputs) -> dict[str, int]:
        """min(in, out) for every module: rules on single numbers leave the span of the updates."""
        return checks.sides(inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectingRecipe(ElementwiseRecipe):
    """A rule after which the adapters elect a sign for each number."""

    signs: str = signs_option("total")
    weighted_vote: bool = option(
        "boolean",
        default=True,
        label="Weighted vote",
        help="Weights count in the election, as in mergekit: a negative one votes against. Off as in PEFT.",
    )
    divide: str = option(
        "choice",
        default="weights",
        choices=("weights", "number", "nothing"),
        label="Divide by",
        help="What the sum of those that agree is divided by: the sum of their weights, as in mergekit with "
        "normalize; their number, as in PEFT; nothing.",
    )

    @property
    def election(self) -> Election | None:
        if self.signs == "none":
            return None
        return Election(by=self.signs, weighted=self.weighted_vote, divide=self.divide)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearRecipe(MergeRecipe):
    """PEFT's linear: √|w_i s_i| on A and on B. Equal weights mean 1/n² each, so that equal adapters give themselves."""

    kind: ClassVar[str] = "linear"
    version: ClassVar[int] = 1
    earlier: ClassVar[Mapping[int, Mapping[str, Any]]] = {}
    name: ClassVar[str] = "Linear merge of factors"

    balanced: bool = option(
        "boolean",
        default=False,
        label="Balanced",
        help="Bring each adapter to the factors of its ΔW's SVD first; off as in PEFT.",
    )

    def equal_weight(self, count: int) -> float:
        return 1 / count**2

    def check(self, inputs: Inputs) -> None:
        MergeRecipe.check(self, inputs)
        checks.check_equal_ranks(inputs, "a linear merge of factors", "Use svd for the sum or mean of any mix.")

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """The adapters' common rank for every module."""
        return checks.common_ranks(inputs)


METHODS = (
    Method(
        kind="linear",
        verb="merge",
        label="Linear (factors)",
        summary="Adds √weight times A and √weight times B, as PEFT's linear: quick and rough, with cross terms.",
        recipe=LinearRecipe,
        function="composition.merging.elementwise.merge:linear",
        needs=Needs(min_inputs=2),
        purpose="balance",
    ),
)
