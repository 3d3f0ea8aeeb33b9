"""The form of a plain LoRA that every server reads right: one rank, one scale, no gaps. Bytes to bytes, torch-free.

    R       the largest rank, rounded up to a power of two, 16 at least; every module has it
    A, B    zero rows below A, zero columns right of B: ΔW = scale · B @ A stays what it is
    scale   folded into B, so that lora_alpha = r = R; no rsLoRA, no patterns
    gaps    zero factors where a kind of module is missing in some layer, or q, k, v (gate, up) are not all there

What folding does to the bits of B: nothing where the scale is 1 or -1. A power of two is exact in float32, bfloat16 and
float64, and these dtypes stay; float16 may run out of range, so its B is written as float32, where it is exact. Any
other scale is multiplied in float64 and rounded once to float32 (float64 stays): at most 2^-24 = 6e-8 of each value.

docs/inference-servers.md says which server needs which of these.
"""

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from composition.facts import ModuleFacts
from composition.formats.made_files import FLOATS, Block, MadeFile, Zeros, tensor_rows, widened
from composition.formats.peft.layouts.completing import Shapes, missing
from composition.formats.peft.layouts.stored import StoredLora, read_stored
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE, factor_names
from composition.formats.peft.plain_config import plain_config
from composition.formats.safetensors_header import (
    DTYPE_BYTES,
    write_header,
)
from composition.formats.sources import Files, FileSource, MemoryFile

LEAST_RANK = 16


def uniform_files(
    files: Files, base_shapes: Shapes | None = None, *, base_model: str | None = None
) -> dict[str, FileSource]:
    """The two files of the adapter in the uniform form: path → file, made as it is read.

    `base_shapes` ({module: [out, in]}, `base_models.module_shapes`) say where modules are missing; without them only
    gaps between the adapter's own layers are filled. `base_model` is the base's id, where the config has another name
    for it. Raises what `read_stored` raises.
    """
    stored = read_stored(files)
    facts = stored.facts()
    absent = missing(facts, base_shapes)
    rank = uniform_rank(facts)
    config = plain_config(
        uniform_facts(facts, absent),
        base_model=base_model or stored.config.base_model_name,
        task_type=stored.config.task_type,
        suffixes=_suffixes({*facts, *absent}, base_shapes),
        fan_in_fan_out=stored.config.fan_in_fan_out,
        revision=_text(stored.config.raw.get("revision")),
    )
    tensors: dict[str, tuple[str, tuple[int, int]]] = {}
    blocks: list[Block] = []
    filler = next(iter(stored.pairs.values()))[0].dtype
    for module in sorted({*facts, *absent}):
        a_name, b_name = factor_names(module)
        if module in absent:
            high, wide = absent[module]
            kinds = filler, filler
            made: list[Block] = [Zeros((high + wide) * rank * DTYPE_BYTES[filler])]
        else:
            (a, b), scale = stored.pairs[module], facts[module].scale
            high, wide = b.shape[0], a.shape[1]
            kinds, made = (a.dtype, folded_dtype(b.dtype, scale)), _blocks(stored, module, rank)
        tensors[a_name], tensors[b_name] = (kinds[0], (rank, wide)), (kinds[1], (high, rank))
        blocks += made
    head = write_header(tensors, {**stored.header.metadata, "format": "pt"})
    return {CONFIG_FILE: MemoryFile(config), WEIGHTS_FILE: MadeFile(head, blocks, stored.source)}


def uniform_rank(facts: Mapping[str, ModuleFacts]) -> int:
    """The largest rank rounded up to a power of two, 16 at least."""
    return max(LEAST_RANK, 1 << (max(fact.r for fact in facts.values()) - 1).bit_length())


def uniform_facts(facts: Mapping[str, ModuleFacts], absent: Mapping[str, tuple[int, int]]) -> dict[str, ModuleFacts]:
    """What the uniform form's modules are: one rank, scale 1, the absent ones (module → (out, in)) among them."""
    shapes = {module: (fact.out_features, fact.in_features) for module, fact in facts.items()} | dict(absent)
    rank = uniform_rank(facts)
    return {
        module: ModuleFacts(r=rank, in_features=wide, out_features=high, scale=1.0)
        for module, (high, wide) in sorted(shapes.items())
    }


def folded_dtype(dtype: str, scale: float) -> str:
    """The dtype that B is written in with its scale folded in; see the module's text."""
    if abs(scale) in (0.0, 1.0) or dtype == "F64":
        return dtype
    return dtype if math.frexp(abs(scale))[0] == 0.5 and dtype != "F16" else "F32"


def _blocks(stored: StoredLora, module: str, rank: int) -> list[Block]:
    """A and its zero rows, B with its zero columns and the scale in it."""
    a, b = stored.pairs[module]
    start, scale = stored.header.data_start, stored.scale(module)
    kind = folded_dtype(b.dtype, scale)
    below = (rank - a.shape[0]) * a.shape[1] * DTYPE_BYTES[a.dtype]
    change = partial(_folded, b.dtype, kind, scale, rank)
    if scale == 1.0 and b.shape[1] == rank:
        return [tensor_rows(start, a), Zeros(below), tensor_rows(start, b)]
    return [tensor_rows(start, a), Zeros(below), tensor_rows(start, b, given=rank * DTYPE_BYTES[kind], change=change)]


def _folded(dtype: str, kind: str, scale: float, rank: int, block: np.ndarray) -> np.ndarray:
    """Rows of B in `dtype` → the same times `scale` in `kind`, with zeros up to `rank` columns."""
    high = len(block)
    if scale == 1.0:
        made = np.zeros((high, rank * DTYPE_BYTES[dtype]), np.uint8)
        made[:, : block.shape[1]] = block
        return made
    values = widened(dtype, block)
    if kind == "BF16":  # a power of two, zero or -1: the product is a bfloat16, the low half of its float32 is zero
        bits = (values * np.float32(scale)).view(np.uint32) >> 16
        made = np.zeros((high, rank), np.uint16)
        made[:, : bits.shape[1]] = bits
        return made
    made = np.zeros((high, rank), FLOATS[kind])
    exact = kind if math.frexp(abs(scale))[0] == 0.5 else "F64"
    np.multiply(values, FLOATS[exact](scale), out=made[:, : values.shape[1]], dtype=FLOATS[exact], casting="same_kind")
    return made


def _suffixes(modules: set[str], base_shapes: Shapes | None) -> tuple[str, ...]:
    """The modules' last names, where they pick no other module of the base; else none, and full names are written."""
    last = {module.rpartition(".")[2] for module in modules}
    others = (name for name in base_shapes or {} if name not in modules)
    return () if any(name.rpartition(".")[2] in last for name in others) else tuple(sorted(last))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
