"""What trans_lora.py shows of its arms: a table with intervals, and the rows that other benchmarks write."""

import itertools

from composition.intervals import paired_difference, wilson

ARMS = ("source adapter", "target base", "unfiltered", "seeds only", "transferred", "oracle", "token-score")
SEEDLESS = ("source adapter", "target base")
FILTERS = {"transferred": "discriminator", "unfiltered": "none", "token-score": "token-score"}


def table(results: list[dict]) -> str:
    """Markdown: tasks and seeds down, arms across, with intervals, then the transferred arm against the others."""
    lines = ["| task, seed | " + " | ".join(ARMS) + " |", "|---" * (len(ARMS) + 1) + "|"]
    groups: dict[tuple, dict] = {}
    for row in results:
        groups.setdefault((row["task"], row["seed"]), {})[row["arm"]] = row
    for (task, seed), arms in groups.items():
        # What knows no seed was measured once for all of them.
        arms |= {row["arm"]: row for row in results if row["task"] == task and row["arm"] in SEEDLESS}
        cells = []
        for arm in ARMS:
            if arm not in arms:
                cells.append("")
                continue
            if "refused" in arms[arm]:
                cells.append("refused")
                continue
            share = wilson(arms[arm]["exact_match"] * arms[arm]["test_rows"], arms[arm]["test_rows"])
            cells.append(f"{share.value:.3f} ({share.low:.3f}–{share.high:.3f})")
        lines.append(f"| {task}, {seed} | " + " | ".join(cells) + " |")
    for (task, seed), arms in groups.items():
        for arm, other in itertools.product(FILTERS, ("source adapter", "target base", "seeds only", "oracle")):
            if "right" in arms.get(arm, {}) and "right" in arms.get(other, {}):
                gap = paired_difference(*([int(digit) for digit in arms[name]["right"]] for name in (arm, other)))
                lines.append(f"{task}, {seed}: {arm} − {other} = {gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})")
    return "\n".join(lines)


def bench_rows(results: list[dict]) -> list[dict]:
    """What other benchmarks write: every arm against the bare target."""
    bare = {(row["task"], row["seed"]): row["exact_match"] for row in results if row["arm"] == "target base"}
    rows = []
    for row in (row for row in results if "right" in row):
        theirs = bare.get((row["task"], row["seed"]))
        rows.append({"case": f"{row['task']}, seed {row['seed']}: {row['arm']}", "peer": "target base",
                     "ours": row["exact_match"], "theirs": theirs, "unit": "exact match",
                     "ratio": row["exact_match"] / theirs if theirs else None})  # fmt: skip
    return rows
