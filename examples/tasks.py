"""Four small tasks, made from sentences and a seed: the same seed gives the same files, byte for byte.

    python examples/tasks.py            writes examples/data/<task>/{train,test}.jsonl and their cards

A row is {"prompt", "completion"} and, where the answer is one of a few, "choices". Every prompt says what is wanted, so
that one merged adapter can do all four. The base can't know the desk codes of `triage`, doesn't keep to the words of
`mood`, and is poor at the exact formats of `dates` and `orders`. The test split is made from templates that training
never sees, and no test prompt is a training prompt.
"""

import argparse
import datetime
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from phrases import (
    BAD,
    CITIES,
    COLOURS,
    DATES,
    DAYS,
    DESKS,
    FEELINGS,
    GOOD,
    GOODS,
    ITEMS,
    MESSAGES,
    MONTHS,
    NUMBERS,
    ORDERS,
    REVIEWS,
)

Row = dict[str, object]
SEED = 20240607
ROWS = {"train": 480, "test": 300}
TITLES = {
    "triage": "Send a customer's message to one of six desks, known by arbitrary codes",
    "mood": "Say in one fixed word how the writer of a review feels",
    "dates": "Write a date in any English form as YYYY-MM-DD",
    "orders": "Pull goods, colour and number out of an order",
}


def triage(split: str, rng: random.Random, number: int) -> Row:
    """One of six desks, in turn."""
    desk = DESKS[number % len(DESKS)]
    message = _fill(rng.choice(MESSAGES[desk][split]), split, rng)
    prompt = f"Which desk takes this customer's message? Answer with the code of the desk.\n{message}"
    return {"prompt": prompt, "completion": desk, "choices": list(DESKS)}


def mood(split: str, rng: random.Random, number: int) -> Row:
    """One of three feelings, in turn."""
    feeling = FEELINGS[number % len(FEELINGS)]
    review = _fill(rng.choice(REVIEWS[feeling][split]), split, rng)
    prompt = f"How does the writer of this review feel: glad, upset or torn? Answer with one word.\n{review}"
    return {"prompt": prompt, "completion": feeling, "choices": list(FEELINGS)}


def dates(split: str, rng: random.Random, number: int) -> Row:
    """A day between 1950 and 2049."""
    day = datetime.date(1950, 1, 1) + datetime.timedelta(days=rng.randrange(36525))
    written = DATES[split][number % len(DATES[split])].format(
        y=day.year, m=MONTHS[day.month - 1], d=day.day, o=_ordinal(day.day), w=DAYS[day.weekday()]
    )
    return {"prompt": f"Write this date as YYYY-MM-DD.\n{written}", "completion": day.isoformat()}


def orders(split: str, rng: random.Random, number: int) -> Row:
    """Goods, colour and number, always in that order, the number in digits."""
    count, colour, goods = rng.randrange(len(NUMBERS)), rng.choice(COLOURS), rng.choice(GOODS)
    words = rng.choice((NUMBERS[count], str(count + 2)))
    template = ORDERS[split][number % len(ORDERS[split])]
    order = template.format(n=words, c=colour, g=goods, city=rng.choice(CITIES), day=rng.choice(DAYS))
    order = order[0].upper() + order[1:]
    prompt = f"Extract goods, colour and number from this order, as goods/colour/number.\n{order}"
    return {"prompt": prompt, "completion": f"{goods}/{colour}/{count + 2}"}


TASKS: dict[str, Callable[[str, random.Random, int], Row]] = {
    "triage": triage,
    "mood": mood,
    "dates": dates,
    "orders": orders,
}


def make(task: str, seed: int = SEED) -> dict[str, list[Row]]:
    """{"train": rows, "test": rows} of a task; prompts are unique over both splits."""
    rng = random.Random(f"{task}-{seed}")
    seen: set[str] = set()
    splits: dict[str, list[Row]] = {}
    for split, count in ROWS.items():
        rows: list[Row] = []
        while len(rows) < count:
            row = TASKS[task](split, rng, len(rows))
            if row["prompt"] not in seen:
                seen.add(str(row["prompt"]))
                rows.append(row)
        rng.shuffle(rows)
        splits[split] = rows
    return splits


def majority(rows: list[Row]) -> float:
    """The share of the commonest answer: what one reaches without reading the prompt."""
    return max(Counter(str(row["completion"]) for row in rows).values()) / len(rows)


def write(task: str, folder: Path) -> None:
    """A dataset folder: train.jsonl, test.jsonl and a card."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = make(task)
    for split, rows in splits.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    example = splits["test"][0]
    (folder / "README.md").write_text(
        "---\nlicense: apache-2.0\nlanguage: en\ntags:\n- generated\n- evaluation\n---\n"
        f"# {task}\n{TITLES[task]}.\n\n```text\n{example['prompt']}\n→ {example['completion']}\n```\n\n"
        f"{len(splits['train'])} training rows, {len(splits['test'])} test rows from templates that training never "
        f"sees; the commonest answer makes up {majority(splits['test']):.0%} of the test rows. Generated by "
        f"`python examples/tasks.py` with seed {SEED}; no person wrote or is described by any row.\n",
        encoding="utf-8",
    )


def _fill(template: str, split: str, rng: random.Random) -> str:
    return template.format(
        item=rng.choice(ITEMS),
        amount=rng.randrange(5, 400),
        day=rng.choice(DAYS),
        city=rng.choice(CITIES),
        number=rng.choice(NUMBERS),
        colour=rng.choice(COLOURS),
        good=rng.choice(GOOD[split]),
        bad=rng.choice(BAD[split]),
    )


def _ordinal(day: int) -> str:
    suffix = "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{suffix}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the example datasets.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data")
    arguments = parser.parse_args()
    for name in TASKS:
        write(name, arguments.out / name)
        print(arguments.out / name)
