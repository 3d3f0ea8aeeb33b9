"""The names that PEFT gives: its two files, and the tensors in the second. The one place that writes and reads them.

    base_model.model.{module}.lora_A.weight        lora_B.weight
    base_model.model.{module}.lora_embedding_A     lora_embedding_B

Files that kept the adapter's name in the middle (`lora_A.default.weight`) are read as well, as peft does; so are names
without the prefix, which peft would skip.
"""

import re
from typing import NamedTuple

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."
ORIGINAL = "original/"
"""Where an imported adapter keeps the files that it was made from; they are no content of PEFT's form."""

_FACTOR = re.compile(
    r"(?P<module>.+)\.(?:lora_(?P<half>[AB])(?:\.default)?\.weight"
    r"|lora_embedding_(?P<table>[AB])(?:\.default)?)"
)


class FactorName(NamedTuple):
    """A tensor's name taken apart: the module, "A" or "B", and whether the module is an embedding table."""

    module: str
    half: str
    table: bool


def factor_names(module: str) -> tuple[str, str]:
    """The names of a linear module's A and B in the safetensors file."""
    return f"{PREFIX}{module}.lora_A.weight", f"{PREFIX}{module}.lora_B.weight"


def parse_factor(stored: str) -> FactorName | None:
    """What a tensor's name says; None if it is not a factor of a LoRA."""
    match = _FACTOR.fullmatch(stored.removeprefix(PREFIX))
    return FactorName(match["module"], match["half"] or match["table"], bool(match["table"])) if match else None
