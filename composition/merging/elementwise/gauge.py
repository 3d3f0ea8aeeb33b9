"""The split of ΔW into A and B that its singular value decomposition gives: the same for every split it came in.

    s B A = U S Vᵀ,   B' = U S^½,   A' = S^½ Vᵀ

Singular vectors are told up to a common sign; the largest number of each row of A' is made positive. Vectors of equal
singular values stay open.
"""

import torch
from torch import Tensor

from composition.weights import Factors


def canonical(factors: Factors) -> tuple[Tensor, Tensor]:
    """(A' [r, in], B' [out, r]) float64, of scale 1; rows beyond the rank that ΔW has are zero."""
    q_b, r_b = torch.linalg.qr(factors.B.double())
    q_a, r_a = torch.linalg.qr(factors.A.double().mT)
    u, values, vh = torch.linalg.svd(factors.scale * r_b @ r_a.mT)
    rank, root = factors.rank, values.sqrt()
    A = torch.zeros(rank, factors.in_features, dtype=torch.float64)
    B = torch.zeros(factors.out_features, rank, dtype=torch.float64)
    A[: len(values)] = root[:, None] * (vh[: len(values)] @ q_a.mT)
    B[:, : len(values)] = (q_b @ u[:, : len(values)]) * root
    sign = torch.where(A.gather(1, A.abs().argmax(1, keepdim=True)) < 0, -1.0, 1.0)
    return A * sign, B * sign.mT
