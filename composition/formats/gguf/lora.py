"""A plain LoRA as `adapter.gguf`, which llama.cpp reads to the same ΔW: laid out first, made as it is read.

llama.cpp computes α / r · B @ A with one α for the file and each tensor's own r (llama-adapter.h), so ranks may differ
and patterns need no padding: α is the s · r that most modules have, and what another module has beyond it goes into its
B, in float32. Factors keep their dtype otherwise; float64, which ggml does not multiply, becomes float32.

    blk.0.attn_q.weight.lora_a    [r, in]
    blk.0.attn_q.weight.lora_b    [out, r], rows in the order of llama.cpp's weight (`names`)
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from composition.formats.gguf.container import GgufTensor, gguf_head, padding
from composition.formats.gguf.names import GgufNames
from composition.formats.made_files import READ, Block, MadeFile, Rows, Zeros, exactly, tensor_rows, widened
from composition.formats.peft.layouts.stored import StoredLora, read_stored
from composition.formats.safetensors_header import TensorInfo
from composition.formats.sources import Files, FileSource

GGUF_FILE = "adapter.gguf"
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class Reordered:
    """The rows that `rows` makes, in another order: row i of each run of len(order) is its row order[i]."""

    rows: Rows
    order: np.ndarray

    @property
    def size(self) -> int:
        """Bytes in the made file."""
        return self.rows.size

    def read(self, stream: BinaryIO, begin: int, end: int) -> bytes:
        """From `begin`, up to `end` or as many whole runs as READ bytes hold."""
        given, run = self.rows.given, len(self.order)
        first = begin // (given * run)
        count = max(1, min(-(-end // (given * run)) - first, READ // (self.rows.taken * run)))
        stream.seek(self.rows.start + first * run * self.rows.taken)
        data = exactly(stream, count * run * self.rows.taken)
        block = np.frombuffer(data, np.uint8).reshape(count, run, self.rows.taken)[:, self.order]
        made = self.rows.change(block.reshape(count * run, self.rows.taken)).tobytes()
        start = begin - first * run * given
        return made[start : start + min(end, self.size) - begin]


def gguf_files(files: Files, config: Mapping[str, Any], base_name: str = "") -> dict[str, FileSource]:
    """{"adapter.gguf": file} of the plain LoRA in `files`, for the base of this `config.json`.

    Raises CompositionError `form.not_plain` where the adapter is more than A, B and a scale,
    `form.gguf_architecture` and `form.gguf_module` where llama.cpp's name or order of a weight is not known.
    """
    stored, names = read_stored(files), GgufNames(config)
    products = {module: stored.scale(module) * a.shape[0] for module, (a, _) in stored.pairs.items()}
    alpha = Counter(products.values()).most_common(1)[0][0]
    tensors: list[GgufTensor] = []
    blocks: list[Block] = []
    for module, (a, b) in stored.pairs.items():
        name = names.tensor(module)
        order = names.row_order(name, b.shape[0])
        for ending, tensor, factor in (("lora_a", a, 1.0), ("lora_b", b, products[module] / alpha)):
            dtype, rows = _rows(stored, tensor, factor)
            tensors.append(GgufTensor(f"{name}.{ending}", tensor.shape, dtype, rows.size))
            turned = ending == "lora_b" and order is not None
            blocks += [Reordered(rows, order) if turned and order is not None else rows, Zeros(padding(rows.size))]
    metadata: dict[str, str | int | float] = {
        "general.architecture": names.architecture.name,
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": float(alpha),
        "general.quantization_version": 2,
    }
    if base_name:
        metadata |= {"general.base_model.count": 1, "general.base_model.0.name": base_name}
    return {GGUF_FILE: MadeFile(gguf_head(metadata, tensors), blocks, stored.source)}


def _rows(stored: StoredLora, tensor: TensorInfo, factor: float) -> tuple[str, Rows]:
    """(dtype, rows) of a factor: as it is, or times a number as float32."""
    start = stored.header.data_start
    if factor == 1.0 and tensor.dtype in ITEM_BYTES:
        return tensor.dtype, tensor_rows(start, tensor)
    change = partial(_times, tensor.dtype, factor)
    return "F32", tensor_rows(start, tensor, given=tensor.shape[1] * ITEM_BYTES["F32"], change=change)


def _times(dtype: str, factor: float, block: np.ndarray) -> np.ndarray:
    return (widened(dtype, block).astype(np.float64) * factor).astype(np.float32)
