"""A few plain sentences that read a comparison's figures. Needs no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from composition.merging.compare.selector import one_start

CONFLICT = -0.1
"""A cosine below this says that two adapters pull against each other."""
ALIKE = 0.2
"""A cosine above this says that two adapters point the same way."""
NEAR = 0.5
"""A smallest angle below this share of what chance gives is worth a word."""
UNEVEN = 0.05
"""So far from half the shares of opposite signs are worth a word."""
UNEQUAL = 3.0
"""How many times stronger than the weakest an adapter is when it is worth a word."""
UNSTABLE = 0.5
"""Change of ΔW between two k-means seeds from which clusters are called seed noise."""
ALONE = 0.995
"""Share of clusters fed by one adapter alone from which it is said of every cluster."""
SUM = 0.01
"""A method nearer to the sum than this is the sum, which is far from the mean by its meaning."""
ENOUGH = 0.99
MOST = 4


def sentences(report: Mapping[str, Any]) -> list[str]:
    """The sentences, the most telling first."""
    found = [_farther(report), _starts(report), *_directions(report), *_spaces(report), *_signs(report)]
    found += [_sizes(report), _clusters(report), _rank(report)]
    return [text for text in found if text]


def _farther(report: Mapping[str, Any]) -> str:
    """Methods whose result is farther from the mean than an adapter of zeros is."""
    judged = [row for row in report["methods"] if row.get("error_mean") is not None]
    far = sorted(
        (row["error_mean"], row["label"]) for row in judged if row["error_mean"] > 1 and row["error_sum"] > SUM
    )
    words = [f"{label} ({error:.2f})" for error, label in reversed(far)]
    return f"Farther from the mean than no change at all is: {listed(words)}." if words else ""


def _starts(report: Mapping[str, Any]) -> str:
    if not one_start(report):
        return ""
    return "All adapters look as if they were trained from one random start: their rows of A still point the same way."


def _directions(report: Mapping[str, Any]) -> list[str]:
    pairs = sorted(_pairs(report), reverse=True)
    if not pairs:
        return []
    alike = [f"{names} point the same way (cosine {value:.2f})" for value, names in pairs if value > ALIKE]
    against = [f"{names} pull against each other (cosine {value:.2f})" for value, names in pairs if value < CONFLICT]
    if alike or against:
        return [f"{listed(some)}." for some in (alike, against[::-1]) if some]
    value, names = max(pairs, key=lambda pair: abs(pair[0]))
    return [f"The updates stand nearly at right angles: the largest cosine is {value:.2f}, of {names}."]


def _pairs(report: Mapping[str, Any]) -> list[tuple[float, str]]:
    names, cosines = [adapter["name"] for adapter in report["adapters"]], report["pairs"]["cosines"]
    places = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    return [(cosines[i][j], f"{names[i]} and {names[j]}") for i, j in places if cosines[i][j] is not None]


def _spaces(report: Mapping[str, Any]) -> list[str]:
    """Pairs whose updates don't point the same way and yet share a direction of what they read or write."""
    said, apart = [], _apart(report)
    for side, verb in (("row", "read"), ("column", "write")):
        angles, chance = (report["pairs"].get(f"{side}_{word}") for word in ("angle", "chance"))
        if not angles or not chance or (side == "row" and one_start(report)):
            continue
        near = [
            (angles[i][j], f"{names} ({angles[i][j]:.0f}°, {chance[i][j]:.0f}° by chance)")
            for i, j, names in apart
            if angles[i][j] is not None and angles[i][j] < NEAR * chance[i][j]
        ]
        if near:
            listing = listed([text for _, text in sorted(near)])
            said.append(f"Though they don't point the same way, they {verb} some direction alike: {listing}.")
    return said


def _signs(report: Mapping[str, Any]) -> list[str]:
    """Pairs whose signs say more than their cosines: these are of the large numbers, signs of all."""
    shares, errors = (report["pairs"].get(name) for name in ("sign_conflict", "sign_error"))
    if not shares or not errors:
        return []
    odd = [
        (abs(shares[i][j] - 0.5), f"{names} ({shares[i][j]:.0%} ± {errors[i][j]:.1%})")
        for i, j, names in _apart(report)
        if shares[i][j] is not None and abs(shares[i][j] - 0.5) > UNEVEN + errors[i][j]
    ]
    if not odd:
        return []
    return [f"Their numbers differ in sign by more or less than chance: {listed([t for _, t in sorted(odd)[::-1]])}."]


def _apart(report: Mapping[str, Any]) -> list[tuple[int, int, str]]:
    """The pairs of which `_directions` says neither that they point the same way nor against each other."""
    names, cosines = [adapter["name"] for adapter in report["adapters"]], report["pairs"]["cosines"]
    places = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    known = [(i, j) for i, j in places if cosines[i][j] is not None and CONFLICT <= cosines[i][j] <= ALIKE]
    return [(i, j, f"{names[i]} and {names[j]}") for i, j in known]


def _sizes(report: Mapping[str, Any]) -> str:
    norms = sorted((adapter["norm"], adapter["name"]) for adapter in report["adapters"])
    (low, weak), (high, strong) = norms[0], norms[-1]
    if low <= 0:
        return f"{weak} changes nothing: all its updates are zero."
    if report["weights"] is not None or high < UNEQUAL * low:
        return ""
    return f"{strong} is {high / low:.1f} times as strong as {weak}; weights can even this out."


def _clusters(report: Mapping[str, Any]) -> str:
    found = report["clusters"]
    if (found["alone"] or 0.0) > ALONE:
        return "Every cluster of units was fed by one adapter alone: their units have nothing to share."
    if (change := found["seed_change"] or 0.0) > UNSTABLE:
        return f"There are no clear clusters of units: another k-means seed would move the result by {change:.0%}."
    return ""


def _rank(report: Mapping[str, Any]) -> str:
    kept, rank = report["spectrum"]["kept"], report["rank"]
    held = [share for at, share in kept if at <= rank]
    enough = [at for at, share in kept if share >= ENOUGH]
    if not held or not enough:
        return ""
    if held[-1] >= ENOUGH:
        return f"Rank {rank} can hold {held[-1]:.0%} of the sum."
    return f"Rank {rank} can hold {held[-1]:.0%} of the sum; {ENOUGH:.0%} need rank {enough[0]}."


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; after a few, the number of the others."""
    shown = [*words[:MOST], *([f"{len(words) - MOST} more"] if len(words) > MOST else [])]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
