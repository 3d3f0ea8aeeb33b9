"""An estimate of the memory a transfer takes, before it starts, from the base's size and the recipe, without torch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from composition.errors import CompositionError

if TYPE_CHECKING:
    from composition.recipes.transfer import TransLoraRecipe

PRECISIONS = ("float32", "bfloat16", "int8")
BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0}
ACTIVATION_BYTES = 34
"""Bytes that one token keeps for the backward pass, per layer and unit of width, in half precision (rough)."""


def memory_estimate(
    parameters: int,
    recipe: "TransLoraRecipe",
    *,
    layers: int,
    width: int,
    vocabulary: int,
    length: int | None = None,
    trained: int | None = None,
) -> dict[str, int]:
    """The bytes needed to train this recipe's adapter on a base of this many parameters, by part, and their `total`.

    `length` is the longest row in tokens (default: recipe.max_length), `trained` the adapter's parameters (default: a
    LoRA on two square modules per layer); micro_batch=auto counts as one row at once, the least. The estimate is rough
    on purpose, and high: AdamW keeps three float32 copies of the gradient's size beside the adapter,
    activations are 34 bytes per token, layer and unit of width in half precision (twice in float32), of which
    checkpointing keeps 2, and logits are computed for the answer's tokens only.
    """
    rows = recipe.batch_size if recipe.micro_batch == "auto" else min(int(recipe.micro_batch), recipe.batch_size)
    rows = 1 if recipe.micro_batch == "auto" else rows
    tokens = rows * (length or recipe.max_length)
    wide = 2 if recipe.precision == "float32" else 1
    each = (2 if recipe.gradient_checkpointing else ACTIVATION_BYTES) * wide
    adapter = trained if trained is not None else layers * 2 * 2 * width * recipe.rank
    answers = rows * min(recipe.answer_tokens + 1, length or recipe.max_length)
    parts = {
        "weights": int(parameters * BYTES[recipe.precision]),
        "adapter": adapter * 4 * 4,
        "activations": tokens * layers * width * each,
        "logits": answers * vocabulary * 4 * 3,
    }
    return {**parts, "total": sum(parts.values())}


def check_memory(needed: Mapping[str, int], free: int, base: str) -> None:
    """Refuse a base that does not fit into `free` bytes. Error: `transfer.memory`."""
    if needed["total"] > free:
        raise CompositionError(
            "transfer.memory",
            f"{base} needs about {needed['total'] / 2**30:.1f} GiB to be trained on (weights "
            f"{needed['weights'] / 2**30:.1f}), and this worker has {free / 2**30:.1f} GiB free. Use "
            "gradient_checkpointing, a shorter max_length or precision=bfloat16, or a worker with more memory.",
            needed=dict(needed),
            free=free,
        )
