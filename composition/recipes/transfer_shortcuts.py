"""Recipes of the methods that move an adapter without training, between bases of one architecture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from composition.facts import AdapterFacts
from composition.recipes import checks
from composition.recipes.base import Inputs, Recipe, option
from composition.recipes.layout import BEFORE_LAYOUTS, layout_option
from composition.recipes.method import Method, Needs

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortcutRecipe(Recipe):
    """Moves an adapter without training, between bases of one architecture; measure the result against the bare target.

    `wants` names what its function is given besides the adapter: the target's `shapes`, the `index` map of a pruning,
    the folders of both bases' `weights`. `from_pruned`: only for a pruned base and the full base it was cut from.
    """

    version: ClassVar[int] = 2
    earlier: ClassVar[Mapping[int, Mapping[str, Any]]] = BEFORE_LAYOUTS
    wants: ClassVar[tuple[str, ...]] = ()
    from_pruned: ClassVar[bool] = False

    dtype: str = option(
        "choice",
        default="keep",
        choices=("keep", "float32", "float16", "bfloat16"),
        label="Precision",
        help="How the result is stored; keep takes the adapter's own.",
    )
    layout: str = layout_option()

    def check(self, inputs: Inputs) -> None:
        """One plain LoRA: an adapter that depends on the weights of its base can't be moved as it is."""
        checks.check_count(inputs, 1, self.kind, "transfer")
        checks.check_mergeable(inputs, "transfer")

    def misfit(self, adapter: str, facts: AdapterFacts, target: str, shapes: Shapes) -> str:
        """Why the adapter can't be put on a target of these `shapes` ({module: [out, in]}); "" where it can."""
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortLlmRecipe(ShortcutRecipe):
    """PortLLM: the update as it is, on a further-trained base of equal shapes."""

    kind: ClassVar[str] = "portllm"
    wants: ClassVar[tuple[str, ...]] = ("shapes",)

    def misfit(self, adapter: str, facts: AdapterFacts, target: str, shapes: Shapes) -> str:
        """The target must have every adapted module, in the same shape."""
        for name, module in facts.modules.items():
            here, there = [module.out_features, module.in_features], shapes.get(name)
            if there is None:
                return (
                    f"{target} has no module {name}, which {adapter} adapts. Use trans-lora, which moves an "
                    "adapter between any two bases."
                )
            if list(there) != here:
                return (
                    f"{name} is {here} in {adapter} and {list(there)} in {target}; portllm needs equal shapes. "
                    "Use trans-lora or cross-lora."
                )
        return ""

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        return {module: shape.r for _, facts in inputs for module, shape in sorted(facts.modules.items())}


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossLoraRecipe(ShortcutRecipe):
    """Cross-LoRA: the update, projected between the singular subspaces of both bases' weights."""

    kind: ClassVar[str] = "cross-lora"
    wants: ClassVar[tuple[str, ...]] = ("weights",)

    subspace: int = option(
        "integer",
        default=320,
        minimum=1,
        maximum=65_536,
        label="Subspace",
        help="How many singular directions of each base's weight are aligned; all of them if there are fewer.",
    )
    keep_norm: bool = option(
        "boolean",
        default=False,
        label="Keep the norm",
        help="Scale each projected update back to the Frobenius norm it had; the paper does not.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoRamRecipe(ShortcutRecipe):
    """LoRAM: an adapter trained on a pruned base, put back into the full one by the index map; exact."""

    kind: ClassVar[str] = "loram"
    wants: ClassVar[tuple[str, ...]] = ("shapes", "index")
    from_pruned: ClassVar[bool] = True

    def misfit(self, adapter: str, facts: AdapterFacts, target: str, shapes: Shapes) -> str:
        """No module may be larger in the pruned base than in the full one."""
        for name, module in facts.modules.items():
            here, there = [module.out_features, module.in_features], shapes.get(name)
            if there and any(full < part for full, part in zip(there, here, strict=False)):
                return (
                    f"{name} is {here} in {adapter} but only {list(there)} in {target}. Choose the full base as target."
                )
        return ""

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        return {module: shape.r for _, facts in inputs for module, shape in sorted(facts.modules.items())}


METHODS = (
    Method(
        kind="portllm",
        verb="transfer",
        label="PortLLM",
        summary="The same update on a further-trained base of equal shapes; no training.",
        recipe=PortLlmRecipe,
        function="transfer.shortcuts.portllm:portllm",
        needs=Needs(min_inputs=1, max_inputs=1),
        paper="https://arxiv.org/abs/2410.10870",
    ),
    Method(
        kind="cross-lora",
        verb="transfer",
        label="Cross-LoRA",
        summary="Projects the update between the singular subspaces of both bases' weights; no training.",
        recipe=CrossLoraRecipe,
        function="transfer.shortcuts.cross_lora:cross_lora",
        needs=Needs(min_inputs=1, max_inputs=1, base_model=True),
        paper="https://arxiv.org/abs/2508.05232",
    ),
    Method(
        kind="loram",
        verb="transfer",
        label="LoRAM",
        summary="Puts an adapter of a pruned base back into the full one by the index map; exact.",
        recipe=LoRamRecipe,
        function="transfer.shortcuts.loram:loram",
        needs=Needs(min_inputs=1, max_inputs=1),
        paper="https://arxiv.org/abs/2502.13533",
    ),
)
