"""Fields of an `adapter_config.json` that this release of peft doesn't know, and when they may change the adapter.

A newer peft, or a fork of it, writes what the factors mean into fields that ours drops with a log line. Such an adapter
is stored as it is, with a warning, and not merged: nobody here knows that ΔW is scale · B @ A.
"""

import re
from typing import Any

from composition.formats.peft.types import PEFT_RELEASE
from composition.formats.strict_json import shorten

LORA_FIELDS = frozenset(
    """
    alora_invocation_tokens alpha_pattern arrow_config auto_mapping base_model_name_or_path bias corda_config
    ensure_weight_tying eva_config exclude_modules fan_in_fan_out inference_mode init_lora_weights kasa_config
    layer_replication layers_pattern layers_to_transform loftq_config lora_alpha lora_bias lora_dropout
    lora_ga_config megatron_config megatron_core modules_to_save monteclora_config peft_type peft_version
    qalora_group_size r rank_pattern revision runtime_config target_modules target_parameters task_type
    trainable_token_indices use_bdlora use_dora use_qalora use_rslora velora_config
    """.split()
)
# Of peft before 0.4: whether the factors are added to the weight when the model is evaluated.
HARMLESS = frozenset({"merge_weights"})
OFF: tuple[object, ...] = (None, False, "", [], {})


def unknown_fields(raw: dict[str, Any], warnings: list[str]) -> tuple[str, ...]:
    """The fields that this peft doesn't know and that may change what the factors mean.

    A flag or a method's sub-config that is switched on counts always; where a newer peft wrote the config, any field
    that says something does.
    """
    unknown = sorted(set(raw) - LORA_FIELDS)
    if not unknown:
        return ()
    newer = is_newer(raw.get("peft_version"))
    said = tuple(
        key
        for key in unknown
        if key not in HARMLESS and (_switched_on(key, raw[key]) or (newer and raw[key] not in OFF))
    )
    shown = ", ".join(shorten(key) for key in unknown[:5]) + (f" and {len(unknown) - 5} more" if unknown[5:] else "")
    version = f"It was saved by peft {shorten(raw['peft_version'])}. " if newer else ""
    stays = f"What {', '.join(map(shorten, said[:5]))} means is unknown here, so it is not merged." if said else ""
    warnings.append(f"adapter_config.json holds fields that peft will ignore: {shown}. {version}{stays}".rstrip())
    return said


def _switched_on(key: str, value: object) -> bool:
    return value is True or (key.endswith("_config") and isinstance(value, dict))


def is_newer(version: object) -> bool:
    """Whether a `peft_version` such as "0.22.0.dev0@abcdef" is of a later minor release than ours."""
    match = re.match(r"(\d{1,4})\.(\d{1,4})", version) if isinstance(version, str) else None
    return match is not None and (int(match[1]), int(match[2])) > PEFT_RELEASE
