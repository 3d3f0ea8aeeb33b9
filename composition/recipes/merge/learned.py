"""The recipes of merges that learn coefficients, one an adapter or one a layer: LoRAHub, LoRA Soups, AdaMerging."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from composition.recipes.base import Inputs, option
from composition.recipes.merge.calibrated import CalibratedRecipe
from composition.recipes.method import Method, Needs

ALL, LAYER, MODULE = "all", "layer", "module"


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedRecipe(CalibratedRecipe):
    """Σ c_i ΔW_i with coefficients that are learnt on one text for all adapters.

    Weights are where the coefficients begin. With no rank, the result has all that the sum has, and nothing is cut.
    """

    needs_labels: ClassVar[bool] = False
    start: ClassVar[float | None] = None
    """Where coefficients begin; None is 1/n."""

    batch_size: int = option("integer", default=8, minimum=1, maximum=256, label="Batch", help="Rows a step.")

    def settled(self, inputs: Inputs) -> Self:
        return replace(self, rank=self.rank or max(self.available(inputs).values()))

    def begin(self, count: int) -> tuple[float, ...]:
        """The coefficients of `count` adapters before anything is learnt."""
        return self.weights or (1 / count if self.start is None else self.start,) * count

    def rows_read(self, rows: int) -> int:
        """How many rows go through the base, of a text of so many; a row that teaches counts three times."""
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRecipe(LearnedRecipe):
    """Coefficients that gradients teach."""

    by: str = option(
        "choice",
        default=LAYER,
        choices=(ALL, LAYER, MODULE),
        label="One coefficient",
        help="for each adapter: for all its modules, for each layer, or for each module.",
    )
    steps: int = option("integer", default=100, minimum=1, maximum=100_000, label="Steps", help="Training steps.")
    learning_rate: float = option(
        "number",
        default=0.02,
        minimum=1e-7,
        maximum=1.0,
        label="Learning rate",
        help="AdamW's peak rate for the coefficients, cosine to zero.",
    )

    def rows_read(self, rows: int) -> int:
        return 3 * self.steps * self.batch_size


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraHubRecipe(LearnedRecipe):
    """Coefficients that an evolution strategy finds on a few examples, without gradients."""

    kind: ClassVar[str] = "lorahub"
    name: ClassVar[str] = "LoRAHub"
    start: ClassVar[float | None] = 0.0

    evaluations: int = option(
        "integer",
        default=40,
        minimum=2,
        maximum=10_000,
        label="Evaluations",
        help="How many sets of coefficients are tried; each reads all rows once.",
    )
    bound: float = option(
        "number", default=1.5, minimum=0.01, maximum=10.0, label="Bound", help="Coefficients stay within ± this."
    )
    penalty: float = option(
        "number",
        default=0.05,
        minimum=0.0,
        maximum=10.0,
        label="Penalty",
        help="What the mean size of the coefficients adds to the loss.",
    )

    def rows_read(self, rows: int) -> int:
        return self.evaluations * rows


@dataclass(frozen=True, slots=True, kw_only=True)
class SoupsRecipe(TrainedRecipe):
    """Coefficients a layer, trained on the language loss of a small mixed text."""

    kind: ClassVar[str] = "lora-soups"
    name: ClassVar[str] = "LoRA Soups"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaMergingRecipe(TrainedRecipe):
    """Coefficients a layer, trained to make answers certain, on prompts without answers."""

    kind: ClassVar[str] = "adamerging"
    name: ClassVar[str] = "AdaMerging"
    start: ClassVar[float | None] = 0.3


METHODS = (
    Method(
        kind="lorahub",
        verb="merge",
        label="LoRAHub",
        summary="One coefficient for each adapter, found on a few examples of a new task without gradients.",
        recipe=LoraHubRecipe,
        function="composition.merging.calibrated.lorahub:lorahub",
        needs=Needs(min_inputs=2, base_model=True, device="any"),
        purpose="data",
        paper="https://arxiv.org/abs/2307.13269",
    ),
    Method(
        kind="lora-soups",
        verb="merge",
        label="LoRA Soups (CAT)",
        summary="One coefficient for each adapter and layer, trained on a small mixed text.",
        recipe=SoupsRecipe,
        function="composition.merging.calibrated.trained:lora_soups",
        needs=Needs(min_inputs=2, base_model=True, device="any"),
        purpose="data",
        paper="https://arxiv.org/abs/2410.13025",
    ),
    Method(
        kind="adamerging",
        verb="merge",
        label="AdaMerging",
        summary="One coefficient for each adapter and layer, trained to make answers certain, on prompts alone.",
        recipe=AdaMergingRecipe,
        function="composition.merging.calibrated.trained:adamerging",
        needs=Needs(min_inputs=2, base_model=True, device="any"),
        purpose="data",
        paper="https://arxiv.org/abs/2310.02575",
    ),
)
