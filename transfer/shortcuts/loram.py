"""LoRAM (arXiv:2502.13533): an adapter trained on a pruned base, put back into the full one by the index map.

    A' [r, in]:   A'[:, kept_in] = A,    0 elsewhere          B' [out, r]:   B'[kept_out] = B,   0 elsewhere

so that ΔW' has ΔW at the kept rows and columns and zero at the pruned ones: exact, no arithmetic at all.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from composition.errors import CompositionError
from composition.progress import Progress, ignore
from composition.recipes import LoRamRecipe
from composition.weights import Factors, LoraWeights
from transfer.shortcuts.shortcut import Shapes, ShortcutResult, check_fits, converted, moved, only


def loram(
    adapters: Sequence[LoraWeights],
    recipe: LoRamRecipe,
    *,
    base_name: str,
    index: Mapping[str, Mapping[str, Any]],
    shapes: Shapes,
    progress: Progress = ignore,
) -> ShortcutResult:
    """The one adapter of `adapters`, on the full base of these `shapes`.

    `index` maps a module to {"in": indices, "out": indices, "name": its name in the full base} in the pruned weight's
    order; what is missing was not pruned or not renamed (dropped layers renumber the others). Errors:
    `transfer.index`, `transfer.no_module`, `transfer.shapes_differ`, `transfer.needs_base`.
    """
    weights = only(adapters, recipe)
    unknown = [module for module in index if module not in weights]
    if unknown and not set(index) & set(weights):
        raise _wrong(unknown[0], f"names modules such as {unknown[0]}, but none that the adapter adapts")
    modules: dict[str, Factors] = {}
    recovered = 0
    for number, module in enumerate(weights, 1):
        entry, factors = index.get(module, {}), weights[module]
        full = str(entry.get("name", module))
        if full in modules:
            raise _wrong(module, f"puts two modules on {full}")
        wide = tuple(shapes.get(full, (factors.out_features, factors.in_features)))
        A, B = factors.A, factors.B
        if entry.get("in") is not None:
            A = _spread(A.T, entry["in"], wide[1], module, "in").T.contiguous()
        if entry.get("out") is not None:
            B = _spread(B, entry["out"], wide[0], module, "out")
        check_fits(full, (B.shape[0], A.shape[1]), shapes, base_name)
        recovered += (A.shape, B.shape) != (factors.A.shape, factors.B.shape)
        stored = weights.module_dtype(module)
        modules[full] = converted(Factors(A, B, factors.scale), full, recipe, stored)
        progress(number / len(weights), f"{number} of {len(weights)} modules")
    report = {
        "method": recipe.kind,
        "summary": {"modules": len(modules), "recovered": recovered},
        "warnings": ["Nothing was trained or measured: compare the result with the bare target on real rows."],
    }
    return ShortcutResult(moved(weights, modules, base_name), report)


def _spread(rows: Tensor, kept: Any, width: int, module: str, side: str) -> Tensor:
    """[width, r] with `rows` [n, r] at the kept places."""
    try:
        places = torch.as_tensor(kept, dtype=torch.long)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _wrong(module, f"holds no list of whole numbers under {side!r}") from error
    if places.ndim != 1 or len(places) != len(rows):
        raise _wrong(module, f"keeps {places.numel()} under {side!r}, but the adapter has {len(rows)} there")
    if len(places) and (int(places.min()) < 0 or int(places.max()) >= width):
        raise _wrong(module, f"reaches outside the {width} of the full base under {side!r}")
    if len(places.unique()) != len(places):
        raise _wrong(module, f"names an index twice under {side!r}")
    spread = rows.new_zeros(width, rows.shape[1])
    spread[places] = rows
    return spread


def _wrong(module: str, what: str) -> CompositionError:
    return CompositionError(
        "transfer.index",
        f"The index map of {module} {what}. Give, for each pruned module, the places in the full weight of the rows "
        "(out) and columns (in) that were kept, in their order.",
        module=module,
    )
