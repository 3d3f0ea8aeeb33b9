"""Writes LoraWeights as a PEFT folder: two files, the same bytes every time, one module in memory.

The config is `plain_config`'s; its alpha is positive, so the sign of a negative scale, or a scale of zero, goes into B.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path

import torch

from composition.errors import CompositionError
from composition.factors import Factors, LoraWeights
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE, factor_names
from composition.formats.peft.plain_config import plain_config
from composition.formats.safetensors_writer import replace_file, safetensors_header, tensor_bytes


def save_peft(
    weights: LoraWeights,
    folder: str | PathLike[str],
    base_model: str | None = None,
    *,
    dtype: torch.dtype | None = None,
    extra_metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`, which `PeftModel.from_pretrained` loads.

    `base_model` (default: the weights' own) is written as the base's id. Tensors keep their dtype unless `dtype` says
    otherwise; modules are read and written one at a time; equal weights make equal bytes. `extra_metadata` goes into
    the safetensors header. Raises CompositionError where a value doesn't fit the dtype.
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
