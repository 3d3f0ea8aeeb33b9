"""The row of datasets: rows make a version, and no base is asked for."""

from composition.formats.dataset.files import is_content, validate_dataset
from composition.formats.table import DATASET, Format

ROW = Format(
    name="dataset",
    label="dataset",
    holds=DATASET,
    detect=lambda files: any(map(is_content, files)),
    validate=validate_dataset,
    content=is_content,
    fallback=True,
)
