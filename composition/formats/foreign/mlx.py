"""Adapters of mlx-lm: `adapters.safetensors` and its `adapter_config.json`, which shares only its name with PEFT's.

    {module}.lora_a [in, r]    {module}.lora_b [r, out]      y += scale · (x @ lora_a) @ lora_b
    {module}.m [out]                                         DoRA's magnitude
    embeddings: lora_a [entries, r], lora_b [r, dim]         experts: lora_a [E, r, in], lora_b [E, out, r]

Source: mlx_lm/tuner/lora.py and dora.py, `LoRALinear.fuse`: W + (scale · lora_bᵀ) @ lora_aᵀ. Before version 0.20 the
scale was scale · alpha / rank; such configs have `alpha` and no `fine_tune_type`.
"""

import re
from collections import defaultdict
from typing import TypeGuard

from composition.formats.foreign.looks import header_of, is_peft, json_object, with_names
from composition.formats.foreign.names import Modules
from composition.formats.foreign.parts import Part, Stored, stored_tensors
from composition.formats.foreign.plan import Base, Lora, Plan, check_lora, refuse, suffixes_of
from composition.formats.peft.names import CONFIG_FILE
from composition.formats.sources import Files
from composition.formats.table import BaseName

LABEL = "mlx-lm"
WEIGHTS = "adapters.safetensors"

_FACTOR = re.compile(r"(?P<module>.+)\.(?P<half>lora_a|lora_b|m)")
_CHECKPOINT = re.compile(r"\d+_adapters\.safetensors")
_EXPERT = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
"""Mixtral's names of the projections in an expert."""


def detect(files: Files) -> bool:
    """By the name of its weights, by its config, or by its tensors' names."""
    if is_peft(files):
        return False
    config = json_object(files, CONFIG_FILE)
    if WEIGHTS in files or "lora_parameters" in config or "fine_tune_type" in config:
        return True
    return bool(with_names(files, _is_factor, hint=b".lora_"))


def _is_factor(name: str) -> bool:
    return name.endswith((".lora_a", ".lora_b"))


def base_of(files: Files) -> BaseName | None:
    """The `model` of its config."""
    model = json_object(files, CONFIG_FILE).get("model")
    return BaseName(model if isinstance(model, str) else None)


def plan(files: Files, base: Base) -> Plan:
    """Raises `import.file_missing`, `.kind`, `.config`, `.unpaired`, `.tensor_unknown`, `.shape`."""
    weights = _weights(files)
    config = json_object(files, CONFIG_FILE)
    if config.get("fine_tune_type") == "full":
        refuse(
            "kind",
            LABEL,
            "fine_tune_type is 'full', so it holds whole layers",
            "Extract a LoRA from it, or push the model as a base.",
        )
    halves: dict[str, dict[str, Stored]] = defaultdict(dict)
    for name, stored in stored_tensors(header_of(files, weights), weights).items():
        match = _FACTOR.fullmatch(name)
        if match is None:
            refuse(
                "tensor_unknown",
                LABEL,
                f"{weights} holds {name}; expected names that end in lora_a, lora_b or m",
                "Save the adapter alone.",
                tensors=[name],
            )
        halves[match["module"]][match["half"]] = stored
    scale, warnings = _scale(config, halves)
    modules = Modules(base)
    loras = [check_lora(lora, LABEL) for name, found in halves.items() for lora in _loras(name, found, scale, modules)]
    if any(lora.table for lora in loras):
        warnings.append("mlx-lm applies the change of tied embeddings to the output layer as well; PEFT does not.")
    left = sorted(path for path in files if _CHECKPOINT.fullmatch(path))
    if left:
        warnings.append(f"{len(left)} earlier checkpoints are kept and not read, such as {left[0]}.")
    return Plan(
        label=LABEL,
        originals=tuple(sorted({weights, *left, *({CONFIG_FILE} & set(files))})),
        loras=tuple(loras),
        base_name=base.name,
        warnings=tuple(warnings),
        suffixes=suffixes_of([lora.module for lora in loras], base),
    )


def _weights(files: Files) -> str:
    if WEIGHTS in files:
        return WEIGHTS
    found = with_names(files, _is_factor, hint=b".lora_")
    if len(found) != 1:
        there = ", ".join(found) or "none"
        refuse(
            "file_missing",
            LABEL,
            f"it has no {WEIGHTS}, and its other weights with factors are: {there}",
            f"Push the folder that mlx_lm.lora wrote, with {WEIGHTS} and {CONFIG_FILE}.",
        )
    return found[0]


def _scale(config: dict, halves: dict[str, dict[str, Stored]]) -> tuple[float, list[str]]:
    """The scale, and a warning where two versions of mlx-lm read the config differently."""
    given = config.get("lora_parameters")
    given = given if isinstance(given, dict) else {}
    scale, alpha = given.get("scale"), given.get("alpha")
    if not _number(scale):
        refuse(
            "config",
            LABEL,
            f"{CONFIG_FILE} gives no lora_parameters.scale, and the weights don't say it",
            f"Push {CONFIG_FILE} as mlx_lm.lora wrote it.",
            file=CONFIG_FILE,
        )
    if not _number(alpha):
        return float(scale), []
    rank = given.get("rank")
    if not _number(rank) or rank <= 0:
        rank = next((found["lora_b"].shape[0] for found in halves.values() if found.get("lora_b")), 1)
    old = float(scale) * float(alpha) / float(rank)
    if "fine_tune_type" in config:
        told = f"Its config has alpha {alpha:g} beside scale; read as mlx-lm 0.20 does: the scale is {scale:g}."
        return float(scale), ([] if old == scale else [told])
    return old, [f"Read as mlx-lm before 0.20 did: the scale is scale · alpha / rank = {old:g}."]


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _loras(name: str, found: dict[str, Stored], scale: float, modules: Modules) -> list[Lora]:
    if not {"lora_a", "lora_b"} <= set(found):
        refuse(
            "unpaired", LABEL, f"{name} has {', '.join(sorted(found))} only", "Save the adapter again.", tensors=[name]
        )
    a, b = Part.of(found["lora_a"]), Part.of(found["lora_b"])
    if len(b.shape) == 3:
        return _experts(name, a, b, scale, modules)
    if len(a.shape) != 2 or len(b.shape) != 2:
        return [Lora(module=name, A=a, B=b, scale=scale)]
    module = modules.named([name])
    magnitude = Part.of(found["m"]) if "m" in found else None
    table = modules.is_table(module)
    return [Lora(module=module, A=a.transposed(), B=b.transposed(), scale=scale, table=table, magnitude=magnitude)]


def _experts(name: str, a: Part, b: Part, scale: float, modules: Modules) -> list[Lora]:
    """One update an expert, under the names that transformers 4 had and PEFT still maps."""
    count, _, rank = b.shape
    if len(a.shape) == 2 and a.shape[0] == count * rank:
        a = a.shaped((count, rank, a.shape[1]))
    owner, _, last = name.rpartition(".")
    owner = owner.removesuffix(".switch_mlp")
    last = _EXPERT.get(last, last) if owner.endswith("block_sparse_moe") else last
    return [Lora(module=f"{owner}.experts.{e}.{last}", A=a.at(e), B=b.at(e), scale=scale) for e in range(count)]
