"""LoRAs of sd-scripts (kohya_ss) and LyCORIS, the form that most image tools write. See `lora`."""

from composition.formats.foreign.image import lora
from composition.formats.foreign.image.names import PREFIXES
from composition.formats.foreign.plan import Base, Plan
from composition.formats.sources import Files
from composition.formats.table import BaseName

LABEL = "kohya (sd-scripts)"


def detect(files: Files) -> bool:
    """By names such as lora_unet_….lora_down.weight."""
    return bool(lora.looks(files, tuple(PREFIXES)))


def base_of(files: Files) -> BaseName | None:
    """Nothing: the header names a checkpoint's file, which is no base."""
    return None


def plan(files: Files, base: Base) -> Plan:
    """See `lora.plan_of`."""
    return lora.plan_of(files, base, lora.looks(files, tuple(PREFIXES)), LABEL)
