"""Plain LoRAs out of a mixture's files, as bytes and without torch: one expert, or all of them at once.

    expert i    rows offset_i … offset_i + r_i of A, the same columns of B, s_i as alpha: the bits that were stacked
    cat         A and B whole, rank Σr: Σ_i s_i B_i A_i for every token alike; where the scales of a module's experts
                differ, they are folded into B, in float32

A part is laid out before it is read: its size is known from the header, and any range of its bytes can be asked for,
so that a server streams it, resumes it and never holds it. `save_peft` of `unstack.expert_of` writes the same bytes.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from composition.errors import CompositionError
from composition.facts import ModuleFacts
from composition.formats.made_files import MadeFile, Rows, tensor_rows, widened
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
    number, config, start = stack.config.index(name), stack.config, stack.header.data_start
    facts: dict[str, ModuleFacts] = {}
    tensors: Named = {}
    blocks: list[Rows] = []
    for module in stack.modules:
        begin, end = config.span(module, number)
        if begin == end:
            continue
        a, b, scale = stack.tensor(module, "A"), stack.tensor(module, "B"), config.scales(module)[number]
        item = DTYPE_BYTES[b.dtype]
        facts[module] = _facts(a, b, end - begin, scale)
        tensors |= _named(module, a.dtype, b.dtype, facts[module])
        blocks += [
            tensor_rows(start, a, rows=(begin, end)),
            tensor_rows(start, b, given=(end - begin) * item, change=partial(_columns, begin, end, item, scale)),
        ]
    return _files(stack, facts, tensors, blocks)


def cat_files(stack: Stack) -> dict[str, FileSource]:
    """The sum of all experts as one plain LoRA: path → file. See `CAT_WARNING`."""
    facts: dict[str, ModuleFacts] = {}
    tensors: Named = {}
    blocks: list[Rows] = []
    start = stack.header.data_start
    for module in stack.modules:
        ranks, scales = stack.config.ranks(module), stack.config.scales(module)
        a, b, total = stack.tensor(module, "A"), stack.tensor(module, "B"), sum(ranks)
        used = {scale for scale, rank in zip(scales, ranks, strict=True) if rank}
        if len(used) == 1:
            (scale,), dtypes = used, (a.dtype, b.dtype)
            change = partial(_columns, 0, total, DTYPE_BYTES[b.dtype], scale)
            blocks += [tensor_rows(start, a), tensor_rows(start, b, change=change)]
        else:
            scale, dtypes = 1.0, ("F32", "F32")
            by_rank = np.repeat(np.array(scales, dtype=np.float32), ranks)
            blocks += [
                tensor_rows(start, a, given=4 * a.shape[1], change=partial(_scaled, a.dtype, None)),
                tensor_rows(start, b, given=4 * total, change=partial(_scaled, b.dtype, by_rank)),
            ]
        facts[module] = _facts(a, b, total, scale)
        tensors |= _named(module, *dtypes, facts[module])
    return _files(stack, facts, tensors, blocks)


def arrow_snippet(base: str, experts: list[str], top_k: int) -> str:
    """Python that routes the same experts by PEFT's Arrow, from their folders; it wants equal ranks and targets."""
    return ARROW.format(base=base, experts=experts, top_k=min(top_k, len(experts)))


def _files(
    stack: Stack, facts: dict[str, ModuleFacts], tensors: Named, blocks: Iterable[Rows]
) -> dict[str, FileSource]:
    if not facts:
        raise CompositionError(
            "assembly.no_modules",
            "This expert adapts no module, so there is nothing to download. Choose another expert.",
        )
    raw = stack.config.raw
    config = plain_config(facts, base_model=raw.get("base_model_name_or_path"), task_type=raw.get("task_type"))
    made = MadeFile(write_header(tensors, {"format": "pt"}), list(blocks), stack.source)
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


def _scaled(dtype: str, scales: np.ndarray | None, block: np.ndarray) -> np.ndarray:
    """float32 of a block of any float dtype, its columns times `scales`."""
    wide = widened(dtype, block).astype(np.float32, copy=False)
    return wide if scales is None else wide * scales
