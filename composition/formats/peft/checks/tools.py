"""Tensor names of other tools, told apart so that a refusal can name the format and its way into PEFT's."""

import re
from collections.abc import Iterable

# (a tensor's name, what it is, what to do)
_TOOLS = (
    (
        re.compile(r"experts.*\.lora_(gate_and_up|gate_up|down|up|gate)_[AB]\b"),
        "grouped experts, as NeMo writes them: one A and B for all experts of a layer",
        "Export each expert with names of its own, or as peft's target_parameters.",
    ),
    (
        re.compile(r"\.adapter\.linear_(in|out)\.|\.lora_adapter\."),
        "a LoRA of Megatron or NeMo",
        "Export it to PEFT's form with the tool that wrote it.",
    ),
    (re.compile(r"\.LORA_[AB]\b"), "PEFT's, in capital letters", "Write lora_A and lora_B."),
    (re.compile(r"\.(hada_|lokr_)"), "LyCORIS' LoHa or LoKr", "Convert it to a LoRA, or push it as peft saves it."),
    (re.compile(r"\.oft_[Rrs]\b|\.oft_blocks"), "OFT's", "Push it with the config that says its peft_type."),
    (re.compile(r"\.lora_latent_mapping"), "LoRA-XS'", "Fold its middle matrix into B and push that."),
)


def tool_of(names: Iterable[str]) -> str:
    """A sentence on the tool whose names these are; "" where none is known."""
    names = list(names)
    for pattern, what, do in _TOOLS:
        if any(pattern.search(name) for name in names):
            return f"The names are {what}. {do}"
    return ""
