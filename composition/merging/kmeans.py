"""K-means on Gram matrices: Lloyd's algorithm and greedy k-means++ for many modules and restarts at once.

A centre is a combination of points, so with G = X Xᵀ every distance is a few numbers of G:

    ‖x_i − μ_j‖² = G_ii − 2 (P G)_ji + (P G Pᵀ)_jj,    μ = P X,  P [k, R]

The objective, the steps and the handling of empty clusters are scikit-learn's (`KMeans(algorithm="lloyd")`); its
random draws differ. Iteration stops when no label changes: scikit-learn's tolerance, 1e-4 of the mean variance of a
*single* coordinate, asks the same of points with thousands of coordinates. Where restarts are few, k-means++ tries
more candidates a step than scikit-learn's 2 + log k, at least 2k over all restarts: a candidate costs R numbers here,
and a single start finds the groups there are. Shapes: M modules, T restarts, R points.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MAX_ITER = 300
TIE = 1e-6
"""Candidates whose leftover differs by less of Σ‖x_i‖² tie, and the first drawn wins: two points that only have each
other tie exactly, and rounding is not to choose between them."""


@dataclass(frozen=True, slots=True)
class Clustering:
    """labels [M, R], inertia [M] (within clusters) and total [M] (about the mean of all points)."""

    labels: Tensor
    inertia: Tensor
    total: Tensor


def cluster(
    gram: Tensor,
    k: int,
    *,
    seeds: tuple[int, ...],
    n_init: int,
    max_iter: int = MAX_ITER,
    order: Tensor | None = None,
) -> list[Clustering]:
    """The tightest of `n_init` clusterings for each seed, of points with Gram matrices [M, R, R], into k ≤ R clusters.

    No cluster is empty. Points are drawn in the given order [M, R], or in that of their norms, so the partition doesn't
    depend on their places in G (but for rounding); clusters are numbered by their first point.
    """
    modules, count = gram.shape[0], gram.shape[1]
    total = inertia_about_mean(gram)
    if k == count:
        labels = torch.arange(count).repeat(modules, 1)
        return [Clustering(labels, torch.zeros(modules, dtype=gram.dtype), total) for _ in seeds]
    if order is None:
        order = torch.argsort(gram.diagonal(dim1=-2, dim2=-1), dim=-1, stable=True)
    rows = torch.arange(modules)[:, None, None]
    gram = gram[rows, order[:, :, None], order[:, None, :]]
    trials = max(2 + int(math.log(k)), -(-2 * k // n_init))
    draws = np.concatenate([np.random.default_rng(seed).random((n_init, k, trials)) for seed in seeds])
    chosen = plus_plus(gram, k, torch.from_numpy(draws))
    labels, inertia = lloyd(gram, torch.nn.functional.one_hot(chosen, count).to(gram.dtype), max_iter)
    labels = torch.empty_like(labels).scatter_(2, order[:, None, :].expand_as(labels), labels)
    results = []
    for s in range(len(seeds)):
        span = slice(s * n_init, (s + 1) * n_init)
        best = inertia[:, span].argmin(1)
        winner = labels[:, span][torch.arange(modules), best]
        results.append(Clustering(number_by_first(winner, k), inertia[:, span][torch.arange(modules), best], total))
    return results


def inertia_about_mean(gram: Tensor) -> Tensor:
    """[M]: Σ‖x_i − mean‖² = tr G − ΣG / R."""
    return (gram.diagonal(dim1=-2, dim2=-1).sum(-1) - gram.sum((-1, -2)) / gram.shape[-1]).clamp_min(0)


def squared_distances(gram: Tensor) -> Tensor:
    """[M, R, R]: ‖x_i − x_j‖²."""
    norms = gram.diagonal(dim1=-2, dim2=-1)
    distances = (norms[..., :, None] + norms[..., None, :] - 2 * gram).clamp_min(0)
    distances.diagonal(dim1=-2, dim2=-1).zero_()
    return distances


def plus_plus(gram: Tensor, k: int, draws: Tensor) -> Tensor:
    """Greedy k-means++, the best of `trials` draws by D² at each step: points [M, T, k] from draws [T, k, trials]."""
    modules, count = gram.shape[0], gram.shape[1]
    restarts = draws.shape[0]
    distances = squared_distances(gram)
    slack = TIE * gram.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    m, t = torch.arange(modules)[:, None], torch.arange(restarts)
    chosen = torch.empty(modules, restarts, k, dtype=torch.long)
    chosen[..., 0] = (draws[:, 0, 0] * count).long().clamp_max(count - 1)
    closest = distances[m, chosen[..., 0]]  # [M, T, R]
    for c in range(1, k):
        mass = closest.cumsum(-1)
        candidates = torch.searchsorted(mass, draws[:, c] * mass[..., -1:], right=True).clamp_max_(count - 1)
        reached = torch.minimum(distances[m[..., None], candidates], closest[..., None, :])  # [M, T, trials, R]
        left = reached.sum(-1)
        best = (left <= left.amin(-1, keepdim=True) + slack).byte().argmax(-1)
        chosen[..., c] = candidates[m, t, best]
        closest = reached[m, t, best]
    return chosen


def lloyd(gram: Tensor, centres: Tensor, max_iter: int = MAX_ITER) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from centres [M, T, k, R], combinations of points: (labels [M, T, R], inertia [M, T])."""
    modules, restarts, k, count = centres.shape
    norms = gram.diagonal(dim1=-2, dim2=-1)[:, None, :]  # [M, 1, R]
    labels = torch.full((modules, restarts, count), -1)
    inertia = torch.empty(modules, restarts, dtype=gram.dtype)
    clusters = torch.arange(k)[:, None]
    active = torch.arange(modules)
    for iteration in range(max_iter + 1):
        cross = (centres.flatten(1, 2) @ gram[active]).view(centres.shape)
        lengths = torch.linalg.vecdot(cross, centres)
        distance, new = (lengths[..., None] - 2 * cross).min(2)  # [A, T, R], but for ‖x_i‖²
        distance = (distance + norms[active]).clamp_min_(0)
        onehot = (new[:, :, None, :] == clusters).to(gram.dtype)
        sizes = onehot.sum(-1)
        if (sizes == 0).any():
            fill_empty(new, distance, k)
            onehot = (new[:, :, None, :] == clusters).to(gram.dtype)
            sizes = onehot.sum(-1)
        moved = (new != labels[active]).flatten(1).any(1)
        labels[active] = new
        done = ~moved if iteration < max_iter else torch.ones_like(moved)
        inertia[active[done]] = distance[done].sum(-1)
        if done.all():
            break
        active, centres = active[~done], (onehot / sizes[..., None])[~done]
    return labels, inertia


def fill_empty(labels: Tensor, distance: Tensor, k: int) -> None:
    """Give every empty cluster, in place, the point farthest from its centre among clusters of more than one point."""
    for row, far in zip(labels.view(-1, labels.shape[-1]), distance.reshape(-1, labels.shape[-1]), strict=True):
        sizes = torch.bincount(row, minlength=k)
        order = iter(far.argsort(descending=True, stable=True).tolist())
        for empty in (sizes == 0).nonzero().flatten().tolist():
            point = next(point for point in order if sizes[row[point]] > 1)
            sizes[row[point]] -= 1
            row[point] = empty
            sizes[empty] = 1


def number_by_first(labels: Tensor, k: int) -> Tensor:
    """Renumber clusters [M, R] by the order in which their first points stand."""
    first = torch.full((labels.shape[0], k), labels.shape[1])
    first.scatter_reduce_(1, labels, torch.arange(labels.shape[1]).expand_as(labels), "amin")
    return first.argsort(1).argsort(1).gather(1, labels)
