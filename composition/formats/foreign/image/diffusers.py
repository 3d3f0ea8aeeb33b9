"""LoRAs as diffusers saves them, `pytorch_lora_weights.safetensors`, in its older and newer names. See `lora`."""

from composition.formats.foreign.image import lora
from composition.formats.foreign.image.names import DOTTED
from composition.formats.foreign.plan import Base, Plan
from composition.formats.sources import Files
from composition.formats.table import BaseName

LABEL = "diffusers"


def detect(files: Files) -> bool:
    """By names such as transformer.….lora_A.weight or unet.….lora.down.weight."""
    return bool(lora.looks(files, tuple(DOTTED)))


def base_of(files: Files) -> BaseName | None:
    """Nothing: the file doesn't name its base."""
    return None


def plan(files: Files, base: Base) -> Plan:
    """See `lora.plan_of`."""
    return lora.plan_of(files, base, lora.looks(files, tuple(DOTTED)), LABEL)
