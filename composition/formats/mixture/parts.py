"""Plain LoRAs out of a mixture's files, as bytes and without torch: one expert, or all of them at once.

    expert i    rows offset_i … offset_i + r_i of A, the same columns of B, s_i as alpha: the bits that were stacked
    cat         A and B whole, rank Σr: Σ_i s_i B_i A_i for every token alike; where the scales of a module's experts
                differ, they are folded into B, in float32

A part is laid out before it is read: its size is known from the header, and any range of its bytes can be asked for,
so that a server streams it, resumes it and never holds it. `save_peft` of `unstack.expert_of` writes the same bytes.
"""

import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np

from composition.errors import CompositionError
from composition.facts import ModuleFacts
from composition.formats.mixture.config import AssemblyConfig, parse_assembly_config
from composition.formats.peft.names import CONFIG_FILE, PREFIX, WEIGHTS_FILE, factor_names
from composition.formats.peft.plain_config import plain_config
from composition.formats.safetensors_header import (
    DTYPE_BYTES,
    HIGHEST_MAX_HEADER,
    SafetensorsHeader,
    TensorInfo,
    parse_header,
    write_header,
)
from composition.formats.sources import FileSource, MemoryFile

MAX_CONFIG = 16 * 1024 * 1024
READ = 4 * 1024 * 1024
CAT_WARNING = (
    "Every expert acts on every token at once: the sum of their updates, without the router. It loads wherever plain "
    "LoRAs do, and answers otherwise than the mixture. Measure it before you use it."
)

ARROW = """\
from peft import ArrowConfig, create_arrow_model
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained({base!r})
model = create_arrow_model(
    base,
    task_specific_adapter_paths={experts!r},
    arrow_config=ArrowConfig(top_k={top_k}, router_temperature=1.0),
)
"""

