"""Answers that are classes: few kinds for many rows. A class that gets no sample is a class the target never learns."""

from collections import Counter
from collections.abc import Sequence

from composition.errors import CompositionError

MOST_CLASSES_SHARE = 10
"""Answers are classes if there are at least this many rows per kind."""
FEWEST_FOR_CLASSES = 20


def class_counts(completions: Sequence[str]) -> dict[str, int]:
    """How often each answer occurs, if the answers are classes: few kinds for many rows. Otherwise empty."""
    counts = Counter(completions)
    if len(completions) < FEWEST_FOR_CLASSES or len(counts) * MOST_CLASSES_SHARE > len(completions):
        return {}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def check_classes(counts: dict[str, int], seeds: Sequence[str], least: int) -> list[str]:
    """Warnings for thin classes. Error `transfer.starved` if a class of the seeds gets fewer than `least`."""
    if not counts:
        return []
    wanted = {name: counts.get(name, 0) for name in dict.fromkeys(seed.strip() for seed in seeds if seed.strip())}
    starved = {name: count for name, count in wanted.items() if count < least}
    told = ", ".join(f"{name}: {count}" for name, count in {**wanted, **counts}.items())
    if starved:
        raise CompositionError(
            "transfer.starved",
            f"Too few samples for {', '.join(starved)}: the answers are {told}, and each class of the seeds needs "
            f"at least {least}. Give more seeds of these classes, more samples or another filter, or set "
            "least_per_class=0 to continue anyway. The samples are kept.",
            classes={**wanted, **counts},
        )
    fair = sum(counts.values()) / len({**wanted, **counts})
    thin = [name for name, count in {**wanted, **counts}.items() if count < fair / 4]
    return [f"Few samples for {', '.join(thin)}: the answers are {told}."] if thin else []


def quotas(counts: dict[str, int], wanted: int) -> dict[str, int]:
    """`wanted` divided among the classes in proportion to their counts, by largest remainders; sums to `wanted`."""
    total = sum(counts.values())
    wanted = min(wanted, total)
    shares = {name: divmod(count * wanted, total) for name, count in counts.items()}
    left = wanted - sum(whole for whole, _ in shares.values())
    ranked = sorted(shares, key=lambda name: (-shares[name][1], name))
    return {name: whole + (name in ranked[:left]) for name, (whole, _) in shares.items()}
