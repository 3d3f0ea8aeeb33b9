"""Few tokens on a GPU: the chosen blocks of a mixture in two Triton kernels, shrink A x and expand B h, no gather.

    h_tj = w_tj s_i A_i x_t,   y_t += Σ_j B_i h_tj,   i = chosen[t, j]

As Punica and vLLM do for one adapter a request, with the routing weight multiplied in; ranks may differ. The stack form
that the layers take on a GPU reads all n experts; this reads k. Optional and opt-in: `install()` makes MeteoraLinear
use it for up to 16 tokens. It has been proven under Triton's interpreter, not timed on a device.
"""

from typing import Any

import torch
from torch import Tensor

from composition.moe import lora_moe_peft

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

TOKENS = 16
BLOCK = 128


def decode_reference(
    x: Tensor, out: Tensor, A: Tensor, B: Tensor, chosen: Tensor, weights: Tensor, blocks: Any
) -> None:
    """What the kernels do, in torch: out [T, out] += Σ_j w_tj s_i B_i A_i x_t for x [T, in], chosen [T, k]."""
    for t, experts in enumerate(chosen.tolist()):
        for j, i in enumerate(experts):
            block = slice(blocks.offsets[i], blocks.offsets[i] + blocks.ranks[i])
            hidden = (A[block].float() @ x[t].float()) * (weights[t, j] * blocks.scales[i])
            out[t] += (B[:, block].float() @ hidden).to(out.dtype)


if triton is not None:

    @triton.jit
    def _shrink(
        x, A, chosen, weights, offsets, scales, hidden, width, x_row, a_row,
        K: tl.constexpr, RANK: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """hidden [T, K, RANK] of one token and one of its experts; rows past the expert's rank stay 0."""
        token, choice = tl.program_id(0), tl.program_id(1)
        expert = tl.load(chosen + token * K + choice)
        rank = tl.arange(0, RANK)
        rows = tl.load(offsets + expert) + rank
        ours = rows < tl.load(offsets + expert + 1)
        total = tl.zeros((RANK,), tl.float32)
        for start in range(0, width, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            inside = columns < width
            places = A + rows[:, None] * a_row + columns[None, :]
            a = tl.load(places, mask=ours[:, None] & inside[None, :], other=0.0).to(tl.float32)
            v = tl.load(x + token * x_row + columns, mask=inside, other=0.0).to(tl.float32)
            total += tl.sum(a * v[None, :], 1)
        strength = tl.load(weights + token * K + choice) * tl.load(scales + expert)
        tl.store(hidden + (token * K + choice) * RANK + rank, total * strength)

    @triton.jit
    def _expand(
        hidden, B, chosen, offsets, out, height, b_row, b_rank, out_row,
        K: tl.constexpr, RANK: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """BLOCK outputs of one token: the base's, plus those of all its experts in their order."""
        token = tl.program_id(0)
        rows = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = rows < height
        rank = tl.arange(0, RANK)
        total = tl.load(out + token * out_row + rows, mask=inside, other=0.0).to(tl.float32)
        for choice in range(K):
            expert = tl.load(chosen + token * K + choice)
            columns = tl.load(offsets + expert) + rank
            ours = columns < tl.load(offsets + expert + 1)
            places = B + rows[:, None] * b_row + columns[None, :] * b_rank
            b = tl.load(places, mask=inside[:, None] & ours[None, :], other=0.0).to(tl.float32)
            h = tl.load(hidden + (token * K + choice) * RANK + rank)
            total += tl.sum(b * h[None, :], 1)
        tl.store(out + token * out_row + rows, total.to(out.dtype.element_ty), mask=inside)


def decode(x: Tensor, out: Tensor, A: Tensor, B: Tensor, chosen: Tensor, weights: Tensor, blocks: Any) -> None:
    """`decode_reference` by the kernels: out [T, out] is changed in place, sums are taken in float32."""
    tokens, k = chosen.shape
    offsets, scales = _blocks_on(blocks, x.device)
    rank = triton.next_power_of_2(max(*blocks.ranks, 1))
    hidden = torch.empty(tokens, k, rank, dtype=torch.float32, device=x.device)
    x, chosen, weights = x.contiguous(), chosen.contiguous(), weights.float().contiguous()
    _shrink[(tokens, k)](
        x, A, chosen, weights, offsets, scales, hidden, x.shape[1], x.stride(0), A.stride(0),
        K=k, RANK=rank, BLOCK=BLOCK,
    )  # fmt: skip
    _expand[(tokens, triton.cdiv(out.shape[1], BLOCK))](
        hidden, B, chosen, offsets, out, out.shape[1], B.stride(0), B.stride(1), out.stride(0),
        K=k, RANK=rank, BLOCK=BLOCK,
    )  # fmt: skip


def _blocks_on(blocks: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """(offsets [n + 1] int64, scales [n] float32) on the device, kept with the blocks: no copy in a captured graph."""
    known = blocks.__dict__.setdefault("_kernel", {})
    if device not in known:
        offsets = torch.tensor([*blocks.offsets, blocks.total], device=device)
        known[device] = offsets, torch.tensor(blocks.scales, dtype=torch.float32, device=device)
    return known[device]


def install() -> None:
    """Let MeteoraLinear decode with the kernels on a GPU. Raises RuntimeError where Triton is missing."""
    if triton is None:
        raise RuntimeError("Triton is not installed, and the kernels are written in it: pip install triton.")
    lora_moe_peft.decode_kernel = decode
