"""Why LEGO ends where it ends, from the weights alone: lengths, angles to the mean, and who feeds its clusters."""

import numpy as np
import torch

from composition.lego import LegoRecipe, lego
from composition.registry import recipe_from_dict
from composition.weights import LoraWeights

from .methods import Adapters, balanced, cosine, mean, norm

VARIANTS = {
    "paper": ({}, False),
    "another k-means seed": ({"seed": 1}, False),
    "ctm": ({"profile": "ctm"}, False),
    "nsc": ({"profile": "nsc"}, False),
    "paper on balanced units": ({}, True),
}


def anatomy(adapters: Adapters, k: int) -> list[str]:
    """Lines of text: the adapters among themselves, then every variant of LEGO against the plain mean."""
    plain = mean(adapters)
    lengths = [length(a) for a in adapters]
    pairs = [cosine(a, b) for n, a in enumerate(adapters) for b in adapters[:n]]
    halves = [half(a) for a in adapters]
    lines = [
        f"‖ΔW‖ of the adapters {', '.join(f'{value:.2f}' for value in lengths)}; of their mean {length(plain):.2f}",
        f"cosines between the adapters {min(pairs):.3f} to {max(pairs):.3f}",
        f"share of ‖unit‖² in its A half {min(halves):.2f} to {max(halves):.2f}",
    ]
    for name, (fields, canonical) in VARIANTS.items():
        given = [balanced(a) for a in adapters] if canonical else list(adapters)
        recipe = recipe_from_dict({"kind": "lego", "rank": k, **fields})
        assert isinstance(recipe, LegoRecipe)
        result = lego(given, recipe)
        alone, pure = feeding(result.labels, [next(iter(a.values())).rank for a in given])
        summary = result.report["summary"]
        lines.append(
            f"LEGO {name}: {length(result.weights) / length(plain):.2f} × the mean's norm, cosine to the mean "
            f"{cosine(result.weights, plain):.3f}; {alone:.0%} of clusters are one unit, {pure:.0%} come from one "
            f"adapter; {summary['inertia_ratio']:.0%} of the spread stays inside clusters; another seed changes "
            f"{summary['seed_change']:.0%}"
        )
    return lines


def feeding(labels: dict[str, np.ndarray], ranks: list[int]) -> tuple[float, float]:
    """(share of clusters with a single unit, share of clusters whose units all come from one adapter)."""
    owner = np.repeat(np.arange(len(ranks)), ranks)
    alone = pure = count = 0
    for found in labels.values():
        for cluster in np.unique(found):
            members = owner[found == cluster]
            alone, pure, count = alone + (len(members) == 1), pure + (len(set(members)) == 1), count + 1
    return alone / count, pure / count


def length(adapter: LoraWeights) -> float:
    """‖ΔW‖_F over all modules."""
    return sum(norm(f) ** 2 for f in adapter.values()) ** 0.5


def half(adapter: LoraWeights) -> float:
    """How much of the squared norm of the folded units [√s a; √s b] is that of a."""
    pairs = [f.balanced() for f in adapter.values()]
    A, B = (sum(float(torch.sum(pair[n] ** 2)) for pair in pairs) for n in (0, 1))
    return A / (A + B)
