"""Reads a PEFT LoRA folder: adapter_config.json + adapter_model.safetensors → LoraWeights, mapped and lazy.

What rank and alpha mean is asked of `config`; here names are paired, and an adapter that depends on its base is
refused with the reason. peft stores A as [r, in] and B as [out, r] for Linear and Conv1D alike.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from composition.base_shapes import BaseShapes
from composition.errors import CompositionError
from composition.factors import Factors, LazyFactors, LoraWeights
from composition.facts import ModuleFacts
from composition.formats.peft.config import PeftConfig, parse_peft_config
from composition.formats.peft.matching import effective
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE, parse_factor
from composition.formats.safetensors_writer import TORCH_DTYPES


def read(folder: Path, base: BaseShapes | None = None) -> LoraWeights:
    """The adapter in `folder`; weights are read when asked for.

    With a `base`, modules have the base's present names, whichever release the file's names are of. Raises
    CompositionError: `config.*`, `adapter.*` for files that are missing, cut, incomplete or at odds with the config,
    `adapter.needs_base` for what depends on its base weight (DoRA, PiSSA, modules_to_save, bias, fused experts).
    """
    config = parse_peft_config((folder / CONFIG_FILE).read_bytes())
    config = config if base is None else effective(config, base)
    needs = config.needs_base()
    if needs:
        raise CompositionError(
            "adapter.needs_base",
            f"{folder.name} can't be read alone: {needs[0]['reason']} {needs[0]['do']}",
            needs_base=needs,
        )
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise CompositionError(
            "adapter.no_weights",
            f"{folder.name} has no {WEIGHTS_FILE}. "
            "Save the adapter with safe_serialization=True; pickles are not read.",
        )
    try:
        source = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CompositionError(
            "adapter.broken", f"{path.name} of {folder.name} can't be read ({error}). Download or save it again."
        ) from error
    modules = {
        _of_base(module, base): _entry(source, module, pair, config)
        for module, pair in _pairs(source, folder.name, base).items()
    }
    return LoraWeights(
        modules,
        base_model=config.base_model_name,
        name=folder.name,
        task_type=config.task_type,
        target_modules=_plain_targets(config),
        fan_in_fan_out=config.fan_in_fan_out,
    )


def _places(source: safe_open, base: BaseShapes | None) -> Iterator[tuple[str, str]]:
    """(the file's name of a tensor, the name that peft gives it on the base)."""
    keys = list(source.keys())
    if base is None or base.layout.rules is None:
        yield from ((key, key) for key in keys)
        return
    landed, lost = base.layout.rules.land(keys)
    yield from ((landing.names[0], place) for place, landing in landed.items())
    yield from ((key, key) for key in (*lost, *(key for key in keys if ".lora_" not in key)))


def _of_base(module: str, base: BaseShapes | None) -> str:
    """The base's own name of a module; a feature extractor's lacks the prefix of the model below the head."""
    if base is None or module in base.layout.kinds:
        return module
    inner = f"{base.layout.prefix}.{module}"
    return inner if inner in base.layout.kinds else module


def _pairs(source: safe_open, name: str, base: BaseShapes | None) -> dict[str, dict[str, str]]:
    """Module → {"A": tensor name, "B": tensor name}."""
    pairs: dict[str, dict[str, str]] = {}
    for key, place in _places(source, base):
        factor = parse_factor(place)
        if factor is None or factor.table:
            raise CompositionError(
                "adapter.unknown_tensor",
                f"{name} holds {key}, which is not a LoRA factor of a linear layer; expected names that end in "
                "lora_A.weight or lora_B.weight. Save the adapter without it.",
                tensor=key,
            )
        halves = pairs.setdefault(factor.module, {})
        if factor.half in halves:
            raise CompositionError(
                "adapter.twice", f"{name} holds {key} and {halves[factor.half]}: the same factor twice."
            )
        halves[factor.half] = key
    for module, pair in pairs.items():
        if len(pair) != 2:
            (there,) = pair
            raise CompositionError(
                "adapter.unpaired",
                f"{module} of {name} has lora_{there} but no lora_{'B' if there == 'A' else 'A'}. "
                "Save the adapter again.",
                module=module,
            )
    if not pairs:
        raise CompositionError("adapter.empty", f"{name} holds no LoRA factors. Save the adapter again.")
    return pairs


def _entry(source: safe_open, module: str, pair: dict[str, str], config: PeftConfig) -> LazyFactors:
    a, b = (source.get_slice(pair[half]) for half in "AB")
    shape_a, shape_b = a.get_shape(), b.get_shape()
    rank = config.rank(module)
    if len(shape_a) != 2 or len(shape_b) != 2 or shape_a[0] != rank or shape_b[1] != rank:
        raise CompositionError(
            "adapter.rank",
            f"{module}: A is {shape_a} and B is {shape_b}, but the config says rank {rank}; expected [{rank}, in] and "
            f"[out, {rank}]. Use the config the adapter was saved with.",
            module=module,
        )
    types = {a.get_dtype(), b.get_dtype()}
    if not types <= TORCH_DTYPES.keys():
        raise CompositionError(
            "adapter.dtype",
            f"{module} is stored as {', '.join(sorted(types))}; expected {', '.join(TORCH_DTYPES)}.",
            module=module,
        )
    kinds = [TORCH_DTYPES[code] for code in (a.get_dtype(), b.get_dtype())]
    scale = config.scale(module, rank)
    facts = ModuleFacts(r=rank, in_features=shape_a[1], out_features=shape_b[0], scale=scale)
    load = partial(_load, source, pair["A"], pair["B"], scale)
    return LazyFactors(facts, torch.promote_types(*kinds), load)


def _load(source: safe_open, key_a: str, key_b: str, scale: float) -> Factors:
    return Factors(source.get_tensor(key_a), source.get_tensor(key_b), scale)


def _plain_targets(config: PeftConfig) -> tuple[str, ...] | None:
    """The config's suffixes, if nothing else chooses the modules."""
    narrowed = config.exclude_modules or config.layers_to_transform not in (None, ())
    return None if narrowed or not isinstance(config.target_modules, tuple) else tuple(sorted(config.target_modules))
