"""What the ways without training share: one adapter in, weights for the target out, checked against its shapes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from composition.errors import CompositionError
from composition.formats.safetensors_writer import cast
from composition.recipes import ShortcutRecipe
from composition.weights import Factors, LoraWeights

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
Shapes = Mapping[str, Sequence[int]]
"""Module name → [out, in], as `composition.running.base_models.module_shapes` gives them."""


@dataclass(frozen=True, slots=True)
class ShortcutResult:
    """`weights` for the target base (its id is set), `report` plain JSON: `summary`, `modules`, `warnings`."""

    weights: LoraWeights
    report: dict[str, Any]


def only(adapters: Sequence[LoraWeights], recipe: ShortcutRecipe) -> LoraWeights:
    """The one adapter, checked by the recipe. Error: `transfer.one_adapter`."""
    if len(adapters) != 1:
        raise CompositionError(
            "transfer.one_adapter", f"A transfer moves one adapter, but {len(adapters)} were given. Give one."
        )
    recipe.check([(adapters[0].name or "the adapter", adapters[0].facts())])
    return adapters[0]


def converted(factors: Factors, module: str, recipe: ShortcutRecipe, stored: torch.dtype) -> Factors:
    """The factors in the recipe's precision, or in that of the adapter."""
    dtype = DTYPES.get(recipe.dtype, stored)
    return Factors(cast(factors.A, dtype, module), cast(factors.B, dtype, module), factors.scale)


def check_fits(module: str, out_in: Sequence[int], shapes: Shapes, base: str) -> None:
    """The target must have the module, of this shape. Errors: `transfer.no_module`, `transfer.shapes_differ`."""
    if module not in shapes:
        raise CompositionError(
            "transfer.no_module",
            f"{base} has no module {module}, which the adapter adapts: it has another architecture. Use trans-lora, "
            "which moves an adapter between any two bases.",
            module=module,
        )
    if list(shapes[module]) != list(out_in):
        raise CompositionError(
            "transfer.shapes_differ",
            f"{module} is {' × '.join(map(str, out_in))} in the adapter and {' × '.join(map(str, shapes[module]))} "
            f"in {base}; this method needs equal shapes. Use trans-lora, which moves an adapter between any two bases.",
            module=module,
        )


def moved(weights: LoraWeights, modules: Mapping[str, Factors], base_name: str) -> LoraWeights:
    """The result under the target's name; the config's own targets are kept where the modules are the same."""
    same = set(modules) == set(weights)
    return LoraWeights(
        modules,
        base_model=base_name,
        name=weights.name,
        task_type=weights.task_type,
        target_modules=weights.target_modules if same else None,
        fan_in_fan_out=weights.fan_in_fan_out,
    )
