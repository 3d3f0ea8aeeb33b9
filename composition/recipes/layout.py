"""The field of every recipe that writes a LoRA: the form of its files (`formats.peft.layouts.choosing`).

A recipe that has it is at version 2: version 1 had none, and wrote the compact form.
"""

from collections.abc import Mapping
from typing import Any

from composition.formats.peft.layouts.choosing import AUTO, COMPACT, LAYOUTS
from composition.recipes.base import option

BEFORE_LAYOUTS: Mapping[int, Mapping[str, Any]] = {1: {"layout": COMPACT}}
"""`Recipe.earlier` of a recipe at version 2 whose first version lacked the layout."""


def layout_option() -> Any:
    """The field; auto by default."""
    return option(
        "choice",
        default=AUTO,
        choices=LAYOUTS,
        label="Layout",
        help="uniform: one rank, one scale, all layers, which vLLM, SGLang, llama.cpp, LoRAX and TGI all read right. "
        "compact: the smallest file; some servers may read it wrongly. auto: uniform only where it is needed.",
    )
