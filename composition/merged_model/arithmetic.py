"""The merge of one tensor in torch, with the bits of peft 0.21.2 on a CPU.

`PeftModel.from_pretrained` loads factors of any dtype as float32, multiplies there, and `merge` adds the float32 ΔW to
the weight in place: one rounding to the weight's dtype. An embedding's ΔW is rounded to that dtype first.
"""

import torch
from torch import Tensor

from .plan import Target
from .stored import Stored

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
ROWS_BYTES = 16 * 1024 * 1024


def merged(target: Target) -> bytearray:
    """The target's bytes in the result. Memory: the tensor, its ΔW in float32, one block of rows."""
    data = target.source.data()
    weight = _tensor(data, target.source.dtype, target.source.shape)
    if target.dtype != target.source.dtype:
        data = bytearray(target.size)
        weight = _tensor(data, target.dtype, target.source.shape).copy_(weight)
    if target.bias is not None:
        assert target.bias.bias is not None
        weight += factor(target.bias.bias) * target.bias.scale
    if target.low is None:
        return data
    low = target.low
    assert low.A is not None and low.B is not None
    delta = factor(low.B) @ factor(low.A)
    if low.table or target.transposed:
        delta = delta.T
    delta.mul_(low.scale)
    if low.magnitude is not None:
        _add_dora(weight, delta, factor(low.magnitude), target.transposed)
        return data
    rows = max(1, ROWS_BYTES // (delta.shape[1] * 8))
    for begin in range(0, weight.shape[0], rows):
        part = delta[begin : begin + rows]
        weight[begin : begin + rows] += part.to(weight.dtype) if low.table else part
    return data


def _add_dora(weight: Tensor, delta: Tensor, magnitude: Tensor, transposed: bool) -> None:
    """W ← m / ‖W + ΔW‖ · (W + ΔW), norms over each output's inputs (peft's `DoraLinearVariant.merge_unsafe`)."""
    whole = weight + delta
    norm = torch.linalg.norm(whole.T if transposed else whole, dim=1).to(whole.dtype)
    by = (magnitude / norm).view(-1, 1)
    weight.copy_((by.T if transposed else by) * whole)


def factor(stored: Stored) -> Tensor:
    """A stored tensor in float32."""
    return _tensor(stored.data(), stored.dtype, stored.shape).float()


def _tensor(data: bytearray, dtype: str, shape: tuple[int, ...]) -> Tensor:
    """A view on the bytes: what is written to it is written to them."""
    if not data:
        return torch.empty(shape, dtype=DTYPES[dtype])
    return torch.frombuffer(data, dtype=DTYPES[dtype]).view(shape)
