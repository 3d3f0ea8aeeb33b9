"""The row of generators."""

from composition.formats.generator.config import CONFIG_FILE, WEIGHTS_FILE
from composition.formats.generator.files import base_of, is_content, validate_generator
from composition.formats.table import GENERATOR, Format

ROW = Format(
    name="generator",
    label="generator",
    holds=GENERATOR,
    detect=lambda files: CONFIG_FILE in files,
    validate=validate_generator,
    content=is_content,
    config=CONFIG_FILE,
    weights=WEIGHTS_FILE,
    base_of=base_of,
    read="composition.generative.files:load_generator",
    fallback=True,
)
