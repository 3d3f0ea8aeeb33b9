"""CMA-ES (Hansen, The CMA Evolution Strategy: A Tutorial, arXiv:1604.00772), for a few numbers and few evaluations.

Weighted recombination, cumulative step-size adaptation, rank-one and rank-μ updates of the covariance. Values outside
the bounds are clipped before they are evaluated. Seeded: the same losses give the same candidates.
"""

from collections.abc import Callable, Sequence

import numpy as np


def minimise(
    loss: Callable[[np.ndarray], float],
    begin: Sequence[float],
    *,
    evaluations: int,
    bound: float,
    seed: int,
    step: float = 0.5,
) -> tuple[np.ndarray, float]:
    """(the best of the candidates that were evaluated, its loss); the first candidate is `begin` itself."""
    drawn = np.random.default_rng(seed)
    mean = np.clip(np.asarray(begin, dtype=np.float64), -bound, bound)
    size = len(mean)
    count = 4 + int(3 * np.log(size))
    parents = count // 2
    weights = np.log(parents + 0.5) - np.log(np.arange(1, parents + 1))
    weights /= weights.sum()
    mass = 1 / (weights**2).sum()
    c_sigma = (mass + 2) / (size + mass + 5)
    damping = 1 + 2 * max(0.0, np.sqrt((mass - 1) / (size + 1)) - 1) + c_sigma
    c_path = (4 + mass / size) / (size + 4 + 2 * mass / size)
    c_one = 2 / ((size + 1.3) ** 2 + mass)
    c_mu = min(1 - c_one, 2 * (mass - 2 + 1 / mass) / ((size + 2) ** 2 + mass))
    usual = np.sqrt(size) * (1 - 1 / (4 * size) + 1 / (21 * size**2))
    covariance, path, path_sigma = np.eye(size), np.zeros(size), np.zeros(size)
    best, least = mean, loss(mean)
    used = 1
    while used < evaluations:
        values, vectors = np.linalg.eigh(covariance)
        roots = np.sqrt(np.maximum(values, 1e-20))
        steps = (drawn.standard_normal((count, size)) * roots) @ vectors.T
        candidates = np.clip(mean + step * steps, -bound, bound)[: evaluations - used]
        losses = np.array([loss(candidate) for candidate in candidates])
        used += len(candidates)
        order = np.argsort(losses, kind="stable")
        if losses[order[0]] < least:
            best, least = candidates[order[0]], float(losses[order[0]])
        if len(candidates) < count:
            break
        chosen = (candidates[order[:parents]] - mean) / step
        moved = weights @ chosen
        mean = mean + step * moved
        whitened = vectors @ ((vectors.T @ moved) / roots)
        path_sigma = (1 - c_sigma) * path_sigma + np.sqrt(c_sigma * (2 - c_sigma) * mass) * whitened
        step *= np.exp(c_sigma / damping * (np.linalg.norm(path_sigma) / usual - 1))
        path = (1 - c_path) * path + np.sqrt(c_path * (2 - c_path) * mass) * moved
        spread = (weights[:, None] * chosen).T @ chosen
        covariance = (1 - c_one - c_mu) * covariance + c_one * np.outer(path, path) + c_mu * spread
    return best, least
