"""Merges of one module as papers and their code write them: dense ΔW, SVDs of whole matrices, torch in float32.

Each takes the adapters' (A, B), √scale on both, and gives (B', A') of rank k; peers of `merge_cores.py`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Pairs = Sequence[tuple[Tensor, Tensor]]


def truncated(matrix: Tensor, k: int) -> tuple[Tensor, Tensor]:
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :k] * s[:k], vh[:k]


def polar(matrix: Tensor) -> Tensor:
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    return u @ vh


def ties(updates: Tensor, density: float) -> Tensor:
    """TIES as the official code does it: kthvalue, sign by sum, mean of those that agree."""
    flat = updates.flatten(1)
    edge = flat.abs().kthvalue(flat.shape[1] - int(density * flat.shape[1]), dim=1, keepdim=True).values
    flat = flat * (flat.abs() > edge)
    agree = torch.where(flat.sum(0) >= 0, flat > 0, flat < 0)
    return ((flat * agree).sum(0) / agree.sum(0).clamp_min(1)).view(updates.shape[1:])


def svd(pairs: Pairs, k: int) -> tuple[Tensor, Tensor]:
    return truncated(torch.stack([B @ A for A, B in pairs]).mean(0), k)


def tsv(pairs: Pairs, k: int) -> tuple[Tensor, Tensor]:
    parts = [torch.linalg.svd(B @ A, full_matrices=False) for A, B in pairs]
    rank = pairs[0][0].shape[0]
    left = polar(torch.cat([u[:, :rank] for u, _, _ in parts], 1))
    right = polar(torch.cat([vh[:rank] for _, _, vh in parts]))
    return truncated((left * torch.cat([s[:rank] for _, s, _ in parts])) @ right, k)


def iso_c(pairs: Pairs, k: int) -> tuple[Tensor, Tensor]:
    u, s, vh = torch.linalg.svd(torch.stack([B @ A for A, B in pairs]).sum(0), full_matrices=False)
    return u[:, :k] * s[:k].mean(), vh[:k]


def iso_cts(pairs: Pairs, k: int) -> tuple[Tensor, Tensor]:
    updates = torch.stack([B @ A for A, B in pairs])
    common = k - len(pairs)
    u, s, vh = torch.linalg.svd(updates.sum(0), full_matrices=False)
    parts = [(u[:, :common], s[:common], vh[:common])]
    for update in updates:
        u, s, vh = torch.linalg.svd(update - parts[0][0] @ (parts[0][0].mT @ update), full_matrices=False)
        parts.append((u[:, :1], s[:1], vh[:1]))
    left, values, right = (torch.cat(each, dim) for each, dim in zip(zip(*parts, strict=True), (1, 0, 0), strict=True))
    return polar(left) * values.mean(), polar(right)


def core_space(pairs: Pairs, k: int) -> tuple[Tensor, Tensor]:
    """Thin SVDs of the stacks in float64, as the official code has them; the cut is made on the core."""
    left, right = torch.cat([B for _, B in pairs], 1).double(), torch.cat([A for A, _ in pairs]).double()
    u, vh = torch.linalg.svd(left, full_matrices=False).U, torch.linalg.svd(right, full_matrices=False).Vh
    cores = torch.stack([u.mT @ B.double() @ A.double() @ vh.mT for A, B in pairs])
    B, A = truncated(ties(cores, 0.2), k)
    return u @ B, A @ vh


def knots(pairs: Pairs, k: int) -> tuple[Tensor, Tensor]:
    u, s, vh = torch.linalg.svd(torch.cat([B @ A for A, B in pairs], 1).double(), full_matrices=False)
    kept = s > 1e-5
    u, rows = u[:, kept].float(), (s[kept, None] * vh[kept]).float()
    return truncated(u @ ties(torch.stack(rows.chunk(len(pairs), 1)), 0.2), k)


def pico(pairs: Pairs, k: int) -> tuple[Tensor, Tensor]:
    u, s, _ = torch.linalg.svd(torch.cat([B for _, B in pairs], 1), full_matrices=False)
    damping = 1 / (1 + (len(pairs) - 1) * s.square() / s.square().sum()) - 1
    calibration = torch.eye(len(u)) + (u * damping) @ u.mT
    merged = torch.stack([calibration @ B @ A for A, B in pairs]).sum(0)
    size = torch.stack([(B @ A).norm() for A, B in pairs]).mean()
    return truncated(merged * (size / merged.norm()), k)


def ctm(pairs: Pairs, k: int) -> tuple[Tensor, Tensor]:
    """Tucker-2 in core space with an SVD of an unfolding at a time, as tensorly's partial_tucker; tolerance 1e-6."""
    left, right = torch.cat([B for _, B in pairs], 1), torch.cat([A for A, _ in pairs])
    basis_b, basis_a = torch.linalg.svd(left, full_matrices=False).U, torch.linalg.svd(right, full_matrices=False).Vh
    cores = torch.stack([basis_b.mT @ B @ A @ basis_a.mT for A, B in pairs])
    v = torch.linalg.svd(cores.movedim(2, 0).flatten(1), full_matrices=False).U[:, :k]
    captured = 0.0
    for _ in range(1000):
        u = torch.linalg.svd((cores @ v).movedim(1, 0).flatten(1), full_matrices=False).U[:, :k]
        v = torch.linalg.svd((u.mT @ cores).movedim(2, 0).flatten(1), full_matrices=False).U[:, :k]
        more = float((u.mT @ cores @ v).norm() / cores.norm())
        if abs(more - captured) < 1e-6:
            break
        captured = more
    return basis_b @ u @ ties(u.mT @ cores @ v, 0.25), v.mT @ basis_a
