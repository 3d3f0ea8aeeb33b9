"""How peft and transformers rename an adapter's tensors for a base, taken from the installed releases themselves.

    python -m composition.running.conversion_tables > composition/formats/peft/conversions.json

writes the table that the torch-free door reads (`composition.formats.peft.conversions`): for every architecture whose
names or experts changed between transformers 4 and 5, the rules that `build_peft_weight_mapping` of peft 0.21 makes of
`get_model_conversion_mapping` of transformers. A base in memory is asked directly, by `rules_of`.
"""

import json
import sys
import warnings
from typing import Any

import torch

ADAPTER = "default"


def rules_of(model: Any) -> list[dict[str, Any]] | None:
    """The rules for this model's adapters as JSON values, in their order; None where peft converts nothing.

    A rule is {"kind", "search", "targets", "sources", "scope", "prefix"}: `search` is the expression that is looked
    for, `kind` "rename", "group" or "offset" for one that renames, else how the found tensors are fused.
    """
    from peft import LoraConfig
    from peft.utils.transformers_weight_conversion import build_peft_weight_mapping
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping, get_model_conversion_mapping

    if get_checkpoint_conversion_mapping(model.config.model_type) is None:
        return None
    conversion: Any = get_model_conversion_mapping(model)
    found = build_peft_weight_mapping(conversion, ADAPTER, LoraConfig())
    return [_rule(entry) for entry in found]


def experts_of(model_type: str) -> str | None:
    """The family whose expert targets peft rewrites for this model type: "mixtral", "qwen2_moe", or None."""
    from peft.utils.transformers_weight_conversion import (
        _MODEL_TO_CONVERSION_PATTERN,
        _MOE_FUSED_TARGETS,
        _MOE_TARGET_MODULE_MAPPING,
    )
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    family = _MODEL_TO_CONVERSION_PATTERN.get(model_type)
    known = family in _MOE_TARGET_MODULE_MAPPING and family in _MOE_FUSED_TARGETS
    return family if known and get_checkpoint_conversion_mapping(model_type) is not None else None


def _rule(entry: Any) -> dict[str, Any]:
    kinds = {"GroupWeightRename": "group", "Inkling2IndexOffsetWeightRename": "offset"}
    kind = kinds.get(type(entry).__name__, "rename")
    operations = [type(operation).__name__ for operation in getattr(entry, "operations", ())]
    if operations:
        kind = "+".join(operations)
    return {
        "kind": kind,
        "search": entry.compiled_sources.pattern,
        "sources": list(entry.source_patterns),
        "targets": list(entry.target_patterns),
        "scope": entry.scope_prefix,
        "prefix": entry.base_model_prefix,
        **({"offset": entry.offset} if kind == "offset" else {}),
    }


def table() -> dict[str, Any]:
    """{"rules": [rule], "types": {model type: {class: [index of a rule]}}, "experts": {model type: family}, …}.

    The class "" of a type stands for any class that has no entry of its own.
    """
    import peft
    import transformers
    from peft.utils.transformers_weight_conversion import _MOE_FUSED_TARGETS, _MOE_TARGET_MODULE_MAPPING

    rules: dict[str, int] = {}
    types: dict[str, dict[str, list[int]]] = {}
    for model_type, names in sorted(_classes().items()):
        kept = types.setdefault(model_type, {})
        for name in ("", *names):
            found = _rules_of_class(model_type, name)
            listed = [rules.setdefault(json.dumps(rule, sort_keys=True), len(rules)) for rule in found or ()]
            if listed and listed != kept.get(""):
                kept[name] = listed
    return {
        "made_with": {"peft": peft.__version__, "transformers": transformers.__version__},
        "rules": [json.loads(rule) for rule in rules],
        "types": types,
        "experts": {model_type: family for model_type in types if (family := experts_of(model_type))},
        "expert_targets": _MOE_TARGET_MODULE_MAPPING,
        "fused": _MOE_FUSED_TARGETS,
    }


def _rules_of_class(model_type: str, name: str) -> list[dict[str, Any]] | None:
    """The rules of a class with its default config; of no class, those that hold for the type as a whole."""
    import transformers
    from peft import LoraConfig
    from peft.utils.transformers_weight_conversion import build_peft_weight_mapping
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if not name:
        whole = get_checkpoint_conversion_mapping(model_type) + get_checkpoint_conversion_mapping("legacy")
        return [_rule(entry) for entry in build_peft_weight_mapping(whole, ADAPTER, LoraConfig())]
    try:
        with torch.device("meta"):
            return rules_of(getattr(transformers, name)(CONFIG_MAPPING[model_type]()))
    except Exception as error:  # a default config that its own class refuses, or one that needs other packages
        print(f"left out {name}: {type(error).__name__}: {str(error)[:100]}", file=sys.stderr)
        return None


def _classes() -> dict[str, list[str]]:
    """Model type → its classes, the one for text generation first, of the types that have a conversion."""
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    first = ["MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "MODEL_MAPPING_NAMES"]
    every = [name for name in vars(modeling_auto) if name.startswith("MODEL_") and name.endswith("_MAPPING_NAMES")]
    found: dict[str, list[str]] = {}
    for mapping in (*first, *sorted(set(every) - set(first))):
        for model_type, names in getattr(modeling_auto, mapping).items():
            if model_type not in CONFIG_MAPPING or get_checkpoint_conversion_mapping(model_type) is None:
                continue
            for name in (names,) if isinstance(names, str) else names:
                known = found.setdefault(model_type, [])
                if name not in known:
                    known.append(name)
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    made = table()
    rows = ",\n".join(json.dumps(rule, sort_keys=True) for rule in made.pop("rules"))
    print(json.dumps(made, sort_keys=True)[:-1] + ',\n"rules": [\n' + rows + "\n]}")
