"""The header of a safetensors file, read without trusting it.

    8 bytes n, little-endian | n bytes JSON {name: {dtype, shape, data_offsets}, "__metadata__": {str: str}} | tensors

The reference reader takes duplicate keys (last wins), leading spaces, names with NUL, and a million empty tensors in a
67 MB header. Here one file has one reading, and reading it is cheap: at most `MAX_HEADER` bytes are ever loaded.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from composition.errors import CompositionError
from composition.formats.strict_json import shorten, strict_loads

MAX_HEADER = 4 * 1024 * 1024
HIGHEST_MAX_HEADER = 16 * 1024 * 1024
MAX_TENSORS = 50_000
MAX_DIMENSIONS = 8
MAX_NAME = 512
MAX_METADATA = 64 * 1024
METADATA_KEY = "__metadata__"

DTYPE_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor; `begin` and `end` count bytes from `SafetensorsHeader.data_start`."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        """The product of the shape."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """Tensors in the order of their bytes, the file's metadata, and where the tensors' bytes begin."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    data_start: int


def parse_header(
    stream_or_path: BinaryIO | str | Path,
    *,
    size: int | None = None,
    max_header: int = MAX_HEADER,
    file: str | None = None,
) -> SafetensorsHeader:
    """Read and check the header of a file of `size` bytes (found by seeking where not given).

    A stream is read from its current position, which must be the file's start; `file` names it in errors.
    Raises CompositionError `safetensors.*` with the fact `file`, and `tensors` where single ones are to blame.
    """
    if isinstance(stream_or_path, str | Path):
        path = Path(stream_or_path)
        with path.open("rb") as stream:
            return _Parser(file or path.name).parse(stream, size, max_header)
    return _Parser(file or "the safetensors file").parse(stream_or_path, size, max_header)


def write_header(tensors: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str]) -> bytes:
    """A file up to its first tensor: length and JSON of the named (dtype, shape), which follow in this order."""
    header: dict[str, Any] = {METADATA_KEY: dict(sorted(metadata.items()))}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + math.prod(shape) * DTYPE_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


class _Parser:
    def __init__(self, file: str) -> None:
        self.file = file

    def error(self, code: str, problem: str, **facts: object) -> CompositionError:
        return CompositionError(f"safetensors.{code}", f"{self.file}: {problem}", file=self.file, **facts)

    def tensor_error(self, code: str, name: str, problem: str) -> CompositionError:
        return self.error(code, f"tensor {shorten(name)} {problem}", tensors=[name[:MAX_NAME]])

    def parse(self, stream: BinaryIO, size: int | None, max_header: int) -> SafetensorsHeader:
        if size is None:
            start = stream.tell()
            size = stream.seek(0, 2) - start
            stream.seek(start)
        first = stream.read(8)
        if len(first) < 8 or size < 8:
            raise self.error(
                "truncated", f"a safetensors file has at least 8 bytes, and this one has {size}. Save it again."
            )
        length = struct.unpack("<Q", first)[0]
        limit = min(max_header, HIGHEST_MAX_HEADER)
        if length > limit:
            raise self.error(
                "header_too_large",
                f"its first 8 bytes announce a header of {length:,} bytes; at most {limit:,} are read. "
                "Either it is no safetensors file, or it holds far more tensors than an adapter has.",
                length=length,
                limit=limit,
            )
        if length > size - 8:
            raise self.error(
                "truncated",
                f"{size - 8:,} of {length:,} bytes of its header are there, and nothing of its tensors. "
                "The file was cut: save or download it again, and look at its size.",
                given=size - 8,
                expected=length,
            )
        header = stream.read(length)
        if len(header) != length:
            raise self.error("truncated", "its header ends early. Upload it again.")
        if not header.startswith(b"{"):
            raise self.error("not_json", "its header does not begin with '{', so it is no safetensors file.")
        raw = strict_loads(header, area="safetensors", what=f"The header of {self.file}", file=self.file)
        if not isinstance(raw, dict):
            raise self.error("not_json", "its header is no JSON object.")
        metadata = self.metadata(raw.pop(METADATA_KEY, {}))
        if len(raw) > MAX_TENSORS:
            raise self.error(
                "too_many_tensors", f"it holds {len(raw):,} tensors; at most {MAX_TENSORS:,} are read.", count=len(raw)
            )
        tensors = {name: self.tensor(name, entry) for name, entry in raw.items()}
        ordered = sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end, item[0]))
        self.cover(ordered, size - 8 - length)
        return SafetensorsHeader(dict(ordered), metadata, 8 + length)

    def metadata(self, entry: object) -> dict[str, str]:
        if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
            raise self.error("metadata", f"{METADATA_KEY} must map strings to strings. Save the file with safetensors.")
        length = sum(len(key.encode()) + len(value.encode()) for key, value in entry.items())
        if length > MAX_METADATA:
            raise self.error(
                "metadata", f"{METADATA_KEY} has {length:,} bytes; at most {MAX_METADATA:,} are allowed. Shorten it."
            )
        return entry

    def tensor(self, name: str, entry: Any) -> TensorInfo:
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise self.tensor_error("name", name, f"is no name of 1 to {MAX_NAME} printable characters.")
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise self.tensor_error("entry", name, "must have dtype, shape and data_offsets, and nothing else.")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
            known = ", ".join(DTYPE_BYTES)
            raise self.tensor_error("dtype", name, f"has dtype {shorten(dtype)}; known are {known}.")
        if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not _are_sizes(shape):
            raise self.tensor_error(
                "shape", name, f"has shape {shorten(shape)}; expected at most {MAX_DIMENSIONS} whole numbers from 0 up."
            )
        if not isinstance(offsets, list) or len(offsets) != 2 or not _are_sizes(offsets) or offsets[0] > offsets[1]:
            raise self.tensor_error(
                "offsets", name, f"has data_offsets {shorten(offsets)}; expected [begin, end] with 0 <= begin <= end."
            )
        expected = math.prod(shape) * DTYPE_BYTES[dtype]
        if offsets[1] - offsets[0] != expected:
            raise self.tensor_error(
                "size",
                name,
                f"of dtype {dtype} and shape {shape} needs {expected:,} bytes; "
                f"its offsets give it {offsets[1] - offsets[0]:,}.",
            )
        return TensorInfo(dtype, tuple(shape), offsets[0], offsets[1])

    def cover(self, ordered: Iterable[tuple[str, TensorInfo]], data_bytes: int) -> None:
        """The tensors must follow one another from the first byte of the data to the last, without gap or overlap."""
        ordered = list(ordered)
        whole = max((tensor.end for _, tensor in ordered), default=0)
        reached = 0
        for name, tensor in ordered:
            if tensor.begin != reached:
                word = "overlaps the one before it" if tensor.begin < reached else "leaves a gap before it"
                raise self.tensor_error(
                    "layout", name, f"begins at byte {tensor.begin:,}, expected {reached:,}: it {word}."
                )
            reached = tensor.end
            if reached > data_bytes:
                raise self.error(
                    "truncated",
                    f"{data_bytes:,} of {whole:,} bytes of tensors are there; the first one cut is {shorten(name)}. "
                    "The file was cut: save or download it again, and look at its size.",
                    tensors=[name],
                    given=data_bytes,
                    expected=whole,
                )
        if reached != data_bytes:
            raise self.error(
                "trailing",
                f"{data_bytes - reached:,} bytes follow the last tensor; a safetensors file ends with it. "
                "Save it again with safetensors.",
            )


def _are_sizes(values: list[Any]) -> bool:
    """Whole numbers from 0 below 2^63 (true and false are none)."""
    return all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 for value in values)
