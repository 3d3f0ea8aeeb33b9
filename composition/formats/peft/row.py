"""The row of PEFT adapters; what no row of an adapter recognises is judged as one of these."""

from composition.formats.peft.files import base_of, is_content, validate_peft
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE
from composition.formats.table import ADAPTER, Format

ROW = Format(
    name="peft",
    label="PEFT LoRA",
    holds=ADAPTER,
    detect=lambda files: CONFIG_FILE in files,
    validate=validate_peft,
    content=is_content,
    config=CONFIG_FILE,
    weights=WEIGHTS_FILE,
    base_of=base_of,
    read="composition.formats.peft.read:read",
    by_base=True,
    merges=True,
    loads_in_peft=True,
    fallback=True,
)
