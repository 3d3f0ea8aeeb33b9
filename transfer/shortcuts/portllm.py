"""PortLLM (arXiv:2410.10870): the update ΔW unchanged on a further-trained base of equal shapes.

    W_t + ΔW  with  W_t the further-trained weight: what the adapter learnt is assumed to hold there.

No weight of a base is read. Only an evaluation against the bare target shows whether it holds.
"""

from collections.abc import Sequence

from composition.progress import Progress, ignore
from composition.recipes import PortLlmRecipe
from composition.weights import Factors, LoraWeights
from transfer.shortcuts.shortcut import Shapes, ShortcutResult, check_fits, converted, moved, only


def portllm(
    adapters: Sequence[LoraWeights],
    recipe: PortLlmRecipe,
    *,
    base_name: str,
    shapes: Shapes,
    progress: Progress = ignore,
) -> ShortcutResult:
    """The one adapter of `adapters`, for `base_name` of these `shapes`; with dtype=keep bit for bit.

    Errors: `transfer.no_module`, `transfer.shapes_differ`, `transfer.needs_base`.
    """
    weights = only(adapters, recipe)
    modules: dict[str, Factors] = {}
    for number, module in enumerate(weights, 1):
        facts = weights.module_facts(module)
        check_fits(module, (facts.out_features, facts.in_features), shapes, base_name)
        modules[module] = converted(weights[module], module, recipe, weights.module_dtype(module))
        progress(number / len(weights), f"{number} of {len(weights)} modules")
    report = {
        "method": recipe.kind,
        "summary": {"modules": len(modules)},
        "warnings": ["Nothing was trained or measured: compare the result with the bare target on real rows."],
    }
    return ShortcutResult(moved(weights, modules, base_name), report)
