"""The recipes of mixtures that route every token by themselves: MeteoRA (adapters are experts), SMoRA (ranks are).

Stages are named in `train`: `prototype` needs no data, `router` trains the router alone, `experts` (MeteoRA's official
script) and `full` (SMoRA's published training) train the adapters too. Defaults are the published ones where a router
of a few hundred steps can use them; what differs says so in its help.
"""

from dataclasses import dataclass
from typing import ClassVar

from composition.errors import RecipeError
from composition.recipes import checks
from composition.recipes.assemble import PROTOTYPE, AssembleRecipe
from composition.recipes.base import Inputs, option
from composition.recipes.method import Method, Needs


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
        "integer",
        default=2,
        minimum=1,
        maximum=64,
        label="Adapters per token",
        help="How many adapters serve each token.",
    )
    router_temperature: float = option(
        "number",
        default=1.0,
        minimum=0.01,
        maximum=1000.0,
        label="Temperature",
        help="Of the softmax over the chosen adapters; published: 1, or 15 to 30 for several tasks in one prompt.",
    )
    gate_loss: float | None = option(
        "number",
        default=None,
        minimum=0.0,
        maximum=10_000.0,
        label="Gate loss β",
        help="Weight of the cross-entropy to the task's own adapter; empty for the published 50, or for 1 if the "
        "adapters are trained too, because 50 would distort them to suit the gates. With one adapter per token "
        "nothing else trains a gate.",
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
                f"Adapters per token: {self.top_k} is more than the {len(inputs)} adapters given. "
                f"Use at most {len(inputs)}.",
                largest=len(inputs),
            )
        if self.trains and self.top_k == 1 and self.gate_loss == 0:
            raise RecipeError(
                "gate_loss",
                "Gate loss β: 0 leaves a router with one adapter per token without a gradient. Use more than 0.",
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
        help="router: the router on frozen adapters. full: adapters and router, as published, from these "
        "adapters. prototype: nothing; each token takes the ranks of the adapter whose direction it matches best.",
    )
    activate_r: int | None = option(
        "integer",
        default=None,
        minimum=1,
        maximum=4096,
        label="Ranks per token",
        help="How many ranks serve each token; empty for the adapters' mean rank.",
    )
    rank_partition: int = option(
        "integer",
        default=1,
        minimum=1,
        maximum=4096,
        label="Ranks per router row",
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
        help="Whether the balancing bias also enters the weight of a rank (official code), or only the choice.",
    )
    bias_update: float = option(
        "number",
        default=1e-5,
        minimum=0.0,
        maximum=0.1,
        label="Balancing step u",
        help="How much each step moves a rank's bias towards even use; 0 turns balancing off.",
    )

    def check(self, inputs: Inputs) -> None:
        AssembleRecipe.check(self, inputs)
        largest = max(checks.pooled_ranks(inputs).values())
        if self.activate_r is not None and self.activate_r > largest:
            raise RecipeError(
                "activate_r",
                f"Ranks per token: {self.activate_r} is more than the adapters have together: {largest} in "
                f"their largest module. Use at most {largest}.",
                largest=largest,
            )
        for name, facts in inputs:
            for module, shape in facts.modules.items():
                if shape.r % self.rank_partition:
                    raise RecipeError(
                        "rank_partition",
                        f"Ranks per router row: {self.rank_partition} does not divide the {shape.r} ranks of {module} "
                        f"in {name}. Use a common divisor of all ranks, such as 1.",
                        adapter=name,
                        module=module,
                    )

    def ranks_a_token(self, inputs: Inputs) -> int:
        """`activate_r`, or one adapter's worth of ranks: the rounded mean over all adapters and modules."""
        ranks = [shape.r for _, facts in inputs for shape in facts.modules.values()]
        return self.activate_r or max(1, round(sum(ranks) / len(ranks)))


METHODS = (
    Method(
        kind="meteora",
        verb="assemble",
        label="MeteoRA",
        summary="Keeps every adapter as an expert; a gate in each module sends each token to the best of them.",
        recipe=MeteoraRecipe,
        function="composition.moe.assemble:assemble",
        needs=Needs(min_inputs=2, base_model=True, device="any"),
        paper="https://arxiv.org/abs/2405.13053",
    ),
    Method(
        kind="smora",
        verb="assemble",
        label="SMoRA",
        summary="Makes every rank of every adapter an expert; a router in each module picks the ranks for each token.",
        recipe=SmoraRecipe,
        function="composition.moe.assemble:assemble",
        needs=Needs(min_inputs=2, base_model=True, device="any"),
        paper="https://arxiv.org/abs/2501.15103",
    ),
)
