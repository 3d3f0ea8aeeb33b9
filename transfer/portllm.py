"""PortLLM (arXiv:2410.10870): the update ΔW unchanged on a further-trained base of equal shapes."""

from collections.abc import Mapping, Sequence

from composition.progress import Progress, ignore
from composition.recipes import PortLlmRecipe
from composition.weights import LoraWeights
from transfer.shortcut import ShortcutResult


def portllm(
    adapters: Sequence[LoraWeights],
    recipe: PortLlmRecipe,
    *,
    base_name: str,
    shapes: Mapping[str, Sequence[int]],
    progress: Progress = ignore,
) -> ShortcutResult:
    """The one adapter of `adapters`, for `base_name`; `shapes` are the target's, as `module_shapes` gives them."""
    raise NotImplementedError
