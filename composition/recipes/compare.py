"""The recipe of a comparison: what each merge of some adapters would give, told before anything is merged."""

from dataclasses import dataclass, replace
from importlib import import_module
from pkgutil import iter_modules
from typing import ClassVar, Self

from composition.recipes import checks, merge
from composition.recipes.across import across_option
from composition.recipes.base import Inputs, Recipe, option
from composition.recipes.method import Method, Needs

MERGES = tuple(
    row.kind
    for module in iter_modules(merge.__path__, f"{merge.__name__}.")
    for row in getattr(import_module(module.name), "METHODS", ())
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRecipe(Recipe):
    """Compare merge methods on some adapters of one base, from their Grams."""

    kind: ClassVar[str] = "compare-merges"
    name: ClassVar[str] = "A comparison of merges"

    rank: int | None = option(
        "integer",
        default=None,
        minimum=1,
        maximum=4096,
        label="Rank",
        help="The rank that methods are judged at, empty for the adapters' largest.",
    )
    weights: tuple[float, ...] | None = option(
        "numbers",
        default=None,
        label="Weights",
        help="One number for each adapter, in their order; empty for equal weights.",
    )
    methods: tuple[str, ...] | None = option(
        "choices",
        default=None,
        choices=MERGES,
        label="Methods",
        help="Which methods to judge; empty for all that merge.",
    )
    sample: int = option(
        "integer",
        default=3,
        minimum=0,
        maximum=64,
        label="Modules read",
        help="How many modules the methods that need the weights themselves are tried on; 0 leaves these methods out.",
    )
    seconds: float = option(
        "number",
        default=5.0,
        minimum=0.1,
        maximum=3600.0,
        label="Seconds",
        help="How long judging the methods may take, about, on one core. Where that is too short for all modules, some "
        "are judged, spread over depth and types of modules.",
    )
    across_quantisations: bool = across_option()

    def check(self, inputs: Inputs) -> None:
        checks.check_count(inputs, 2, self.name)
        checks.check_mergeable(inputs)
        checks.check_shapes(inputs)
        checks.check_weights(inputs, self.weights)
        if self.rank is not None:
            checks.check_rank(inputs, checks.attainable_ranks(inputs), self.rank)

    def settled(self, inputs: Inputs) -> Self:
        if self.rank is not None:
            return self
        largest = max(module.r for _, facts in inputs for module in facts.modules.values())
        return replace(self, rank=min(largest, max(checks.attainable_ranks(inputs).values())))


METHODS = (
    Method(
        kind="compare-merges",
        verb="compare",
        label="Comparison of merges",
        summary="Says, before anything is merged, what each method would keep of each adapter, and how they conflict.",
        recipe=CompareRecipe,
        function="composition.merging.compare.judge:compare",
        needs=Needs(min_inputs=2),
        result="answer",
    ),
)
