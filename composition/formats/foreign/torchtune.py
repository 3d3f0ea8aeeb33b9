"""Adapters in torchtune's own names, as its recipes checkpoint them, saved as safetensors. See `native`.

alpha and r stand in the adapter_config.json that torchtune writes beside them.
"""

from composition.formats.foreign.looks import json_object
from composition.formats.foreign.native import TORCHTUNE, plan_of
from composition.formats.foreign.plan import Base, Plan, refuse
from composition.formats.peft.names import CONFIG_FILE
from composition.formats.sources import Files
from composition.formats.table import BaseName

LABEL = TORCHTUNE.label


def detect(files: Files) -> bool:
    """By names such as layers.0.attn.q_proj.lora_a.weight."""
    return bool(TORCHTUNE.weights(files))


def base_of(files: Files) -> BaseName | None:
    """The base that adapter_config.json names, where it does."""
    name = json_object(files, CONFIG_FILE).get("base_model_name_or_path")
    return BaseName(name if isinstance(name, str) and name else None)


def plan(files: Files, base: Base) -> Plan:
    """Raises `import.config` without an alpha, and what `native.plan_of` raises."""
    config = json_object(files, CONFIG_FILE)
    alpha = config.get("lora_alpha")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool):
        refuse(
            "config",
            LABEL,
            f"{CONFIG_FILE} gives no lora_alpha, and the weights don't say it",
            f'Put the recipe\'s numbers beside the weights, as {CONFIG_FILE}: {{"r": 8, "lora_alpha": 16}}.',
            file=CONFIG_FILE,
        )
    originals = {CONFIG_FILE}
    return plan_of(files, base, TORCHTUNE, scale=None, by_alpha=float(alpha), originals=originals, heads=None)
