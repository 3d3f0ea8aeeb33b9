"""The entrance: what every upload must pass before anyone sees it. Torch-free, streaming, and without side effects.

What is checked is in the `files` module of each format; `docs/formats.md` lists the codes of the refusals.
"""

from collections.abc import Mapping, Sequence

from composition.facts import AdapterFacts
from composition.formats.dataset.files import validate_dataset
from composition.formats.sources import Files, FileSource, LocalFile, MemoryFile, local_files
from composition.formats.table import ADAPTER, FORMATS

__all__ = ["FileSource", "Files", "LocalFile", "MemoryFile", "local_files", "validate_adapter", "validate_dataset"]


def validate_adapter(files: Files, *, base_shapes: Mapping[str, Sequence[int]] | None = None) -> AdapterFacts:
    """Check the files of one adapter of any known format, and that it fits a base of `base_shapes`.

    `base_shapes` is {module: [out, in]}, as `base_models.module_shapes` gives it. Raises CompositionError
    `path.*`, `content.*` and the codes of the format.
    """
    facts = FORMATS.recognise(ADAPTER, files).check(files, base_shapes=base_shapes)
    assert isinstance(facts, AdapterFacts)
    return facts
