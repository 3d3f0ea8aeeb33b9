"""Merges on cores written again from the papers' formulas, dense in float64: slow, and without any of our algebra."""

import numpy as np


def deltas(adapters, module):
    """[(place, ΔW [out, in])] of the adapters that have the module."""
    return [
        (i, a[module].scale * a[module].B.double().numpy() @ a[module].A.double().numpy())
        for i, a in enumerate(adapters)
        if module in a
    ]


def halves(adapters, module):
    """[(A, B)] of the adapters that have the module, √|scale| on both and its sign on B."""
    pairs = []
    for a in adapters:
        if module in a:
            f = a[module]
            root = abs(f.scale) ** 0.5
            pairs.append((root * f.A.double().numpy(), np.sign(f.scale) * root * f.B.double().numpy()))
    return pairs


def truncated(matrix, k):
    u, s, vh = np.linalg.svd(matrix, full_matrices=False)
    return (u[:, :k] * s[:k]) @ vh[:k]


def rank_of(values):
    return int((values > 1e-9 * max(values[0], 1e-300)).sum())


def nearest_orthonormal(columns):
    u, s, vh = np.linalg.svd(columns, full_matrices=False)
    kept = s > 1e-6 * s[0]
    return u[:, kept] @ vh[kept]


def task_singular_vectors(updates, weights, count=None):
    us, ss, vs = [], [], []
    for weight, update in zip(weights, updates, strict=True):
        u, s, vh = np.linalg.svd(update, full_matrices=False)
        r = rank_of(s) if count is None else min(rank_of(s), count)
        us.append(u[:, :r])
        ss.append(weight * s[:r])
        vs.append(vh[:r].T)
    return nearest_orthonormal(np.hstack(us)) @ np.diag(np.concatenate(ss)) @ nearest_orthonormal(np.hstack(vs)).T


def isotropic(matrix, k):
    u, s, vh = np.linalg.svd(matrix, full_matrices=False)
    k = min(k, rank_of(s))
    return s[:k].mean() * u[:, :k] @ vh[:k]


def common_and_own(updates, k, common, own):
    u, s, vh = np.linalg.svd(sum(updates), full_matrices=False)
    us, ss, vs = [u[:, :common]], [s[:common]], [vh[:common].T]
    for update in updates:
        rest = update - us[0] @ us[0].T @ update
        u, s, vh = np.linalg.svd(rest, full_matrices=False)
        r = min(own, rank_of(s))
        us.append(u[:, :r])
        ss.append(s[:r])
        vs.append(vh[:r].T)
    assert common + own * len(updates) == k
    return np.concatenate(ss).mean() * nearest_orthonormal(np.hstack(us)) @ nearest_orthonormal(np.hstack(vs)).T


def ties(updates, density, weights=None):
    """Number by number."""
    weights = weights or [1.0] * len(updates)
    flat = [update.ravel() for update in updates]
    keep = max(1, int(density * flat[0].size))
    trimmed = []
    for weight, numbers in zip(weights, flat, strict=True):
        largest = np.argsort(-np.abs(numbers), kind="stable")[:keep]
        row = np.zeros_like(numbers)
        row[largest] = weight * numbers[largest]
        trimmed.append(row)
    merged = np.zeros_like(flat[0])
    for j in range(merged.size):
        column = [row[j] for row in trimmed]
        sign = 1.0 if sum(column) >= 0 else -1.0
        agreeing = [(value, abs(weight)) for value, weight in zip(column, weights, strict=True) if value * sign > 0]
        if agreeing:
            merged[j] = sum(value for value, _ in agreeing) / sum(weight for _, weight in agreeing)
    return merged.reshape(updates[0].shape)


def core_space(pairs, merge):
    """U_B merge(U_Bᵀ B_i A_i V_A) V_Aᵀ in the singular vectors of the stacked factors."""
    left, right = np.hstack([B for _, B in pairs]), np.vstack([A for A, _ in pairs])
    u, s, _ = np.linalg.svd(left, full_matrices=False)
    u = u[:, : rank_of(s)]
    _, s, vh = np.linalg.svd(right, full_matrices=False)
    vh = vh[: rank_of(s)]
    return u @ merge([u.T @ B @ A @ vh.T for A, B in pairs]) @ vh


def knots(updates, density, weights=None):
    u, s, vh = np.linalg.svd(np.hstack(updates), full_matrices=False)
    kept = s > 1e-5 * s[0]
    rows = np.split(np.diag(s[kept]) @ vh[kept], len(updates), axis=1)
    return u[:, kept] @ ties(rows, density, weights)


def tucker(updates, k):
    """(U, V) by HOOI with full SVDs, until nothing moves."""
    stacked = np.stack(updates, -1)
    u = np.linalg.svd(stacked.reshape(stacked.shape[0], -1))[0][:, :k]
    v = np.linalg.svd(np.moveaxis(stacked, 1, 0).reshape(stacked.shape[1], -1))[0][:, :k]
    for _ in range(3000):
        before = u
        u = np.linalg.svd(np.hstack([m @ v for m in updates]))[0][:, :k]
        v = np.linalg.svd(np.hstack([m.T @ u for m in updates]))[0][:, :k]
        if np.linalg.norm(u @ (u.T @ before) - before) < 1e-12:
            break
    return u, v


def compress_then_merge(updates, k, beta, merge):
    norms = [np.linalg.norm(update) for update in updates]
    mean = sum(norms) / len(norms)
    blended = [m / n * (beta * n + (1 - beta) * mean) for m, n in zip(updates, norms, strict=True)]
    u, v = tucker(blended, k)
    return u @ merge([u.T @ m @ v for m in updates]) @ v.T


def calibration(factors):
    """S [out, out] from the B as stored, each with its LoRA's scale."""
    u, s, _ = np.linalg.svd(np.hstack(factors), full_matrices=False)
    share = s**2 / (s**2).sum()
    alpha = 1 / (1 + (len(factors) - 1) * share)
    return np.eye(len(u)) + u @ np.diag(alpha - 1) @ u.T


def pico(updates, damping, merge, share=None):
    share = share or [1.0] * len(updates)
    merged = merge([damping @ update for update in updates])
    size = sum(w * np.linalg.norm(m) for w, m in zip(share, updates, strict=True)) / sum(share)
    return merged * size / np.linalg.norm(merged)
