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
    """Warnings for thin classes. Error `transfer.starved` if a class of the seeds gets fewer than `least`.

    Sentences hold no answer's text, which comes from private examples: a class is called by the first of the `seeds`
    (the completion of each seed, "" where it has none) that has it. The error's fact `classes` is for who asked.
    """
    if not counts:
        return []
    given = [seed.strip() for seed in seeds]
    wanted = {name: counts.get(name, 0) for name in dict.fromkeys(filter(None, given))}
    every = {**wanted, **counts}
    told = f"{len(every)} classes of answers have {', '.join(map(str, sorted(every.values(), reverse=True)))} samples"
    starved = [name for name, count in wanted.items() if count < least]
    if starved:
        raise CompositionError(
            "transfer.starved",
            f"Too few samples for {_by_seed(starved, given)}: the {told}, and each class of the seeds needs "
            f"at least {least}. Give more seeds of these classes, more samples or another filter, or set "
            "least_per_class=0 to continue anyway. The samples are kept.",
            classes=every,
        )
    fair = sum(counts.values()) / len(every)
    thin = [name for name, count in every.items() if count < fair / 4]
    return [f"Few samples for {_by_seed(thin, given)}: the {told}."] if thin else []


def _by_seed(names: Sequence[str], given: Sequence[str]) -> str:
    """Classes by the number of their first seed: "the class of seed 2 and 1 class that no seed has"."""
    known = [given.index(name) + 1 for name in names if name in given]
    other = len(names) - len(known)
    words = [f"the class of seed {number}" for number in known]
    words += [f"{other} {'class' if other == 1 else 'classes'} that no seed has"] if other else []
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def quotas(counts: dict[str, int], wanted: int) -> dict[str, int]:
    """`wanted` divided among the classes in proportion to their counts, by largest remainders; sums to `wanted`."""
    total = sum(counts.values())
    wanted = min(wanted, total)
    shares = {name: divmod(count * wanted, total) for name, count in counts.items()}
    left = wanted - sum(whole for whole, _ in shares.values())
    ranked = sorted(shares, key=lambda name: (-shares[name][1], name))
    return {name: whole + (name in ranked[:left]) for name, (whole, _) in shares.items()}
