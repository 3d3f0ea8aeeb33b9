"""Adapters of mistral-finetune: `lora.safetensors`, `params.json`, whose lora.scaling is the scale. See `native`."""

from composition.formats.foreign.looks import is_peft, json_object
from composition.formats.foreign.native import MISTRAL, plan_of
from composition.formats.foreign.plan import Base, Plan, refuse
from composition.formats.foreign.rows_of_heads import heads_of
from composition.formats.sources import Files
from composition.formats.table import BaseName

LABEL = MISTRAL.label
PARAMS = "params.json"


def detect(files: Files) -> bool:
    """By names such as layers.0.attention.wq.lora_A.weight."""
    return not is_peft(files) and bool(MISTRAL.weights(files))


def base_of(files: Files) -> BaseName | None:
    """Nothing: params.json describes its base and doesn't name it."""
    return None


def plan(files: Files, base: Base) -> Plan:
    """Raises `import.config` without a scaling, and what `native.plan_of` raises."""
    params = json_object(files, PARAMS)
    lora = params.get("lora")
    scaling = lora.get("scaling") if isinstance(lora, dict) else None
    if not isinstance(scaling, int | float) or isinstance(scaling, bool):
        refuse(
            "config",
            LABEL,
            f"{PARAMS} gives no lora.scaling, and the weights don't say it",
            f"Push {PARAMS} as mistral-finetune wrote it beside the weights.",
            file=PARAMS,
        )
    heads = heads_of(params)
    return plan_of(files, base, MISTRAL, scale=float(scaling), by_alpha=None, originals={PARAMS}, heads=heads)
