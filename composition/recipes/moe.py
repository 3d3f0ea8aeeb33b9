"""The recipes of mixtures that route every token by themselves: MeteoRA (adapters are experts), SMoRA (ranks are).

Stages are named in `train`: `prototype` needs no data, `router` trains the router alone, `experts` (MeteoRA's official
script) and `full` (SMoRA's published training) train the adapters too. Defaults are the published ones where a router
of a few hundred steps can use them; what differs says so in its help.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from composition.errors import CompositionError, RecipeError
from composition.recipes import checks
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
        help="random: as a linear layer starts. prototype: each expert's strongest input direction.",
    )
    dtype: str = option(
        "choice",
        default="keep",
        choices=("keep", "float32", "float16", "bfloat16"),
        label="Precision",
        help="How the experts are stored; keep asks that all share one precision and leaves every bit as it is.",
    )
    steps: int | None = option(
        "integer",
        default=None,
        minimum=1,
        maximum=100_000,
        label="Steps",
        help=f"Training steps; empty for {PASSES} passes over the data, within {FEWEST_STEPS} to {MOST_STEPS}.",
    )
    batch_size: int = option(
        "integer", default=8, minimum=1, maximum=256, label="Batch", help="Rows a step, drawn from every task in turn."
    )
    learning_rate: float = option(
        "number",
        default=5e-3,
        minimum=1e-7,
        maximum=1.0,
        label="Learning rate",
        help="AdamW's peak for the router, cosine to zero; a few hundred steps need more than the published 5e-4.",
    )
    expert_rate: float = option(
        "number",
        default=5e-4,
        minimum=1e-7,
        maximum=1.0,
        label="Experts' learning rate",
        help="The same for the adapters' own factors, where they are trained too.",
    )
    warmup: float = option(
        "number", default=0.05, minimum=0.0, maximum=0.9, label="Warm-up", help="Share of the steps that ramp it up."
    )
    weight_decay: float = option(
        "number", default=0.01, minimum=0.0, maximum=1.0, label="Weight decay", help="AdamW's decoupled decay."
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
        help="completion: on answers alone, as adapters are mostly trained. all: on prompts too, as published.",
    )
    holdout: float = option(
        "number",
        default=0.1,
        minimum=0.0,
        maximum=0.5,
        label="Held out",
        help="Share of each task's rows kept from training, on which the router is measured.",
    )
    split: str = option("string", default="train", label="Split", help="Which file of each dataset, without .jsonl.")
    seed: int = option(
        "integer", default=0, minimum=0, maximum=2**32 - 1, label="Seed", help="Seed of the start and of the batches."
    )

    @property
    def stage(self) -> str:
        """The value of `train`: prototype, router, experts or full."""
        return getattr(self, "train")  # noqa: B009 - the field is declared by the methods

    @property
    def trains(self) -> bool:
        """Whether there is anything to train, and so data and a base are needed."""
        return self.stage != PROTOTYPE

    def check(self, inputs: Inputs) -> None:
        """Count, plain LoRAs of one base, of one precision unless it is given, under different names."""
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
        """The steps of a training on so many rows."""
        return self.steps or min(max(PASSES * rows // self.batch_size, FEWEST_STEPS), MOST_STEPS)

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """Σr for every module."""
        return checks.pooled_ranks(inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteoraRecipe(AssembleRecipe):
    """MeteoRA: per module and token the top-k of n adapters by a linear gate; loss L_LM + gate_loss · L_gate."""

    kind: ClassVar[str] = "meteora"
    name: ClassVar[str] = "MeteoRA"
    needs_labels: ClassVar[bool] = True

    train: str = option(
        "choice",
        default="router",
        choices=("router", "experts", PROTOTYPE),
        label="What is trained",
        help="router: gates alone, as published. experts: the adapters too, as the official script does. "
        "prototype: nothing; gates are the experts' strongest input directions, no data needed.",
    )
    top_k: int = option(
        "integer", default=2, minimum=1, maximum=64, label="Adapters a token", help="How many serve each token."
    )
    router_temperature: float = option(
        "number",
        default=1.0,
        minimum=0.01,
        maximum=1000.0,
        label="Temperature",
        help="Of the softmax over the chosen; published: 1 for single tasks, 15 to 30 for several in one prompt.",
    )
    gate_loss: float | None = option(
        "number",
        default=None,
        minimum=0.0,
        maximum=10_000.0,
        label="Gate loss β",
        help="Weight of the cross-entropy to the task's own adapter; empty for the published 50, or for 1 where the "
        "adapters are trained too, which 50 would bend to the gates' needs. With one adapter a token nothing else "
        "trains a gate.",
    )

    @property
    def beta(self) -> float:
        """β of L = L_LM + β · L_gate."""
        if self.gate_loss is not None:
            return self.gate_loss
        return 1.0 if self.train == "experts" else 50.0

    def check(self, inputs: Inputs) -> None:
        AssembleRecipe.check(self, inputs)
        if self.top_k > len(inputs):
            raise RecipeError(
                "top_k",
                f"Adapters a token: {self.top_k} is more than the {len(inputs)} adapters given. "
                f"Use at most {len(inputs)}.",
                largest=len(inputs),
            )
        if self.trains and self.top_k == 1 and self.gate_loss == 0:
            raise RecipeError(
                "gate_loss",
                "Gate loss β: 0 leaves a router of one adapter a token without any gradient. Use more than 0.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoraRecipe(AssembleRecipe):
    """SMoRA: all ranks of all adapters are experts; per module and token the top-k ranks by a sigmoid router."""

    kind: ClassVar[str] = "smora"
    name: ClassVar[str] = "SMoRA"

    train: str = option(
        "choice",
        default="router",
        choices=("router", "full", PROTOTYPE),
        label="What is trained",
        help="router: the router on frozen adapters. full: adapters and router, the published training from this "
        "start. prototype: nothing; each token takes the ranks of the adapter whose direction it meets.",
    )
    activate_r: int | None = option(
        "integer",
        default=None,
        minimum=1,
        maximum=4096,
        label="Ranks a token",
        help="How many ranks serve each token; empty for the adapters' mean rank.",
    )
    rank_partition: int = option(
        "integer",
        default=1,
        minimum=1,
        maximum=4096,
        label="Ranks a router row",
        help="How many neighbouring ranks share one router row; it must divide every adapter's ranks.",
    )
    rank_basis: str = option(
        "choice",
        default="as_trained",
        choices=("as_trained", "svd"),
        label="Basis of ranks",
        help="as_trained: each adapter's own ranks, bit for bit. svd: its singular directions, the same update.",
    )
    bias_in_gate: bool = option(
        "boolean",
        default=True,
        label="Bias in the gate",
        help="Whether the balancing bias enters the weight of a rank too (official code) or its choice alone.",
    )
    bias_update: float = option(
        "number",
        default=1e-5,
        minimum=0.0,
        maximum=0.1,
        label="Balancing step u",
        help="By how much a step moves each rank's bias towards even use; 0 turns balancing off.",
    )

    def check(self, inputs: Inputs) -> None:
        AssembleRecipe.check(self, inputs)
        largest = max(checks.pooled_ranks(inputs).values())
        if self.activate_r is not None and self.activate_r > largest:
            raise RecipeError(
                "activate_r",
                f"Ranks a token: {self.activate_r} is more than the adapters have together, which is {largest} in "
                f"their largest module. Use at most {largest}.",
                largest=largest,
            )
        for name, facts in inputs:
            for module, shape in facts.modules.items():
                if shape.r % self.rank_partition:
                    raise RecipeError(
                        "rank_partition",
                        f"Ranks a router row: {self.rank_partition} does not divide the {shape.r} ranks of {module} "
                        f"in {name}. Use a common divisor of all ranks, such as 1.",
                        adapter=name,
                        module=module,
                    )

    def ranks_a_token(self, inputs: Inputs) -> int:
        """`activate_r`, or one adapter's worth of ranks: the rounded mean over all adapters and modules."""
        ranks = [shape.r for _, facts in inputs for shape in facts.modules.values()]
        return self.activate_r or max(1, round(sum(ranks) / len(ranks)))
