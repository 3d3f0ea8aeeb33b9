"""Adapters in the names of Meta's code: mistral-finetune's `lora.safetensors` and torchtune's own checkpoints.

    layers.0.attention.wq.lora_A.weight [r, in]   lora_B.weight [out, r]        mistral-finetune
    layers.0.attn.q_proj.lora_a.weight            lora_b.weight                 torchtune

Both name the same layers, and keep the rows of q and k as Meta does; transformers keeps them in another order, so the
rows of B are reordered where the base was (mistral-finetune `model/lora.py`; torchtune `convert_weights.py`,
`tune_to_peft_adapter_weights`; a base that is not reordered, such as Qwen2, keeps its rows).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from composition.formats.foreign.looks import with_names
from composition.formats.foreign.names import Modules
from composition.formats.foreign.pairs import only_file, paired
from composition.formats.foreign.parts import Part
from composition.formats.foreign.plan import Base, Lora, Plan, check_lora, refuse, suffixes_of
from composition.formats.foreign.rows_of_heads import ROTARY, Heads, halves_apart, heads_of
from composition.formats.sources import Files

SAME_ORDER = frozenset("qwen2 qwen3 phi3".split())
_EXPERT = re.compile(r"(?P<layer>layers\.\d+)\.feed_forward\.experts\.(?P<rest>\d+\.w[123])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """One tool: its label, the form of its tensors' names, its layers in the words of transformers."""

    label: str
    hint: bytes
    factor: re.Pattern[str]
    layers: Mapping[str, str]
    outside: Mapping[str, str]

    def weights(self, files: Files) -> list[str]:
        """The files at the top with such names."""
        return with_names(files, self.factor_of, hint=self.hint)

    def factor_of(self, name: str) -> tuple[str, str] | None:
        """(the tool's name of the layer, "A", "B" or "magnitude") of a tensor."""
        match = self.factor.fullmatch(name)
        known = match and self.module(match["module"]) is not None
        return (match["module"], _HALF[match["half"]]) if match and known else None

    def module(self, name: str) -> str | None:
        """transformers' name of a layer; None where the tool has no such layer."""
        if name in self.outside:
            return self.outside[name]
        if expert := _EXPERT.fullmatch(name):
            return f"model.{expert['layer']}.block_sparse_moe.experts.{expert['rest']}"
        match = re.fullmatch(r"(layers\.\d+)\.(.+)", name)
        return f"model.{match[1]}.{self.layers[match[2]]}" if match and match[2] in self.layers else None


MISTRAL = Names(
    label="mistral-finetune",
    hint=b".lora_A.weight",
    factor=re.compile(r"(?P<module>.+)\.lora_(?P<half>[AB])\.weight"),
    layers={
        "attention.wq": "self_attn.q_proj",
        "attention.wk": "self_attn.k_proj",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
        "feed_forward.gate": "block_sparse_moe.gate",
    },
    outside={"output": "lm_head"},
)
TORCHTUNE = Names(
    label="torchtune",
    hint=b".lora_a",
    factor=re.compile(r"(?P<module>.+)\.(?P<half>lora_a|lora_b|magnitude)(?:\.weight)?"),
    layers={
        "attn.q_proj": "self_attn.q_proj",
        "attn.k_proj": "self_attn.k_proj",
        "attn.v_proj": "self_attn.v_proj",
        "attn.output_proj": "self_attn.o_proj",
        "mlp.w1": "mlp.gate_proj",
        "mlp.w2": "mlp.down_proj",
        "mlp.w3": "mlp.up_proj",
    },
    outside={"output": "lm_head"},
)
_HALF = {"A": "A", "B": "B", "lora_a": "A", "lora_b": "B", "magnitude": "magnitude"}


def plan_of(
    files: Files,
    base: Base,
    names: Names,
    *,
    scale: float | None,
    by_alpha: float | None,
    originals: set[str],
    heads: Heads | None,
) -> Plan:
    """The plan, with ΔW = scale · B @ A, or alpha / r where `by_alpha` is given. Raises `import.*`."""
    file = only_file(names.weights(files), names.label)
    modules, loras = Modules(base), []
    for name, pair in paired(files, file, names.label, names.factor_of).items():
        a, b = Part.of(pair["A"]), Part.of(pair["B"])
        module = modules.named([names.module(name) or name])
        magnitude = Part.of(pair["magnitude"]) if "magnitude" in pair else None
        if module.endswith(("self_attn.q_proj", "self_attn.k_proj")):
            b, magnitude = _as_transformers(module, b, magnitude, base, heads, names.label)
        factor = scale if by_alpha is None else by_alpha / max(a.shape[0], 1)
        loras.append(check_lora(Lora(module=module, A=a, B=b, scale=factor or 0.0, magnitude=magnitude), names.label))
    return Plan(
        label=names.label,
        originals=tuple(sorted({file, *originals})),
        loras=tuple(loras),
        base_name=base.name,
        suffixes=suffixes_of([lora.module for lora in loras], base),
    )


def _as_transformers(
    module: str, b: Part, magnitude: Part | None, base: Base, heads: Heads | None, label: str
) -> tuple[Part, Part | None]:
    """The rows of q or k in the order of the base."""
    kind = (base.config or {}).get("model_type")
    if kind in SAME_ORDER:
        return b, magnitude
    heads = heads_of(base.config or {}) or heads
    if kind is not None and kind not in ROTARY:
        known = ", ".join(sorted(ROTARY | SAME_ORDER))
        told = f"the order of rows in a {kind} model is not known; known are {known}"
        refuse("base", label, told, "Push PEFT's files.")
    if heads is None:
        refuse("needs_base", label, "the order of the rows of q and k depends on the base's heads", "Give the base.")
    count = heads.query if module.endswith("q_proj") else heads.key
    order = halves_apart(b.shape[0], count)
    if order is None:
        refuse(
            "shape",
            label,
            f"{module} has {b.shape[0]} rows for {count} heads",
            "Choose the base that it was trained on.",
            tensors=[b.stored.name],
        )
    return b.ordered(order), magnitude and magnitude.ordered(order)
