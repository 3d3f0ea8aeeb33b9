"""Recipes of the ways to move an adapter without training, between bases of one architecture."""

from dataclasses import dataclass
from typing import ClassVar

from composition.recipes import checks
from composition.recipes.base import Inputs, Recipe, option


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortcutRecipe(Recipe):
    """Needs no training, between bases of one architecture; always to be measured against the bare target."""

    dtype: str = option(
        "choice",
        default="keep",
        choices=("keep", "float32", "float16", "bfloat16"),
        label="Precision",
        help="How the result is stored; keep takes the adapter's own.",
    )

    def check(self, inputs: Inputs) -> None:
        """One plain LoRA: what needs its base weight to mean anything can't be moved as it is."""
        checks.check_count(inputs, 1, self.kind, "transfer")
        checks.check_mergeable(inputs, "transfer")


@dataclass(frozen=True, slots=True, kw_only=True)
class PortLlmRecipe(ShortcutRecipe):
    """PortLLM: the update as it is, on a further-trained base of equal shapes."""

    kind: ClassVar[str] = "portllm"

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        return {module: shape.r for _, facts in inputs for module, shape in sorted(facts.modules.items())}


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossLoraRecipe(ShortcutRecipe):
    """Cross-LoRA: the update, projected between the singular subspaces of both bases' weights."""

    kind: ClassVar[str] = "cross-lora"

    subspace: int = option(
        "integer",
        default=320,
        minimum=1,
        maximum=65_536,
        label="Subspace",
        help="How many singular directions of each base's weight are aligned; the largest possible where it is more.",
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

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        return {module: shape.r for _, facts in inputs for module, shape in sorted(facts.modules.items())}
