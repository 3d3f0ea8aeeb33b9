"""Tables of what was measured: exact match by task, its mean, what is kept of the own adapters, paired intervals."""

from collections.abc import Iterator, Sequence

from composition.intervals import paired_difference

from .measuring import Answers, Kept

REFERENCE = "mean, rank Σr"
"""The merge that every other is compared with, on the same rows."""
Group = tuple[str, str, str, str]
"""Suite, set, dtype and the stamp of the adapters."""


def groups(kept: Kept) -> list[Group]:
    """What has merges, in the order it was measured."""
    keys = [key for key in kept.answers if key[8]]
    return list(dict.fromkeys((key[0], key[1], key[7], key[8]) for key in keys))


def merges(kept: Kept, group: Group, rows: int) -> Iterator[tuple[str, str, str, dict[str, Answers]]]:
    """(label, k, scale, answers by task) of each merge with that many test rows of every task, or all it has."""
    suite, which, dtype, stamp = group
    found: dict[tuple[str, str, str], dict[str, Answers]] = {}
    for key, answers in kept.answers.items():
        if (key[0], key[1], key[6], key[7], key[8]) == (suite, which, "test", dtype, stamp):
            found.setdefault((key[2], key[3], key[4]), {})[key[5]] = answers
    tasks = set().union(*(by.keys() for by in found.values())) if found else set()
    longest = {task: max(len(by[task].right) for by in found.values() if task in by) for task in tasks}
    for (label, k, scale), by in found.items():
        if all(task in by and len(by[task].right) >= min(rows, longest[task]) for task in tasks):
            yield label, k, scale, {task: _first(by[task], rows) for task in sorted(tasks)}


def single(kept: Kept, group: Group, label: str, task: str, rows: int) -> Answers:
    """The base's or the own adapter's answers."""
    suite, which, dtype, _ = group
    return _first(kept.answers[suite, which, label, "0", "1", task, "test", dtype, ""], rows)


def table(kept: Kept, rows: int) -> str:
    """One Markdown table a suite and set, best merge first."""
    return "\n\n".join(_table(kept, group, rows) for group in groups(kept))


def _table(kept: Kept, group: Group, rows: int) -> str:
    found = list(merges(kept, group, rows))
    if not found:
        return ""
    tasks = list(found[0][3])
    base, own = ({task: single(kept, group, label, task, rows) for task in tasks} for label in ("base", "own"))
    reference = next((by for label, _, scale, by in found if (label, scale) == (REFERENCE, "1")), None)
    head = ["merge", "rank", "scale", "mean", "kept", "difference from the mean", "NLL gain kept", *tasks]
    count = sum(len(own[task].right) for task in tasks)
    told = f"{', '.join(group[:3])}: {count} rows in all, at most {rows} a task"
    lines = [f"{told}. A merge's figure for a task is the share of the own adapter's.", ""]
    lines += [_line(head), _line(["---"] * len(head))]
    for name, by in (("base", base), ("own adapters", own)):
        lines.append(_line([name, "", "", f"{_mean(by):.3f}", "", "", "", *(f"{by[t].accuracy:.2f}" for t in tasks)]))
    for label, k, scale, by in sorted(found, key=lambda merge: -_mean(merge[3])):
        kept_share = f"{_mean(by) / _mean(own):.0%}"
        gains = f"{_gain(by, base, own, tasks):.0%}"
        shares = [f"{by[t].accuracy / max(own[t].accuracy, 1e-9):.2f}" for t in tasks]
        rank = k if k != "0" else "–"
        lines.append(_line([label, rank, scale, f"{_mean(by):.3f}", kept_share, _off(by, reference), gains, *shares]))
    return "\n".join(lines)


def _off(by: dict[str, Answers], reference: dict[str, Answers] | None) -> str:
    """The difference of the share of right rows from the reference's, all tasks' rows together, with its interval."""
    if reference is None or by is reference:
        return ""
    hits = [int(value) for task in by for value in by[task].right]
    others = [int(value) for task in by for value in reference[task].right]
    off = paired_difference(hits, others)
    return f"{off.value:+.3f} ({off.low:+.3f} to {off.high:+.3f})"


def _gain(by: dict[str, Answers], base: dict[str, Answers], own: dict[str, Answers], tasks: Sequence[str]) -> float:
    """Mean over tasks of (NLL of the base − of the merge) / (of the base − of the own adapter)."""
    return sum((base[t].nll - by[t].nll) / (base[t].nll - own[t].nll) for t in tasks) / len(tasks)


def _mean(by: dict[str, Answers]) -> float:
    return sum(answers.accuracy for answers in by.values()) / len(by)


def _first(answers: Answers, rows: int) -> Answers:
    return Answers(answers.right[:rows], answers.log_p[:rows], answers.tokens[:rows])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
