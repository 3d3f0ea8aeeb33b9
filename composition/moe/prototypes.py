"""What a router starts from without any data: each expert's strongest input direction, after Arrow (arXiv:2405.11157).

The prototype of expert i is the top right-singular vector v_i of ΔW_i = s_i B_i A_i, the unit input that it changes
most; a token x prefers the experts with the largest |v_i · x|. The sign of a singular vector means nothing, so such a
gate is read by its absolute value (`router_abs` in the config) until training has given it one.

With B = Q R (thin QR) the right-singular vectors of B A are those of the small R A [r, in]; from its Gram [r, r] comes
the largest. Nothing dense is made, all is float64, and the sign is fixed by the largest entry: same factors, same bits.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from composition.formats.safetensors_writer import cast
from composition.weights import Factors, LazyFactors, LoraWeights


def prototype(factors: Factors) -> Tensor:
    """The unit top right-singular vector of ΔW: [in] float32; zeros where ΔW is zero."""
    small = _small(factors)
    values, vectors = torch.linalg.eigh(small @ small.mT)
    direction = vectors[:, -1] @ small
    length = direction.norm()
    if factors.scale == 0 or values[-1] <= 0 or length == 0:
        return torch.zeros(factors.in_features)
    direction /= length
    return (direction * direction[direction.abs().argmax()].sign()).float()


def expert_gate(experts: Sequence[LoraWeights], module: str) -> Tensor:
    """[n, in] float32: a prototype for each expert; zeros for one without the module."""
    rows = [prototype(expert[module]) if module in expert else None for expert in experts]
    width = next(row for row in rows if row is not None)
    return torch.stack([torch.zeros_like(width) if row is None else row for row in rows])


def rank_gate(experts: Sequence[LoraWeights], module: str, partition: int = 1) -> Tensor:
    """[R / partition, in] float32: every rank of an expert shares its prototype, so that top-k takes whole experts."""
    blocks = []
    for expert in experts:
        if module in expert:
            factors = expert[module]
            blocks.append(prototype(factors).repeat(factors.rank // partition, 1))
    return torch.cat(blocks)


def svd_basis(factors: Factors) -> Factors:
    """The same ΔW with its singular directions as ranks, (√S Vᵀ, U √S), scale 1, strongest first, in float32."""
    q, small = torch.linalg.qr(factors.B.double())
    u, s, vt = torch.linalg.svd((small @ factors.A.double()) * factors.scale, full_matrices=False)
    rank = factors.rank
    sign = torch.gather(vt, 1, vt.abs().argmax(1, keepdim=True)).sign()  # [min(r, in), 1]
    root = s.sqrt()
    A = torch.zeros(rank, factors.in_features, dtype=torch.float64)
    B = torch.zeros(factors.out_features, rank, dtype=torch.float64)
    A[: len(s)] = root[:, None] * vt * sign
    B[:, : len(s)] = q @ u * (root * sign[:, 0])
    return Factors(A.float(), B.float(), 1.0)


def in_svd_basis(adapter: LoraWeights) -> LoraWeights:
    """The same updates with singular directions as ranks, made when read; in the stored dtype, so rounded to it."""
    modules = {}
    for module in adapter:
        facts, dtype = replace(adapter.module_facts(module), scale=1.0), adapter.module_dtype(module)
        modules[module] = LazyFactors(facts, dtype, partial(_svd, adapter, module, dtype))
    return LoraWeights(
        modules,
        base_model=adapter.base_model,
        name=adapter.name,
        task_type=adapter.task_type,
        target_modules=adapter.target_modules,
        fan_in_fan_out=adapter.fan_in_fan_out,
    )


def random_rows(rows: int, width: int, seed: int, module: str) -> Tensor:
    """[rows, width] as nn.Linear starts (kaiming uniform, 1/√width), the same for the same seed and module's name."""
    digest = hashlib.sha256(f"{seed} {module}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return (torch.rand(rows, width, generator=generator) * 2 - 1) / math.sqrt(width)


def _svd(adapter: LoraWeights, module: str, dtype: torch.dtype) -> Factors:
    factors = svd_basis(adapter[module])
    return Factors(cast(factors.A, dtype, module), cast(factors.B, dtype, module), 1.0)


def _small(factors: Factors) -> Tensor:
    """R A [min(out, r), in] float64, with B = Q R."""
    return torch.linalg.qr(factors.B.double(), mode="r").R @ factors.A.double()
