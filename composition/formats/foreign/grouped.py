"""Adapters of NeMo AutoModel with experts in one tensor, as its checkpoints had them before they were taken apart.

    ….mlp.experts.lora_gate_and_up_A [E, in, r]   lora_gate_and_up_B [E, r, 2 · width]: gate, then up
    ….mlp.experts.lora_down_A [E, width, r]       lora_down_B [E, r, out]
    other layers as PEFT has them; the config is PEFT's

Made into one update an expert, as nemo_automodel's `_convert_single_merged_expert_to_hf_split_experts` does; PEFT maps
those names to transformers 5's fused experts.
"""

import re

from composition.formats.foreign.looks import header_of, json_object, with_names
from composition.formats.foreign.parts import Part, Stored, stored_tensors
from composition.formats.foreign.plan import Base, Lora, Plan, check_lora, refuse, suffixes_of
from composition.formats.peft.config import PeftConfig
from composition.formats.peft.files import base_of as base_of
from composition.formats.peft.files import read_config
from composition.formats.peft.names import CONFIG_FILE, PREFIX, WEIGHTS_FILE, parse_factor
from composition.formats.sources import Files

LABEL = "NeMo AutoModel (grouped experts)"
_GROUPED = re.compile(r"(?P<owner>.+\.experts)\.lora_(?P<which>gate_and_up|down)_(?P<half>[AB])")


def detect(files: Files) -> bool:
    """By names such as ….experts.lora_gate_and_up_A, beside PEFT's config."""
    return "peft_type" in json_object(files, CONFIG_FILE) and bool(_weights(files))


def _weights(files: Files) -> list[str]:
    found = with_names(files, _GROUPED.fullmatch, hint=b".lora_gate_and_up_")
    return found or with_names(files, _GROUPED.fullmatch, hint=b".lora_down_")


def plan(files: Files, base: Base) -> Plan:
    """Raises `config.*`, `import.several`, `.kind`, `.tensor_unknown`, `.unpaired`, `.shape`."""
    config, found = read_config(files), _weights(files)
    if found != [WEIGHTS_FILE]:
        refuse("several", LABEL, f"its weights are in {', '.join(found)}", f"Push them as {WEIGHTS_FILE}.", files=found)
    if not config.is_lora or config.needs_base():
        refuse("kind", LABEL, f"its {CONFIG_FILE} says more than a plain LoRA", "Push it without that.")
    halves: dict[tuple[str, str], dict[str, Stored]] = {}
    for name, stored in stored_tensors(header_of(files, WEIGHTS_FILE), WEIGHTS_FILE).items():
        bare = name.removeprefix(PREFIX)
        grouped, factor = _GROUPED.fullmatch(bare), parse_factor(name)
        if grouped:
            halves.setdefault((grouped["owner"], grouped["which"]), {})[grouped["half"]] = stored
        elif factor and not factor.table:
            halves.setdefault((factor.module, ""), {})[factor.half] = stored
        else:
            refuse("tensor_unknown", LABEL, f"it holds {name}, no factor", "Save the adapter alone.", tensors=[name])
    loras: list[Lora] = []
    for (owner, which), pair in halves.items():
        if len(pair) != 2:
            refuse("unpaired", LABEL, f"{owner} has {which} {next(iter(pair))} only", "Save it again.")
        loras += [check_lora(lora, LABEL) for lora in _loras(owner, which, pair, config)]
    return Plan(
        label=LABEL,
        originals=(CONFIG_FILE, WEIGHTS_FILE),
        loras=tuple(loras),
        base_name=base.name,
        task_type=config.task_type,
        suffixes=suffixes_of([lora.module for lora in loras], base),
    )


def _loras(owner: str, which: str, pair: dict[str, Stored], config: PeftConfig) -> list[Lora]:
    a, b = Part.of(pair["A"]), Part.of(pair["B"])
    if not which:
        return [Lora(module=owner, A=a, B=b, scale=config.scale(owner, max(a.shape[0], 1)))]
    if len(a.shape) != 3 or len(b.shape) != 3 or a.shape[0] != b.shape[0] or (which != "down" and b.shape[2] % 2):
        refuse(
            "shape",
            LABEL,
            f"{owner} has the factors {list(a.shape)} and {list(b.shape)}",
            "Save it again.",
            tensors=[pair["A"].name, pair["B"].name],
        )
    scale, loras, width = config.scale(owner, max(a.shape[2], 1)), [], b.shape[2] // 2
    for e in range(a.shape[0]):
        first, second = a.at(e).transposed(), b.at(e).transposed()
        stem = f"{owner}.{e}"
        if which == "down":
            loras.append(Lora(module=f"{stem}.down_proj", A=first, B=second, scale=scale))
        else:
            loras.append(Lora(module=f"{stem}.gate_proj", A=first, B=second.rows(0, width), scale=scale))
            loras.append(Lora(module=f"{stem}.up_proj", A=first, B=second.rows(width, 2 * width), scale=scale))
    return loras
