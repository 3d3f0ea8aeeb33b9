"""Cross-LoRA (arXiv:2508.05232): the update, projected between the singular subspaces of both bases' weights."""

from collections.abc import Sequence
from pathlib import Path

from composition.progress import Progress, ignore
from composition.recipes import CrossLoraRecipe
from composition.weights import LoraWeights
from transfer.shortcut import ShortcutResult


def cross_lora(
    adapters: Sequence[LoraWeights],
    recipe: CrossLoraRecipe,
    *,
    base_name: str,
    source: Path,
    target: Path,
    progress: Progress = ignore,
) -> ShortcutResult:
    """The one adapter of `adapters`, projected; `source` and `target` are the bases' safetensors folders."""
    raise NotImplementedError
