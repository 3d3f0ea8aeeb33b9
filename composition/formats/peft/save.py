"""Writes LoraWeights as a PEFT folder: two files, the same bytes every time, one module in memory.

The compact layout is written first, and the uniform one is made of its files (`layout`, `uniform`). The compact config
is `plain_config`'s; its alpha is positive, so the sign of a negative scale, or a scale of zero, goes into B.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path

import torch

from composition.errors import CompositionError
from composition.factors import Factors, LoraWeights
from composition.formats.peft.layouts.choosing import COMPACT, laid_out
from composition.formats.peft.layouts.completing import Shapes
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE, factor_names
from composition.formats.peft.plain_config import plain_config
from composition.formats.safetensors_writer import replace_file, safetensors_header, tensor_bytes
from composition.formats.sources import LocalFile

BLOCK = 1 << 20


def save_peft(
    weights: LoraWeights,
    folder: str | PathLike[str],
    base_model: str | None = None,
    *,
    dtype: torch.dtype | None = None,
    extra_metadata: Mapping[str, str] | None = None,
    layout: str = COMPACT,
    base_shapes: Shapes | None = None,
) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`, which `PeftModel.from_pretrained` loads.

    `base_model` (default: the weights' own) is written as the base's id. Tensors keep their dtype unless `dtype` says
    otherwise; modules are read and written one at a time; equal weights make equal bytes. `extra_metadata` goes into
    the safetensors header. Layout `uniform` writes the form that every server reads right, `auto` where compact would
    not be; both need `base_shapes` ({module: [out, in]}) to know which layers are missing. Raises CompositionError
    where a value doesn't fit the dtype.
    """
    if not len(weights):
        raise CompositionError("weights.empty", "There is no module to save; expected at least one.")
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    config = plain_config(
        {module: weights.module_facts(module) for module in weights},
        base_model=base_model or weights.base_model,
        task_type=weights.task_type,
        suffixes=weights.target_modules or (),
        fan_in_fan_out=weights.fan_in_fan_out,
    )
    replace_file(path / WEIGHTS_FILE, _safetensors(weights, dtype, extra_metadata or {}))
    replace_file(path / CONFIG_FILE, iter([config]))
    lay_out(path, layout, base_shapes)


def lay_out(folder: str | PathLike[str], layout: str, base_shapes: Shapes | None = None) -> None:
    """Rewrite an adapter's two files in this layout, where they are not in it. Raises what `laid_out` raises."""
    path = Path(folder)
    files = {name: LocalFile(path / name) for name in (WEIGHTS_FILE, CONFIG_FILE)}
    for name, made in laid_out(files, layout, base_shapes).items():
        with made.open() as stream:
            replace_file(path / name, iter(partial(stream.read, BLOCK), b""))


def _safetensors(weights: LoraWeights, dtype: torch.dtype | None, metadata: Mapping[str, str]) -> Iterator[bytes]:
    tensors: dict[str, tuple[torch.dtype, Sequence[int]]] = {}
    for module in weights:
        fact, kind = weights.module_facts(module), dtype or weights.module_dtype(module)
        a, b = factor_names(module)
        tensors[a] = kind, (fact.r, fact.in_features)
        tensors[b] = kind, (fact.out_features, fact.r)
    yield safetensors_header(tensors, metadata)
    for module in weights:
        factors, kind = weights[module], dtype or weights.module_dtype(module)
        if factors.scale <= 0:
            factors = Factors(factors.A, factors.B * math.copysign(bool(factors.scale), factors.scale))
        yield tensor_bytes(factors.A, kind, module)
        yield tensor_bytes(factors.B, kind, module)
