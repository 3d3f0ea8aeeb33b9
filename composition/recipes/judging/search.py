"""The recipe of a search of merges."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from composition.errors import RecipeError
from composition.recipes import checks
from composition.recipes.across import across_option
from composition.recipes.base import Inputs, Recipe, option
from composition.recipes.evaluate import EvaluateRecipe
from composition.recipes.method import Method, Needs

ALWAYS_TRIED = ("validation", "train", "test")
"""The splits that a search measures on where none is named: the first of these that a dataset has."""
LEAST_ROWS = 4
USUAL, FULL = "usual", "full"
FULL_SCALES = (0.3, 0.6, 1.0)
FULL_DENSITIES = (0.2, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeSearchRecipe(Recipe):
    """Try methods over a grid by successive halving (Jamieson and Talwalkar, 2016): few rows for all of them, twice
    as many for the better half, and so on."""

    kind: ClassVar[str] = "merge-search"
    version: ClassVar[int] = 2
    earlier: ClassVar[Mapping[int, Mapping[str, Any]]] = {1: {"grid": FULL, "text_rows": 0}}

    methods: str = option(
        "string",
        default="",
        label="Methods",
        help="Kinds of merges with commas between; empty for those of the grid.",
    )
    grid: str = option(
        "choice",
        default=USUAL,
        choices=(USUAL, FULL),
        label="Grid",
        help="usual: one or two methods of each family, each at scales of its own. full: every method, over all scales "
        "and densities.",
    )
    ranks: tuple[float, ...] | None = option(
        "numbers",
        default=None,
        minimum=1,
        maximum=4096,
        label="Ranks",
        help="Ranks of the result to try, where a method has one; empty for the adapters' largest.",
    )
    scales: tuple[float, ...] | None = option(
        "numbers",
        default=None,
        minimum=-10.0,
        maximum=10.0,
        label="Scales",
        help="Scales to try, where a method has one; empty for those of the grid.",
    )
    densities: tuple[float, ...] | None = option(
        "numbers",
        default=None,
        minimum=0.0,
        maximum=1.0,
        label="Densities",
        help="Shares of the entries to keep, where a method drops some; empty for those of the grid.",
    )
    lean: float | None = option(
        "number",
        default=None,
        minimum=1.0,
        maximum=100.0,
        label="Lean",
        help="Also try weights that give each adapter in turn this many times the weight of the others.",
    )
    text_rows: int = option(
        "integer",
        default=48,
        minimum=0,
        maximum=100_000,
        label="Rows of text",
        help="How many rows of each adapter's own text RegMean reads; they are not measured on. 0 leaves it out.",
    )
    text_sets: int = option(
        "integer",
        default=0,
        minimum=0,
        maximum=1000,
        label="Datasets of text",
        help="How many of the datasets, the last ones, are RegMean's text and not measured on: one for each adapter, "
        "in their order. 0 takes rows of the tasks, if there is one for each adapter, in their order.",
    )
    metric: str = option(
        "choice",
        default="exact_match",
        choices=("exact_match", "choice"),
        label="Metric",
        help="The share that decides; equal shares are told apart by the likelihood of the completions.",
    )
    split: str = option(
        "string",
        default="",
        label="Split",
        help="Which file of the datasets to search on, without .jsonl; empty for validation, else train, else test. "
        "Not the one that you report later.",
    )
    first_rows: int = option(
        "integer",
        default=16,
        minimum=LEAST_ROWS,
        maximum=10_000,
        label="First rows",
        help="Rows of each dataset that every candidate is measured on.",
    )
    rows: int = option(
        "integer",
        default=128,
        minimum=LEAST_ROWS,
        maximum=1_000_000,
        label="Rows",
        help="Rows of each dataset that the last candidates are measured on.",
    )
    budget: int | None = option(
        "integer",
        default=None,
        minimum=1,
        maximum=1_000_000_000,
        label="Budget",
        help="The most rows read for candidates in all; the rows of each round shrink until it is kept.",
    )
    max_new_tokens: int = option(
        "integer", default=16, minimum=1, maximum=1024, label="New tokens", help="Longest greedy answer, in tokens."
    )
    batch_size: int = option(
        "integer",
        default=16,
        minimum=1,
        maximum=512,
        label="Batch",
        help="Rows computed at once; changes speed, not results.",
    )
    seed: int = option(
        "integer",
        default=0,
        minimum=0,
        maximum=2**32 - 1,
        label="Seed",
        help="Decides which rows come first, and goes to the methods that draw at random.",
    )
    across_quantisations: bool = across_option()

    def __post_init__(self) -> None:
        # Without arguments `super()` fails in a dataclass with slots.
        super(MergeSearchRecipe, self).__post_init__()
        if wrong := [rank for rank in self.ranks or () if rank != int(rank)]:
            raise RecipeError("ranks", f"Ranks: expected whole numbers, got {wrong[0]:g}.")
        for name in ("scales", "densities"):
            if getattr(self, name) == ():
                raise RecipeError(name, f"{name.capitalize()}: expected at least one number, got none.")
        if self.first_rows > self.rows:
            raise RecipeError(
                "first_rows",
                f"First rows: {self.first_rows} is more than the {self.rows} rows of the last round. Give fewer.",
            )

    @property
    def named(self) -> tuple[str, ...]:
        """The methods that were asked for by name, each once."""
        return tuple(dict.fromkeys(word for word in self.methods.replace(",", " ").split()))

    def check(self, inputs: Inputs) -> None:
        """At least two adapters that can be merged with each other."""
        checks.check_count(inputs, 2, "A search")
        checks.check_mergeable(inputs)
        checks.check_shapes(inputs)

    def evaluation(self, split: str) -> EvaluateRecipe:
        """What one measurement of a candidate is."""
        return EvaluateRecipe(
            metrics=("nll", self.metric),
            split=split,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
        )

    def split_of(self, splits: Mapping[str, object]) -> str:
        """The split to search on in a dataset that has these: the one that was named, else the first usual one."""
        usual = (name for name in ALWAYS_TRIED if name in splits)
        return self.split or next(usual, next(iter(sorted(splits)), "test"))


METHODS = (
    Method(
        kind="merge-search",
        verb="search",
        label="Search of merges",
        summary="Tries merges of the same adapters over a grid, and keeps the best by quality, rank and time.",
        recipe=MergeSearchRecipe,
        function="composition.judging.search:search",
        needs=Needs(min_inputs=2, base_model=True, device="any"),
        result="answer",
        paper="https://arxiv.org/abs/1502.07943",
    ),
)
