"""Exact match and likelihood of a row by reading it once, and a file that keeps every answer.

The greedy answer is the completion exactly where the likeliest token at each of its places, the ending one included, is
its own; what stands before a place is the completion so far in both cases. So nothing is generated. Only an answer of
the same text in other tokens is missed.

Products run in bfloat16 where the processor has them (`--dtype`), with the residual stream in float32.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from composition.running.prompting import Prompting
from composition.running.reading import Reader

Row = Mapping[str, Any]
BATCH = 64


@dataclass
class Answers:
    """By row: whether the greedy answer is the completion, log p of the completion (nats), its tokens."""

    right: list[bool] = field(default_factory=list)
    log_p: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        return sum(self.right) / len(self.right)

    @property
    def nll(self) -> float:
        """Nats a token."""
        return -sum(self.log_p) / sum(self.tokens)


def fast(model: torch.nn.Module) -> torch.nn.Module:
    """The base with its projections in bfloat16; embeddings and norms stay as they are. In place."""
    for module in model.model.modules():
        if isinstance(module, torch.nn.Linear):
            module.to(torch.bfloat16)
    return model


def read(model: Any, tokenizer: Any, rows: Sequence[Row], *, bf16: bool = False) -> Answers:
    """The answers of `model` to `rows`, in their order."""
    reader = Reader(model, Prompting(tokenizer, model.generation_config))
    encoded = [reader.prompting.row(row) for row in rows]
    order = sorted(range(len(rows)), key=lambda number: len(encoded[number].prompt))
    scores: list[Any] = [None] * len(rows)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
        reader.read_prefix([row.prompt for row in encoded])
        for start in range(0, len(order), BATCH):
            numbers = order[start : start + BATCH]
            batch = reader.read([encoded[number] for number in numbers])
            asked = [(place, encoded[number].completion) for place, number in enumerate(numbers)]
            for number, scored in zip(numbers, reader.score(batch, asked), strict=True):
                scores[number] = scored
    return Answers([s.greedy for s in scores], [round(s.log_p, 5) for s in scores], [s.tokens for s in scores])


class Kept:
    """A JSON Lines file of answers, read at the start; a key's later rows continue its earlier ones."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[tuple[str, ...], Answers] = {}
        self.seconds = 0.0
        path.parent.mkdir(parents=True, exist_ok=True)
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            self._take(json.loads(line))

    def missing(self, key: tuple[str, ...], rows: int) -> int:
        """From which row on there is still something to measure; `rows` where there isn't."""
        return min(len(self.answers.get(key, Answers()).right), rows)

    def first(self, key: tuple[str, ...], rows: int) -> Answers:
        whole = self.answers[key]
        return Answers(whole.right[:rows], whole.log_p[:rows], whole.tokens[:rows])

    def add(self, key: tuple[str, ...], answers: Answers, cpu_seconds: float, **facts: Any) -> None:
        line = {"key": key, "cpu_seconds": round(cpu_seconds, 2), "at": round(time.time()), **facts}
        line |= {"right": [int(value) for value in answers.right], "log_p": answers.log_p, "tokens": answers.tokens}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        found = self.answers.setdefault(tuple(line["key"]), Answers())
        found.right += [bool(value) for value in line["right"]]
        found.log_p += line["log_p"]
        found.tokens += line["tokens"]
        self.seconds += line["cpu_seconds"]


def digest(*parts: Any) -> str:
    """Ten hex digits that change with any of the parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:10]
