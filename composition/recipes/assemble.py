"""What the recipes of all mixtures share: how a router starts, what it learns from, and for how long."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from composition.errors import CompositionError
from composition.recipes import checks
from composition.recipes.across import across_option
from composition.recipes.base import Inputs, Recipe, option

VERB = "assemble"
PROTOTYPE = "prototype"
PASSES, FEWEST_STEPS, MOST_STEPS = 3, 60, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AssembleRecipe(Recipe):
    """What both mixtures share: how the router starts, what it learns from, and for how long."""

    name: ClassVar[str] = ""
    needs_labels: ClassVar[bool] = False

    start: str = option(
        "choice",
        default="random",
        choices=("random", PROTOTYPE),
        label="Router start",
        help="random: like a new linear layer. prototype: each expert's strongest input direction.",
    )
    dtype: str = option(
        "choice",
        default="keep",
        choices=("keep", "float32", "float16", "bfloat16"),
        label="Precision",
        help="How the experts are stored. keep: bit for bit as they are, which needs one precision for all.",
    )
    steps: int | None = option(
        "integer",
        default=None,
        minimum=1,
        maximum=100_000,
        label="Steps",
        help=f"Training steps; empty for {PASSES} passes over the data, but {FEWEST_STEPS} to {MOST_STEPS} steps.",
    )
    batch_size: int = option(
        "integer", default=8, minimum=1, maximum=256, label="Batch", help="Rows per step, drawn from each task in turn."
    )
    learning_rate: float = option(
        "number",
        default=5e-3,
        minimum=1e-7,
        maximum=1.0,
        label="Learning rate",
        help="AdamW's peak rate for the router, cosine to zero; a few hundred steps need more than the published 5e-4.",
    )
    expert_rate: float = option(
        "number",
        default=5e-4,
        minimum=1e-7,
        maximum=1.0,
        label="Experts' learning rate",
        help="The same for the adapters' own factors, if they are trained too.",
    )
    warmup: float = option(
        "number",
        default=0.05,
        minimum=0.0,
        maximum=0.9,
        label="Warm-up",
        help="Share of the steps in which the rate rises.",
    )
    weight_decay: float = option(
        "number", default=0.01, minimum=0.0, maximum=1.0, label="Weight decay", help="AdamW's decoupled weight decay."
    )
    max_length: int = option(
        "integer",
        default=512,
        minimum=8,
        maximum=32_768,
        label="Longest row",
        help="In tokens; a longer row loses the beginning of its prompt.",
    )
    loss_on: str = option(
        "choice",
        default="completion",
        choices=("completion", "all"),
        label="Language loss",
        help="completion: on answers alone, as most adapters are trained. all: on prompts too, as published.",
    )
    holdout: float = option(
        "number",
        default=0.1,
        minimum=0.0,
        maximum=0.5,
        label="Held out",
        help="Share of each task's rows that is held out of training, to measure the router.",
    )
    split: str = option("string", default="train", label="Split", help="Which file of each dataset, without .jsonl.")
    seed: int = option(
        "integer", default=0, minimum=0, maximum=2**32 - 1, label="Seed", help="Seed of the start and of the batches."
    )
    across_quantisations: bool = across_option()

    @property
    def stage(self) -> str:
        """The value of `train`: prototype, router, experts or full."""
        return getattr(self, "train")  # noqa: B009 - the field is declared by the methods

    @property
    def trains(self) -> bool:
        """Whether there is anything to train, and so data and a base are needed."""
        return self.stage != PROTOTYPE

    def check(self, inputs: Inputs) -> None:
        """Enough plain LoRAs of one base, with different names; of one precision if `dtype` is keep."""
        checks.check_count(inputs, 2, self.name, VERB)
        checks.check_mergeable(inputs, VERB)
        checks.check_shapes(inputs, VERB)
        checks.check_names(inputs)
        if self.dtype == "keep":
            checks.check_equal_dtypes(inputs)

    def check_data(self, names: list[str], rows: Mapping[str, int]) -> None:
        """Refuse data that can't train this router; `rows` counts rows by adapter, or by any name of a mixed text.

        Errors: `assemble.no_data`, `assemble.empty_data`, `assemble.unknown_data`.
        """
        if not self.trains:
            return
        if not rows:
            raise CompositionError(
                "assemble.no_data",
                f"{self.name} with train={self.stage} learns its router from text, and none was given. "
                f"Give {self._wanted_data()}, or choose train=prototype, which needs none.",
            )
        for name, count in rows.items():
            if count < 1:
                raise CompositionError(
                    "assemble.empty_data",
                    f"The data of {name} has no row in the split {self.split!r}. Fill it, or name another split.",
                    data=name,
                )
        if self.needs_labels:
            checks.check_labels(names, rows, self.name)

    def _wanted_data(self) -> str:
        return "one small dataset for each adapter" if self.needs_labels else "a mixed text"

    def steps_for(self, rows: int) -> int:
        """The number of steps to train on this many rows."""
        return self.steps or min(max(PASSES * rows // self.batch_size, FEWEST_STEPS), MOST_STEPS)

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """Σr for every module."""
        return checks.pooled_ranks(inputs)
