"""First values from the base itself, so that a generator begins with a memory instead of having to find one.

With shift = 1 a layer's state pairs each token's key with the next token's value. Whether the layer can recall depends
on one thing: that the query A1 x of a token resembles the key A2 n that the same token left. From random values
training has to find that by itself, and on a million tokens it hardly does. Here it comes from what both share:

    Σ_nn^(−1/2) Σ_nx Σ_xx^(−1/2) = P diag(ρ) Qᵀ         canonical correlations of n [D] and x [in] at the same tokens
    A2 = O₁ P_Rᵀ Σ_nn^(−1/2)                            keys: the R directions that x predicts best, of equal weight
    A1 = O₁ diag(ρ_R) Q_Rᵀ Σ_xx^(−1/2)                  queries: the keys' least-squares estimate
    A3 = O₂ Σ_nn^(−1/2)                                 values: R random directions, other ones in every layer
    B  = λ · argmin_B Σ_t ‖B A3 n_t − e_t‖²             e_t: the token's own output embedding, of length 1

O₁, O₂ have random orthonormal rows. λ is `STRENGTH` times the usual length of the layer's input over the root of the
number of layers. An extension of ours; the paper begins at random values and B = 0.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from composition.generative.encode import run
from composition.generative.hooks import hearing, reading
from composition.generative.layer import Generator, rms_norm
from composition.generative.segments import seeded

STRENGTH = 0.6
SINK = 4
"""A row's first tokens: they attract attention, and their hidden states are unlike any other token's."""
FLOOR = 1e-3
SHRINK = 1e-2
RIDGE = 0.05


@dataclass(slots=True)
class _Heard:
    """Sums over tokens of a layer's products: of its inputs n, its module's inputs x and the tokens' embeddings e."""

    nn: Tensor
    nx: Tensor
    xx: Tensor
    ne: Tensor
    lengths: list[Tensor] = field(default_factory=list)


@torch.no_grad()
def align(base: Any, generator: Generator, rows: Iterable[Tensor], seed: int) -> None:
    """Set A1, A2, A3 and B [L, …] from how the base reads `rows` of ids [N, T], some thousand tokens; norms stay.

    Only products of the inputs are kept, so memory does not grow with the text.
    """
    config, device = generator.config, next(base.parameters()).device
    norms = generator.norm.to(device)
    d, given, out = config.hidden, config.in_features, config.out_features

    def zeros(rows: int, columns: int) -> Tensor:
        return torch.zeros(rows, columns, device=device)

    heard = [_Heard(zeros(d, d), zeros(d, given), zeros(given, given), zeros(d, out)) for _ in config.modules]
    latest: dict[int, Tensor] = {}

    def see_input(number: int, h: Tensor) -> None:
        h = h[:, SINK:].flatten(0, 1).float()
        heard[number].lengths.append(h.norm(dim=-1))
        latest[number] = rms_norm(h, norms[number])

    def see_given(number: int, x: Tensor) -> None:
        n, x, layer = latest.pop(number), x[:, SINK:].flatten(0, 1).float(), heard[number]
        layer.nn += n.T @ n
        layer.nx += n.T @ x
        layer.xx += x.T @ x
        layer.ne += n.T @ wanted

    table = base.get_output_embeddings().weight
    with reading(base, config, see_input), hearing(base, config.modules, see_given):
        for ids in rows:
            embeddings = table[ids[:, SINK:].flatten()].float()
            wanted = embeddings / embeddings.norm(dim=-1, keepdim=True)
            run(base, ids)
    random = seeded(f"{seed} start")
    for number, layer in enumerate(heard):
        _align_layer(generator, number, layer, random)


def _align_layer(generator: Generator, number: int, heard: _Heard, random: torch.Generator) -> None:
    """Set one layer from the sums collected for it."""
    config, lengths = generator.config, torch.cat(heard.lengths)
    nn, nx, xx, ne = (total / len(lengths) for total in (heard.nn, heard.nx, heard.xx, heard.ne))
    device = nn.device
    white_n, white_x = _inverse_root(nn, FLOOR), _inverse_root(xx, SHRINK)
    left, rho, right = torch.linalg.svd(white_n @ nx @ white_x, full_matrices=False)
    turn = _orthonormal(config.inner, config.inner, random).to(device)
    keys = turn @ left[:, : config.inner].T @ white_n
    queries = turn @ (rho[: config.inner, None] * right[: config.inner]) @ white_x
    values = _orthonormal(config.r, config.hidden, random).to(device) @ white_n
    gram = values @ nn @ values.T + RIDGE * torch.eye(config.r, device=device)
    says = torch.linalg.solve(gram, values @ ne).T  # [out, R2]
    strength = STRENGTH * float(lengths.median()) / math.sqrt(len(config.modules)) / config.scale
    # S is normalised, so the sizes of A2 and A3 are free, and A1's may be B's: those of a random start suit one rate.
    sizes = [math.sqrt(2 / part.shape[1]) / float(part.std()) for part in (queries, keys, values)]
    for part, value in zip(
        (generator.A1, generator.A2, generator.A3, generator.B),
        (queries * sizes[0], keys * sizes[1], values * sizes[2], says * strength / sizes[0]),
        strict=True,
    ):
        part[number] = value.to(part.device)


def _inverse_root(moments: Tensor, floor: float) -> Tensor:
    """M^(−1/2) of a symmetric M [d, d], its eigenvalues lifted by `floor` of their mean."""
    values, vectors = torch.linalg.eigh(moments)
    lifted = values.clamp(min=0) + floor * values.mean()
    return vectors @ (lifted.rsqrt().unsqueeze(1) * vectors.T)


def _orthonormal(rows: int, width: int, random: torch.Generator) -> Tensor:
    """[rows, width] with orthonormal rows (columns, where rows are more)."""
    if rows > width:
        return _orthonormal(width, rows, random).T
    return torch.linalg.qr(torch.randn(width, rows, generator=random))[0].T
