"""The checks for every file of any format: its name, its first and last bytes, and no code that a loader would run.

`content` says what may be uploaded at all; here its rules are applied to the bytes. Nothing is unpacked.
"""

from collections.abc import Collection

from composition.formats.content import SNIFF_BYTES, check_paths, extension, refuse_pickle, sniff
from composition.formats.mixture.loader import check_loader
from composition.formats.peft.fields import refuse_code
from composition.formats.sources import Files, FileSource
from composition.formats.strict_json import strict_loads

TAIL_BYTES = 66_000
"""A ZIP's directory is at its end, before a comment of at most 64 KiB."""
SIDE_CONFIGS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
PICKLE_BYTES = 1 << 16
"""How much of a file is read as a pickle would be."""
MAX_SIDE_CONFIG = 4 * 1024 * 1024


def check_content(files: Files) -> None:
    """All files of an upload, and that no config next to the weights asks for code.

    Raises CompositionError `path.*`, `content.*`, `config.code`.
    """
    check_paths(list(files))
    for path, source in files.items():
        check_file(path, source, beside=files)
        if path.rpartition("/")[2] in SIDE_CONFIGS and source.size <= MAX_SIDE_CONFIG:
            with source.open() as stream:
                raw = strict_loads(stream.read(MAX_SIDE_CONFIG), area="content", what=path, file=path)
            refuse_code(raw if isinstance(raw, dict) else {"content": raw}, path)


def check_file(path: str, source: FileSource, *, beside: Collection[str] = ()) -> None:
    """Refuse pickles, archives, programs and unknown kinds, judged by bytes and name. Raises `content.*`.

    `beside` are the paths of the whole upload, for the advice.
    """
    with source.open() as stream:
        first, last = stream.read(PICKLE_BYTES), b""
        if extension(path) != ".safetensors":  # its header accounts for every byte
            stream.seek(max(0, source.size - TAIL_BYTES))
            last = stream.read(TAIL_BYTES)
    refuse_pickle(path, first, size=source.size, beside=beside)
    sniff(path, first[:SNIFF_BYTES], last, size=source.size, beside=beside)
    check_loader(path, source)
