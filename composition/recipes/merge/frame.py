"""What all merges share: weights per adapter, precision, layout, and a rank that follows from the inputs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from composition.facts import ModuleFacts
from composition.recipes import checks
from composition.recipes.across import across_option
from composition.recipes.base import Inputs, Recipe, option
from composition.recipes.layout import BEFORE_LAYOUTS, layout_option

_DTYPES = ("float32", "float16", "bfloat16", "auto")
RANK_BEFORE = {1: {**BEFORE_LAYOUTS[1], "rank": 16}, 2: {"rank": 16}}
"""`Recipe.earlier` of recipes at version 3: the rank was 16 where none was given, and at first there was no layout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRecipe(Recipe):
    """What all merges share: weights per adapter and the dtype of the result."""

    version: ClassVar[int] = 2
    earlier: ClassVar[Mapping[int, Mapping[str, Any]]] = BEFORE_LAYOUTS
    name: ClassVar[str] = ""
    min_inputs: ClassVar[int] = 2
    weighted: ClassVar[bool] = True
    """Whether weights mean something to the method; where they don't, it refuses them and no form asks for them."""

    tried: ClassVar[tuple[float, ...]] = (0.5, 1.0)
    """The scales that a search tries where none are named; divided by the number of adapters where `adds`."""
    adds: ClassVar[bool] = False
    """Whether equal weights give a sum, which grows with the number of adapters, and no mean."""

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

    def equal_weight(self, count: int) -> float:
        """What each of `count` adapters weighs where the recipe gives no weights."""
        return 1.0

    @classmethod
    def scales_tried(cls, count: int) -> tuple[float, ...]:
        """The scales that a search of merges of `count` adapters tries where none are named."""
        return tuple(round(scale / count, 3) if cls.adds else scale for scale in cls.tried)

    def aim(self, count: int) -> tuple[float, ...] | None:
        """The weights of the sum that the report measures a result of `count` adapters against; None for equal ones."""
        return self.weights

    def flops(self, shape: ModuleFacts, pooled: int, count: int) -> float:
        """Roughly what a module costs, in floating-point operations: Σr = `pooled` units of `count` adapters."""
        return 4 * (shape.in_features + shape.out_features) * pooled**2

    def check(self, inputs: Inputs) -> None:
        """Check count, mergeability, shapes and weights; methods add their own checks."""
        checks.check_count(inputs, self.min_inputs, self.name)
        checks.check_mergeable(inputs)
        checks.check_shapes(inputs)
        checks.check_weights(inputs, self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedRecipe(MergeRecipe):
    """A merge that is cut to a rank; where none is given, to the largest that an adapter has."""

    version: ClassVar[int] = 1
    earlier: ClassVar[Mapping[int, Mapping[str, Any]]] = {}

    rank: int | None = option(
        "integer",
        default=None,
        minimum=1,
        maximum=4096,
        label="Rank",
        help="Rank of the result, empty for the adapters' largest; a module that can't have it keeps what it can.",
    )

    def check(self, inputs: Inputs) -> None:
        MergeRecipe.check(self, inputs)
        if self.rank is not None:
            checks.check_rank(inputs, self.available(inputs), self.rank)

    def settled(self, inputs: Inputs) -> Self:
        if self.rank is not None:
            return self
        largest = max(module.r for _, facts in inputs for module in facts.modules.values())
        return replace(self, rank=min(largest, max(self.available(inputs).values())))

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """min(rank, what the module can have) for every module."""
        rank = self.settled(inputs).rank
        assert rank is not None
        return {module: min(rank, available) for module, available in self.available(inputs).items()}

    def available(self, inputs: Inputs) -> dict[str, int]:
        """The highest rank that each module of the result can have: min(Σr, in, out)."""
        return checks.attainable_ranks(inputs)
