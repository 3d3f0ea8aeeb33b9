"""The recipes of merges that read a little text on the base: RegMean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from composition.errors import CompositionError, RecipeError
from composition.recipes.base import Inputs, option
from composition.recipes.merge.frame import RankedRecipe
from composition.recipes.method import Method, Needs

DOCUMENT, TURN = "document", "prompt"
ALONE = ("o_proj", "out_proj", "down_proj", "dense")
"""Last names of modules that read what their siblings made: an estimate gives them a Gram of their own."""
GRAM_BYTES = 2 * 2**30
"""Bytes of Grams that are gathered at once; more of them take further passes over the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedRecipe(RankedRecipe):
    """What merges share that read text: which rows, how many, how long."""

    needs_labels: ClassVar[bool] = True
    """Whether each adapter has a dataset of its own; else all datasets are one text."""

    split: str = option("string", default="train", label="Split", help="Which file of each dataset, without .jsonl.")
    rows: int = option(
        "integer",
        default=48,
        minimum=1,
        maximum=100_000,
        label="Rows",
        help="How many rows of each dataset are read, drawn by the seed; a few dozen are enough.",
    )
    max_length: int = option(
        "integer",
        default=512,
        minimum=8,
        maximum=32_768,
        label="Longest row",
        help="In tokens; what a row has beyond is not read.",
    )
    text_as: str = option(
        "choice",
        default=DOCUMENT,
        choices=(DOCUMENT, TURN),
        label="Rows of text are",
        help="document: read as they stand. prompt: read as what a user asks, without an answer.",
    )
    seed: int = option(
        "integer", default=0, minimum=0, maximum=2**32 - 1, label="Seed", help="Decides which rows are drawn."
    )

    def check_data(self, names: Sequence[str], rows: Mapping[str, int]) -> None:
        """Refuse data that don't suit; `rows` counts rows by adapter, or by any name where they are one text.

        Errors: `merge.no_data`, `merge.empty_data`, `merge.unknown_data`.
        """
        wanted = "a small mixed dataset"
        if self.needs_labels:
            wanted = "one small dataset for each adapter, in their order, or keep seed examples beside each"
        missing = [name for name in names if name not in rows] if self.needs_labels else [] if rows else list(names)
        if missing:
            raise CompositionError(
                "merge.no_data",
                f"{self.name} reads text that the adapters are for, and there is none for {', '.join(missing)}. "
                f"Give {wanted}: a few dozen prompts are enough.",
                adapters=missing,
            )
        if self.needs_labels and (unknown := [name for name in rows if name not in names]):
            raise CompositionError(
                "merge.unknown_data",
                f"Data was given for {', '.join(unknown)}, but the adapters are {', '.join(names)}. Give {wanted}.",
                data=unknown,
            )
        for name, count in rows.items():
            if count < 1:
                raise CompositionError(
                    "merge.empty_data",
                    f"The data of {name} has no row in the split {self.split!r}. Fill it, or name another split.",
                    data=name,
                )


def gram_widths(inputs: Inputs) -> list[int]:
    """in features of each Gram: modules of one parent and width count as sharing their input, as q, k and v do."""
    shared = {
        (name.rpartition(".")[0], module.in_features, name.rpartition(".")[2] in ALONE)
        for _, facts in inputs
        for name, module in facts.modules.items()
    }
    return [width for _, width, _ in shared]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegMeanRecipe(CalibratedRecipe):
    """The update whose outputs are closest, in least squares, to each adapter's own on its own text.

    Weights say how much each adapter's text counts; equal ones where there are none.
    """

    kind: ClassVar[str] = "regmean"
    name: ClassVar[str] = "RegMean"
    tried: ClassVar[tuple[float, ...]] = (1.0, 1.2, 1.4)
    min_inputs: ClassVar[int] = 1

    off_diagonal: float = option(
        "number",
        default=0.9,
        minimum=0.0,
        maximum=1.0,
        label="Off-diagonal",
        help="What the Grams' entries off the diagonal are multiplied by (the paper's α): 1 trusts few rows fully.",
    )
    ridge: float = option(
        "number",
        default=1e-6,
        minimum=1e-8,
        maximum=1.0,
        label="Ridge",
        help="Added to each Gram's diagonal, as a share of its mean, for inputs that the text never uses.",
    )
    scale: float = option(
        "number",
        default=1.0,
        minimum=0.01,
        maximum=10.0,
        label="Scale",
        help="λ: what the merge is multiplied by. More kept more of some adapters and less of others: find it on rows "
        "of your own.",
    )
    cut: str = option(
        "choice",
        default="outputs",
        choices=("outputs", "weights"),
        label="Cut to the rank by",
        help="outputs: what changes the outputs on the text least. weights: a plain truncated SVD of the update.",
    )

    def check(self, inputs: Inputs) -> None:
        RankedRecipe.check(self, inputs)
        for (name, _), weight in zip(inputs, self.weights or (), strict=False):
            if weight < 0:
                raise RecipeError(
                    "weights",
                    f"Weights: {name} has {weight:g}; RegMean takes positive ones, which say how much each "
                    "adapter's text counts. Use task arithmetic to subtract an adapter.",
                )


METHODS = (
    Method(
        kind="regmean",
        verb="merge",
        label="RegMean",
        summary="The adapter whose outputs are closest to each adapter's own, on a few dozen rows of each one's text.",
        recipe=RegMeanRecipe,
        function="composition.merging.calibrated.regmean:regmean",
        needs=Needs(min_inputs=1, base_model=True, device="any"),
        purpose="data",
        searched=True,
        paper="https://arxiv.org/abs/2212.09849",
    ),
)
