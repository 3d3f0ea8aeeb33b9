"""LoRAM (arXiv:2502.13533): an adapter trained on a pruned base, put back into the full one by the index map."""

from collections.abc import Mapping, Sequence
from typing import Any

from composition.progress import Progress, ignore
from composition.recipes import LoRamRecipe
from composition.weights import LoraWeights
from transfer.shortcut import ShortcutResult


def loram(
    adapters: Sequence[LoraWeights],
    recipe: LoRamRecipe,
    *,
    base_name: str,
    index: Mapping[str, Mapping[str, Any]],
    shapes: Mapping[str, Sequence[int]],
    progress: Progress = ignore,
) -> ShortcutResult:
    """The one adapter of `adapters`, on the full base of these `shapes`.

    `index` maps a module to {"in": indices, "out": indices} into the full weight, in the pruned weight's order; a
    missing entry or side means that nothing was pruned there.
    """
    raise NotImplementedError
