"""The rows that a calibrated merge reads: drawn by the seed, as tokens, in batches of rows of like length.

Rows are padded on the right: attention is causal, so no real token sees the padding, and no mask is needed.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from composition.moe.batches import shuffled
from composition.recipes.merge.calibrated import TURN, CalibratedRecipe
from composition.running.prompting import Prompting

Row = Mapping[str, Any]
TOKENS = 4096
"""Tokens of a batch, padding included."""


@dataclass(frozen=True, slots=True)
class Text:
    """Rows as token ids, sorted by length."""

    rows: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return sum(map(len, self.rows))

    def batches(self, pad: int, *, even: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """(ids [rows, width], mask of the same shape, True at real tokens); `even` puts only equal lengths together."""
        held: list[tuple[int, ...]] = []
        for row in self.rows:
            full = held and (len(held) + 1) * len(row) > TOKENS
            if full or (held and even and len(row) != len(held[-1])):
                yield _padded(held, pad)
                held = []
            held.append(row)
        if held:
            yield _padded(held, pad)

    def digest(self) -> str:
        """SHA-256 of the ids."""
        return hashlib.sha256(repr(self.rows).encode()).hexdigest()

    def facts(self) -> dict[str, Any]:
        """What a report says of it: rows, tokens, and the digest of the ids that were read."""
        return {"rows": len(self.rows), "tokens": self.tokens, "sha256": self.digest()}


def text_of(tokenizer: Any, model: Any, rows: Sequence[Row], recipe: CalibratedRecipe) -> Text:
    """The recipe's share of the rows, {"prompt"} with or without "completion", or {"text"}, as tokens."""
    prompting = Prompting(tokenizer, getattr(model, "generation_config", None))
    read = [_ids(prompting, row, recipe)[: recipe.max_length] for row in drawn(rows, recipe)]
    return Text(tuple(sorted((tuple(ids) for ids in read if ids), key=lambda ids: (len(ids), ids))))


def drawn(rows: Sequence[Row], recipe: CalibratedRecipe) -> list[Row]:
    """The rows that the recipe reads, in their order: as many as it says, by its seed."""
    return [rows[place] for place in sorted(shuffled(len(rows), f"{recipe.seed} calibration")[: recipe.rows])]


def pad_of(tokenizer: Any) -> int:
    """The id that fills rows up; it is never counted."""
    found = tokenizer.pad_token_id
    return found if found is not None else tokenizer.eos_token_id or 0


def _ids(prompting: Prompting, row: Row, recipe: CalibratedRecipe) -> list[int]:
    if "text" in row:
        text = row["text"]
        return prompting.prompt(text) if recipe.text_as == TURN else list(prompting.tokenizer(text)["input_ids"])
    answer = prompting.answer(row["completion"]) if row.get("completion") else []
    return [*prompting.prompt(row["prompt"]), *answer]


def _padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(width) < lengths[:, None]
