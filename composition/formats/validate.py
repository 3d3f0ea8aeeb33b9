"""The door: what every upload passes before anybody sees it. Torch-free, streaming, and without side effects.

`adapter_files` and `dataset_files` tell what is checked; `docs/formats.md` lists the codes of the refusals.
"""

from composition.formats.dataset.files import validate_dataset
from composition.formats.peft.files import validate_adapter
from composition.formats.sources import Files, FileSource, LocalFile, MemoryFile, local_files

__all__ = ["FileSource", "Files", "LocalFile", "MemoryFile", "local_files", "validate_adapter", "validate_dataset"]
