"""The row of mixtures: PEFT's two files, with a config that names experts. Stored and served, not merged."""

from composition.formats.mixture.files import is_mixture, validate_mixture
from composition.formats.peft.files import base_of, is_content
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE
from composition.formats.table import ADAPTER, Format

ROW = Format(
    name="mixture",
    label="mixture",
    holds=ADAPTER,
    detect=is_mixture,
    validate=validate_mixture,
    content=is_content,
    config=CONFIG_FILE,
    weights=WEIGHTS_FILE,
    base_of=base_of,
    loads_in_peft=True,
)
