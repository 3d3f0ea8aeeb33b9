"""Random adapters without a model, for properties of merges; and the slow reference of LoRA-LEGO."""

import numpy as np
import torch
from sklearn.cluster import KMeans

from composition.weights import Factors, LoraWeights


def random_adapter(
    seed: int,
    *,
    ranks: dict[str, int] | int = 4,
    width: tuple[int, int] = (24, 20),
    scale: float = 1.0,
    a_seed: int | None = None,
    dtype: torch.dtype = torch.float32,
    name: str | None = None,
) -> LoraWeights:
    """Modules {name: rank} of [in, out] = width; `a_seed` gives adapters of one start: the same A."""
    ranks = {"model.layers.0.q_proj": ranks, "model.layers.0.v_proj": ranks} if isinstance(ranks, int) else ranks
    shared = torch.Generator().manual_seed(seed if a_seed is None else a_seed)
    own = torch.Generator().manual_seed(1000 + seed)
    modules = {}
    for module, r in ranks.items():
        A = torch.randn(r, width[0], generator=shared).to(dtype)
        B = (0.3 * torch.randn(width[1], r, generator=own)).to(dtype)
        modules[module] = Factors(A, B, scale)
    return LoraWeights(modules, base_model="pico/none", name=name)


def raw_units(adapters, module, weights=None):
    """MSUs [R, in + out] in float64, √|w·s| on both halves, the sign on b; one row after the other, by hand."""
    rows = []
    for i, adapter in enumerate(adapters):
        if module not in adapter:
            continue
        factors = adapter[module]
        strength = factors.scale * (1.0 if weights is None else weights[i])
        root = abs(strength) ** 0.5
        for j in range(factors.rank):
            a = factors.A[j].double().numpy() * root
            b = factors.B[:, j].double().numpy() * root * np.sign(strength)
            rows.append(np.concatenate([a, b]))
    return np.stack(rows)


def reference_delta(adapters, module, labels, *, r, weights=None):
    """LEGO's ΔW' [out, in] from the formulas, dense and slow: centroids, L∞ growth, √(r/k), for given clusters."""
    units = raw_units(adapters, module, weights)
    width = next(a[module].in_features for a in adapters if module in a)
    k = int(max(labels)) + 1
    delta = np.zeros((units.shape[1] - width, width))
    for cluster in range(k):
        members = units[np.asarray(labels) == cluster]
        centroid = members.mean(0)
        growth = np.mean([np.abs(member).max() for member in members]) / np.abs(centroid).max()
        centroid = centroid * growth
        delta += np.outer(centroid[width:], centroid[:width])
    return torch.from_numpy(np.sqrt(r) / np.sqrt(k) * delta)


def reference_labels(adapters, module, k, weights=None):
    """Clusters of the raw units by scikit-learn."""
    return KMeans(k, n_init=10, random_state=0).fit(raw_units(adapters, module, weights)).labels_


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """‖actual − expected‖ / ‖expected‖."""
    return float((actual.double() - expected.double()).norm() / expected.double().norm())
