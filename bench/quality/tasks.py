"""The two suites: six generated tasks of a thousand test rows, and what BIG-Bench Hard has that the base can learn.

The first four are those of examples/tasks.py, with the examples' own training rows and more rows of the same held-out
templates; `prices` and `logins` are made here in the same way, with prompts of a few tokens. A BBH task's rows are
shuffled by a seed and split 60 : 40. The last 96 training rows are held back from training: scales are tuned on them.
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .words import CURRENCIES, FIRST_NAMES, LAST_NAMES, LOGINS, PRICES, TENS, UP_TO_NINETEEN

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "examples"))

import tasks as examples  # noqa: E402

TEST_ROWS = 1000
HELD_BACK = 96
BBH = ("boolean_expressions", "navigate", "sports_understanding", "disambiguation_qa", "causal_judgement")
Row = dict[str, object]


@dataclass(frozen=True)
class Task:
    """Rows {"prompt", "completion"}: `train` to learn and calibrate from, `held_back` to tune on, `test` to report."""

    name: str
    train: list[Row]
    held_back: list[Row]
    test: list[Row]

    @property
    def majority(self) -> float:
        return commonest(self.test)


def prices(split: str, rng: random.Random, number: int) -> Row:
    """An amount in words or digits, as CODE 12.30."""
    template = PRICES[split][number % len(PRICES[split])]
    currency = rng.choice(list(CURRENCIES))
    units, cents = rng.randrange(1, 100), rng.randrange(1, 100)
    price = template.format(units=_amount(units, rng), currency=currency, cents=_amount(cents, rng))
    answer = f"{CURRENCIES[currency]} {units}.{cents if '{cents}' in template else 0:02d}"
    return {"prompt": f"Write this price with its currency code, as CODE 0.00.\n{price}", "completion": answer}


def logins(split: str, rng: random.Random, number: int) -> Row:
    """A person's name, as last_f."""
    template = LOGINS[split][number % len(LOGINS[split])]
    first, last = rng.choice(FIRST_NAMES[split]), rng.choice(LAST_NAMES[split])
    name = template.format(first=first, last=last, middle=rng.choice("ABCDEGHJKLMPRST"))
    return {"prompt": f"Make this person's login name.\n{name}", "completion": f"{last}_{first[0]}".lower()}


MAKERS: dict[str, Callable[[str, random.Random, int], Row]] = {**examples.TASKS, "prices": prices, "logins": logins}


@cache
def generated(name: str) -> Task:
    """A task of suite (a)."""
    rng = random.Random(f"{name}-{examples.SEED}")
    seen: set[object] = set()
    train = _rows(name, "train", examples.ROWS["train"], rng, seen)
    if name in examples.TASKS:
        assert [row["prompt"] for row in train] == [row["prompt"] for row in examples.make(name)["train"]]
    return Task(name, train[:-HELD_BACK], train[-HELD_BACK:], _rows(name, "test", TEST_ROWS, rng, seen))


def hard(name: str, data: Path) -> Task:
    """A task of suite (b) from `data`, the folder of BBH's JSON files."""
    found = json.loads((data / f"{name}.json").read_text(encoding="utf-8"))["examples"]
    rows: list[Row] = [{"prompt": row["input"], "completion": row["target"]} for row in found]
    random.Random(f"{name}-0").shuffle(rows)
    count = round(0.6 * len(rows))
    held_back = min(HELD_BACK, count // 4)
    return Task(name, rows[: count - held_back], rows[count - held_back : count], rows[count:])


def commonest(rows: list[Row]) -> float:
    """The share of the commonest answer: what one reaches without reading the prompt."""
    return max(Counter(str(row["completion"]) for row in rows).values()) / len(rows)


def _rows(name: str, split: str, count: int, rng: random.Random, seen: set[object]) -> list[Row]:
    """Rows with prompts of their own. A maker that has run out for one of its answers goes on with the next."""
    rows: list[Row] = []
    tried = 0
    while len(rows) < count:
        row = MAKERS[name](split, rng, tried if split == "test" else len(rows))
        tried += 1
        if row["prompt"] not in seen:
            seen.add(row["prompt"])
            rows.append(row)
    rng.shuffle(rows)
    return rows


def _amount(number: int, rng: random.Random) -> str:
    if rng.random() < 0.5:
        return str(number)
    if number < 20:
        return UP_TO_NINETEEN[number]
    tens, ones = TENS[number // 10 - 2], number % 10
    return f"{tens}-{UP_TO_NINETEEN[ones]}" if ones else tens
