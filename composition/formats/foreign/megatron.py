"""Adapters in Megatron's names, as NeMo and Megatron-Bridge train them, exported to safetensors on one rank.

    decoder.layers.0.self_attention.linear_qkv.adapter.linear_in.weight [r, in]     linear_out.weight [out, r]
    …linear_qkv.adapter.adapter_q.linear_in.weight   (canonical LoRA: q, k, v, gate and up apart)

linear_qkv keeps q, k and v of one group of heads together, linear_fc1 the gate and then the up projection; both share
one A (NeMo, `llm/peft` exporters: `TransformFns.split_qkv`, `split_fc1`). alpha stands in a JSON beside the weights.
"""

import re

from composition.formats.foreign.looks import is_peft, json_object, with_names
from composition.formats.foreign.names import Modules
from composition.formats.foreign.pairs import only_file, paired
from composition.formats.foreign.parts import Part
from composition.formats.foreign.plan import Base, Lora, Plan, check_lora, refuse, suffixes_of
from composition.formats.foreign.rows_of_heads import heads_of, split_groups
from composition.formats.peft.names import CONFIG_FILE
from composition.formats.sources import Files
from composition.formats.table import BaseName

LABEL = "NeMo (Megatron)"
CONFIGS = (CONFIG_FILE, "adapter_metadata.json", "lora_config.json")
_FACTOR = re.compile(
    r"(?:.*\.)?layers\.(?P<layer>\d+)\.(?P<linear>(?:self_attention|self_attn|mlp)\.linear_(?:qkv|proj|fc1|fc2))\.adapter"
    r"(?:\.adapter_(?P<part>q|k|v|gate|up))?\.linear_(?P<half>in|out)\.weight"
)
_HALF = {"in": "A", "out": "B"}
_WHOLE = {"linear_proj": "self_attn.o_proj", "linear_fc2": "mlp.down_proj"}
_PARTS = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
}


def detect(files: Files) -> bool:
    """By names such as ….linear_qkv.adapter.linear_in.weight."""
    return not is_peft(files) and bool(_weights(files))


def _weights(files: Files) -> list[str]:
    return with_names(files, _FACTOR.fullmatch, hint=b".linear_in.weight")


def base_of(files: Files) -> BaseName | None:
    """The base that a config beside the weights names, where it does."""
    name = next((found for path in CONFIGS if (found := json_object(files, path).get("base_model_name_or_path"))), None)
    return BaseName(name if isinstance(name, str) else None)


def plan(files: Files, base: Base) -> Plan:
    """Raises `import.several`, `.config`, `.tensor_unknown`, `.unpaired`, `.needs_base`, `.shape`."""
    file, alpha = only_file(_weights(files), LABEL), _alpha(files)
    modules, loras = Modules(base), []
    halves = paired(files, file, LABEL, _factor_of, shown=lambda layer: f"{layer[1]} of layer {layer[0]}")
    for (layer, linear, part), pair in halves.items():
        a, b = Part.of(pair["A"]), Part.of(pair["B"])
        for name, rows in _split(linear, part, b, base).items():
            module = modules.named([f"model.layers.{layer}.{name}"])
            lora = Lora(module=module, A=a, B=rows, scale=alpha / max(a.shape[0], 1))
            loras.append(check_lora(lora, LABEL))
    return Plan(
        label=LABEL,
        originals=(file, *(path for path in CONFIGS if path in files)),
        loras=tuple(loras),
        base_name=base.name,
        suffixes=suffixes_of([lora.module for lora in loras], base),
    )


def _factor_of(name: str) -> tuple[tuple[str, str, str], str] | None:
    """((layer, linear, part), "A" or "B") of a tensor."""
    match = _FACTOR.fullmatch(name)
    if match is None:
        return None
    return (match["layer"], match["linear"].rpartition(".")[2], match["part"] or ""), _HALF[match["half"]]


def _alpha(files: Files) -> float:
    for path in CONFIGS:
        config = json_object(files, path)
        for key in ("lora_alpha", "alpha"):
            if isinstance(config.get(key), int | float) and not isinstance(config[key], bool):
                return float(config[key])
    refuse(
        "config",
        LABEL,
        f"none of {', '.join(CONFIGS)} gives an alpha, and the weights don't say it",
        f'Put the training\'s numbers beside the weights, as {CONFIG_FILE}: {{"r": 32, "lora_alpha": 32}}.',
        file=CONFIG_FILE,
    )


def _split(linear: str, part: str, b: Part, base: Base) -> dict[str, Part]:
    """The layers of transformers that a layer of Megatron's holds, and their rows of B."""
    if part:
        return {_PARTS[part]: b}
    if linear in _WHOLE:
        return {_WHOLE[linear]: b}
    if linear == "linear_fc1":
        half = b.shape[0] // 2
        return {_PARTS["gate"]: b.rows(0, half), _PARTS["up"]: b.rows(half, b.shape[0])}
    heads = heads_of(base.config or {})
    if heads is None:
        refuse("needs_base", LABEL, "which rows are q, k and v depends on the base's heads", "Give the base.")
    orders = split_groups(b.shape[0], heads)
    if orders is None:
        refuse(
            "shape",
            LABEL,
            f"{b.stored.name} has {b.shape[0]} rows for {heads.query} heads, {heads.key} of keys",
            "Choose the base that it was trained on.",
            tensors=[b.stored.name],
        )
    return {_PARTS[name]: b.ordered(order) for name, order in orders.items()}
