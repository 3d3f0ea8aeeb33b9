"""What trans_lora.py shows of its arms: a table with intervals, and the rows that other benchmarks write."""

import itertools

from composition.intervals import paired_difference, wilson

ARMS = ("source adapter", "target base", "unfiltered", "seeds only", "transferred", "oracle", "token-score")
SEEDLESS = ("source adapter", "target base")
TRAINED = tuple(arm for arm in ARMS if arm not in SEEDLESS)
FILTERS = {"transferred": "discriminator", "unfiltered": "none", "token-score": "token-score"}


def table(results: list[dict]) -> str:
    """Markdown: tasks and seeds down, arms across, with intervals; then rows of known templates, where they were
    measured, and the arms that invent against the others."""
    groups: dict[tuple, dict] = {}
    for row in results:
        if row["arm"] not in SEEDLESS:
            order = (-row["samples"], -row["epochs"], row["learning_rate"], row["temperature"])  # most rows first
            groups.setdefault((order, row["task"], row["seed"]), {})[row["arm"]] = row
    lines, known, compared = _head(ARMS), _head(TRAINED), []
    for group in sorted(groups):
        (_, task, seed), recipe = group, _recipe(next(iter(groups[group].values())))
        # What knows no seed was measured once for all of them.
        arms = groups[group] | {r["arm"]: r for r in results if r["task"] == task and r["arm"] in SEEDLESS}
        lines.append(f"| {task}, {seed} | {recipe} | " + " | ".join(_cell(arms.get(arm)) for arm in ARMS) + " |")
        if any("known" in row for row in arms.values()):
            cells = [_cell(arms.get(arm, {}).get("known")) for arm in TRAINED]
            known.append(f"| {task}, {seed} | {recipe} | " + " | ".join(cells) + " |")
        for arm, other in itertools.product(FILTERS, ("source adapter", "target base", "seeds only", "oracle")):
            if "right" in arms.get(arm, {}) and "right" in arms.get(other, {}):
                gap = paired_difference(*([int(digit) for digit in arms[name]["right"]] for name in (arm, other)))
                span = f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
                compared.append(f"{task}, {seed} ({recipe}): {arm} − {other} = {span}")
    return "\n".join([*lines, "", "On real rows of the templates that training shows:", "", *known, "", *compared])


def _head(arms: tuple[str, ...]) -> list[str]:
    shown = ("task, seed", "samples × epochs, rate, temperature", *arms)
    return ["| " + " | ".join(shown) + " |", "|---" * len(shown) + "|"]


def _recipe(row: dict) -> str:
    return f"{row['samples']} × {row['epochs']}, {row['learning_rate']:g}, {row['temperature']:g}"


def _cell(row: dict | None) -> str:
    if row is None:
        return ""
    if "refused" in row:
        return "refused"
    share = wilson(row["exact_match"] * row["test_rows"], row["test_rows"])
    return f"{share.value:.3f} ({share.low:.3f}–{share.high:.3f})"


def bench_rows(results: list[dict]) -> list[dict]:
    """What other benchmarks write: every arm against the bare target."""
    bare = {(row["task"], row["seed"]): row["exact_match"] for row in results if row["arm"] == "target base"}
    rows = []
    for row in (row for row in results if "right" in row):
        theirs = bare.get((row["task"], row["seed"]))
        said = "" if row["arm"] in SEEDLESS else f" ({_recipe(row)})"
        rows.append({"case": f"{row['task']}, seed {row['seed']}: {row['arm']}{said}", "peer": "target base",
                     "ours": row["exact_match"], "theirs": theirs, "unit": "exact match",
                     "ratio": row["exact_match"] / theirs if theirs else None})  # fmt: skip
    return rows
