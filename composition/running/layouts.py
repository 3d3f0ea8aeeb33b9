"""The layout of a base in memory (the meta device will do): what peft would find when it walks through its modules."""

from typing import Any

from torch import nn

from composition.base_shapes import CONV, EMBEDDING, LINEAR, Layout
from composition.formats.peft.conversions import Rules
from composition.running.conversion_tables import experts_of, rules_of

# What `LoraModel._create_new_module` of peft 0.21 has a layer for; Conv1D is transformers'.
KINDS = ((nn.Embedding, EMBEDDING), ((nn.Conv1d, nn.Conv2d, nn.Conv3d), CONV), (nn.Linear, LINEAR))


def layout_of(model: Any) -> Layout:
    """The layout of a transformers model, exact for the installed peft and transformers."""
    from transformers.pytorch_utils import Conv1D

    kinds: dict[str, str] = {}
    others: dict[str, dict[str, list[int]]] = {}
    transposed = set()
    for name, module in model.named_modules():
        if not name:
            continue
        found = LINEAR if isinstance(module, Conv1D) else None
        kind = found or next((word for classes, word in KINDS if isinstance(module, classes)), None)
        if kind:
            kinds[name] = kind
            continue
        others[name] = {own: list(parameter.shape) for own, parameter in module.named_parameters(recurse=False)}
        if getattr(module, "is_transposed", False):
            transposed.add(name)
    head = model.get_output_embeddings()
    rules = rules_of(model)
    return Layout(
        kinds=kinds,
        others=others,
        prefix=model.base_model_prefix if hasattr(model, model.base_model_prefix or " ") else "",
        model_type=model.config.model_type,
        rules=Rules(rules, model.base_model_prefix) if rules is not None else None,
        experts=experts_of(model.config.model_type),
        transposed=frozenset(transposed),
        heads=frozenset(name for name, module in model.named_modules() if head is not None and module is head),
        exact=True,
    )
