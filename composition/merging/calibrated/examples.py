"""Rows as learning reads them: with answers, whose loss is taken, or as prompts, whose next token is looked at."""

import hashlib
from collections.abc import Sequence
from typing import Any

from composition.errors import CompositionError
from composition.merging.calibrated.texts import Row, pad_of
from composition.moe.batches import Batch, Example, collate, shuffled
from composition.recipes.merge.calibrated import TURN
from composition.recipes.merge.learned import LearnedRecipe
from composition.running.prompting import Prompting


class Examples:
    """The recipe's share of the rows of all datasets; batches follow from the seed and the step.

    With `answers`, rows that have none are left out; CompositionError `merge.no_answers` where none is left.
    """

    def __init__(
        self, tokenizer: Any, model: Any, data: Sequence[Sequence[Row]], recipe: LearnedRecipe, *, answers: bool
    ) -> None:
        prompting = Prompting(tokenizer, getattr(model, "generation_config", None))
        self.recipe, self.pad = recipe, pad_of(tokenizer)
        self.rows: list[Example] = []
        self.drawn: list[int] = []
        for place, rows in enumerate(data):
            for number in sorted(shuffled(len(rows), f"{recipe.seed} calibration {place}")[: recipe.rows]):
                example = _example(prompting, rows[number], recipe, answers)
                if example.answer > 0 or not answers:
                    self.rows.append(example)
            self.drawn.append(len(self.rows) - sum(self.drawn))
        if not self.rows:
            raise CompositionError(
                "merge.no_answers",
                f"{recipe.name} learns from answers, and no row that was read has one. Give rows of prompt and "
                "completion, or of text.",
            )

    def batch(self, step: int) -> Batch:
        """The batch of this step: each pass over the rows has an order of its own."""
        size, count = self.recipe.batch_size, len(self.rows)
        places = []
        for number in range(step * size, (step + 1) * size):
            epoch, place = divmod(number, count)
            places.append(shuffled(count, f"{self.recipe.seed} pass {epoch}")[place])
        return self._collated([self.rows[place] for place in places])

    def all(self) -> list[Batch]:
        """Every row once, rows of like length together."""
        size, rows = self.recipe.batch_size, sorted(self.rows, key=lambda row: len(row.ids))
        return [self._collated(rows[begin : begin + size]) for begin in range(0, len(rows), size)]

    def digest(self) -> str:
        """SHA-256 of what is read."""
        return hashlib.sha256(repr([(row.ids, row.answer) for row in self.rows]).encode()).hexdigest()

    def facts(self) -> list[dict[str, Any]]:
        """What a report says of each dataset: how many rows were read, and the digest of all of them together."""
        tokens = [len(row.ids) for row in self.rows]
        told, begin = [], 0
        for count in self.drawn:
            told.append({"rows": count, "tokens": sum(tokens[begin : begin + count]), "sha256": self.digest()})
            begin += count
        return told

    def _collated(self, rows: Sequence[Example]) -> Batch:
        return collate(rows, self.pad, "completion")


def _example(prompting: Prompting, row: Row, recipe: LearnedRecipe, answers: bool) -> Example:
    """A row's ids; its answer's length counts the tokens to be learnt: of a document, all but the first."""
    if "text" in row:
        turn = recipe.text_as == TURN
        ids = prompting.prompt(row["text"]) if turn else list(prompting.tokenizer(row["text"])["input_ids"])
        return Example(ids[: recipe.max_length], min(len(ids), recipe.max_length) - 1, None)
    prompt = prompting.prompt(row["prompt"])
    answer = prompting.answer(row["completion"])[: recipe.max_length - 1] if answers and row.get("completion") else []
    prompt = prompt[max(0, len(prompt) + len(answer) - recipe.max_length) :]
    return Example([*prompt, *answer], len(answer), None)