Change = Callable[[np.ndarray], np.ndarray]
Named = dict[str, tuple[str, Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Stack:
    """A mixture's config, the header of its weights, and where their bytes are."""

    config: AssemblyConfig
    header: SafetensorsHeader
    source: FileSource

    @property
    def modules(self) -> list[str]:
        """The adapted modules, by name."""
        ending = f".{self.config.prefix}A"
        return sorted(key[len(PREFIX) : -len(ending)] for key in self.header.tensors if key.endswith(ending))

    def tensor(self, module: str, part: str) -> TensorInfo:
        """Where A or B of a module is in the file; `assembly.broken` where it is missing."""
        key = self.config.key(module, part)
        if key not in self.header.tensors:
            raise CompositionError("assembly.broken", f"The mixture lacks the tensor {key}. Push it again.", tensor=key)
        return self.header.tensors[key]


def read_stack(config: FileSource, weights: FileSource) -> Stack:
    """From a mixture's two files. Raises CompositionError `assembly.config`, `safetensors.*`."""
    with config.open() as stream:
        parsed = parse_assembly_config(stream.read(MAX_CONFIG), "the adapter")
    with weights.open() as stream:
        header = parse_header(stream, size=weights.size, max_header=HIGHEST_MAX_HEADER, file=WEIGHTS_FILE)
    return Stack(parsed, header, weights)


def expert_files(stack: Stack, name: str) -> dict[str, FileSource]:
    """One expert as a plain LoRA: path → file. Raises CompositionError `assembly.no_expert`."""
    number, config = stack.config.index(name), stack.config
    facts: dict[str, ModuleFacts] = {}
    tensors: Named = {}
    blocks: list[_Block] = []
    for module in stack.modules:
        begin, end = config.span(module, number)
        if begin == end:
            continue
        a, b, scale = stack.tensor(module, "A"), stack.tensor(module, "B"), config.scales(module)[number]
        facts[module] = _facts(a, b, end - begin, scale)
        tensors |= _named(module, a.dtype, b.dtype, facts[module])
        blocks += [
            _Block.of(stack, a, rows=(begin, end)),
            _Block.of(stack, b, change=partial(_columns, begin, end, DTYPE_BYTES[b.dtype], scale), width=end - begin),
        ]
    return _files(stack, facts, tensors, blocks)


def cat_files(stack: Stack) -> dict[str, FileSource]:
    """The sum of all experts as one plain LoRA: path → file. See `CAT_WARNING`."""
    facts: dict[str, ModuleFacts] = {}
    tensors: Named = {}
    blocks: list[_Block] = []
    for module in stack.modules:
        ranks, scales = stack.config.ranks(module), stack.config.scales(module)
        a, b, total = stack.tensor(module, "A"), stack.tensor(module, "B"), sum(ranks)
        used = {scale for scale, rank in zip(scales, ranks, strict=True) if rank}
        if len(used) == 1:
            (scale,), dtypes = used, (a.dtype, b.dtype)
            change = partial(_columns, 0, total, DTYPE_BYTES[b.dtype], scale)
            blocks += [_Block.of(stack, a), _Block.of(stack, b, change=change, width=total)]
        else:
            scale, dtypes = 1.0, ("F32", "F32")
            by_rank = np.repeat(np.array(scales, dtype=np.float32), ranks)
            blocks += [
                _Block.of(stack, a, change=partial(_widened, a.dtype, None), itemsize=4),
                _Block.of(stack, b, change=partial(_widened, b.dtype, by_rank), itemsize=4),
            ]
        facts[module] = _facts(a, b, total, scale)
        tensors |= _named(module, *dtypes, facts[module])
    return _files(stack, facts, tensors, blocks)


def arrow_snippet(base: str, experts: list[str], top_k: int) -> str:
    """Python that routes the same experts by PEFT's Arrow, from their folders; it wants equal ranks and targets."""
    return ARROW.format(base=base, experts=experts, top_k=min(top_k, len(experts)))


@dataclass(frozen=True, slots=True)
class _Block:
    """One tensor of the result: `rows` rows of `taken` bytes from byte `start` become rows of `given` bytes."""

    start: int
    rows: int
    taken: int
    given: int
    change: Change

    @classmethod
    def of(
        cls,
        stack: Stack,
        tensor: TensorInfo,
        *,
        rows: tuple[int, int] | None = None,
        change: Change = lambda block: block,
        width: int | None = None,
        itemsize: int | None = None,
    ) -> "_Block":
        """The named rows of a matrix, `width` elements of each, of `itemsize` bytes."""
        high, wide = tensor.shape
        item = DTYPE_BYTES[tensor.dtype]
        begin, end = rows or (0, high)
        start = stack.header.data_start + tensor.begin + begin * wide * item
        given = (wide if width is None else width) * (itemsize or item)
        return cls(start, end - begin, wide * item, given, change)

    @property
    def size(self) -> int:
        return self.rows * self.given

    def read(self, stream: BinaryIO, begin: int, end: int) -> bytes:
        """The result's bytes from `begin`, up to `end` or as many as READ source bytes make."""
        first = begin // self.given
        last = min(-(-end // self.given), first + max(1, READ // self.taken))
        stream.seek(self.start + first * self.taken)
        data = _exactly(stream, (last - first) * self.taken)
        made = self.change(np.frombuffer(data, np.uint8).reshape(last - first, self.taken))
        return made.tobytes()[begin - first * self.given : end - first * self.given]


class _Part(io.RawIOBase):
    """The file that a head and blocks make, as a seekable stream."""

    def __init__(self, head: bytes, blocks: Sequence[_Block], source: FileSource) -> None:
        self._head, self._blocks, self._stream = head, blocks, source.open()
        self._ends = np.cumsum([len(head), *(block.size for block in blocks)])
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: int(self._ends[-1])}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        found = self._next(len(buffer))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()

    def _next(self, count: int) -> bytes:
        """At most `count` bytes from here, out of one block."""
        number = int(np.searchsorted(self._ends, self._at, side="right"))
        if number == 0:
            return self._head[self._at : self._at + count]
        if number == len(self._ends):
            return b""
        begin = self._at - int(self._ends[number - 1])
        block = self._blocks[number - 1]
        return block.read(self._stream, begin, min(block.size, begin + count))


@dataclass(frozen=True, slots=True)
class _Made:
    """A part as a FileSource."""

    head: bytes
    blocks: Sequence[_Block]
    source: FileSource

    @property
    def size(self) -> int:
        return len(self.head) + sum(block.size for block in self.blocks)

    def open(self) -> BinaryIO:
        return io.BufferedReader(_Part(self.head, self.blocks, self.source), 1 << 20)


def _files(
    stack: Stack, facts: dict[str, ModuleFacts], tensors: Named, blocks: Iterable[_Block]
) -> dict[str, FileSource]:
    if not facts:
        raise CompositionError(
            "assembly.no_modules",
            "This expert adapts no module, so there is nothing to download. Choose another expert.",
        )
    raw = stack.config.raw
    config = plain_config(facts, base_model=raw.get("base_model_name_or_path"), task_type=raw.get("task_type"))
    made = _Made(write_header(tensors, {"format": "pt"}), [block for block in blocks if block.size], stack.source)
    return {CONFIG_FILE: MemoryFile(config), WEIGHTS_FILE: made}


def _facts(a: TensorInfo, b: TensorInfo, rank: int, scale: float) -> ModuleFacts:
    return ModuleFacts(r=rank, in_features=a.shape[1], out_features=b.shape[0], scale=scale)


def _named(module: str, a_dtype: str, b_dtype: str, fact: ModuleFacts) -> Named:
    a, b = factor_names(module)
    return {a: (a_dtype, (fact.r, fact.in_features)), b: (b_dtype, (fact.out_features, fact.r))}


def _columns(begin: int, end: int, item: int, scale: float, block: np.ndarray) -> np.ndarray:
    """Columns of B; a negative scale turns their signs, a scale of zero leaves nothing but them."""
    cut = block[:, begin * item : end * item]
    if scale > 0:
        return cut
    cut = cut.copy().reshape(len(cut), -1, item)
    if scale == 0:
        cut[..., :-1] = 0
        cut[..., -1] &= 0x80
    if math.copysign(1.0, scale) < 0:
        cut[..., -1] ^= 0x80
    return cut


def _widened(dtype: str, scales: np.ndarray | None, block: np.ndarray) -> np.ndarray:
    """float32 of a block of any float dtype, its columns times `scales`."""
    if dtype == "BF16":
        wide = (np.ascontiguousarray(block).view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        kind = {"F16": np.float16, "F32": np.float32, "F64": np.float64}[dtype]
        wide = np.ascontiguousarray(block).view(kind).astype(np.float32)
    return wide if scales is None else wide * scales


def _exactly(stream: BinaryIO, count: int) -> bytes:
    found = stream.read(count)
    while len(found) < count:
        more = stream.read(count - len(found))
        if not more:
            raise OSError("the mixture's weights are shorter than their header says")
        found += more
    return found
