"""The second stage: rows of context, question and answer; the answer is learnt, the context seen by the adapter alone.

state     the context, cut into equal chunks of at most `window` tokens, through the bare base
learnt    question as the user's turn, answer as the assistant's, under the context's adapter
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from composition.chunking import chunks
from composition.errors import CompositionError
from composition.generative.segments import COMPLETE, Batch, seeded
from composition.recipes.train_generator import TrainGeneratorRecipe
from composition.running.prompting import Prompting

COLUMNS = ("context", "question", "answer")
IGNORED = 0


class Questions:
    """The rows of a training on answers; batches follow from seed and step, as in `segments`."""

    def __init__(self, tokenizer: Any, rows: Sequence[Mapping[str, str]], recipe: TrainGeneratorRecipe) -> None:
        if len(rows) == 0:
            raise CompositionError("train.few_documents", "No rows were given. Give rows of context, question, answer.")
        self.tokenizer, self.documents, self.recipe = tokenizer, rows, recipe
        self.prompting = Prompting(tokenizer)

    def batch(self, step: int) -> Batch:
        """As many rows as fit into the step's tokens, at least one. Errors: `train.row`."""
        recipe, random = self.recipe, seeded(f"{self.recipe.seed} step {step}")
        contexts: list[list[list[int]]] = []
        pairs: list[tuple[list[int], list[int]]] = []
        left = recipe.batch_tokens
        while left > 0:
            parts, prompt, answer = self._row(int(torch.randint(len(self.documents), (1,), generator=random)))
            size = sum(map(len, parts))
            if pairs and size > left:
                break
            left -= size
            contexts.append(parts)
            pairs.append((prompt, answer))
        flat = [part for context in contexts for part in context]
        ids, ids_mask = _right_pad(flat)
        sums, first = torch.zeros(len(contexts), len(flat)), 0
        for number, context in enumerate(contexts):
            sums[number, first : first + len(context)] = 1
            first += len(context)
        rows, mask = _right_pad([prompt + answer for prompt, answer in pairs])
        learnt = torch.zeros_like(mask, dtype=torch.bool)
        for number, (prompt, answer) in enumerate(pairs):
            learnt[number, len(prompt) : len(prompt) + len(answer)] = True
        order = torch.arange(len(pairs))
        return Batch(ids, sums, rows, order, torch.full_like(order, COMPLETE), ids_mask, mask, learnt)

    def held_tokens(self) -> list[list[int]]:
        """None: the gap closed is measured on documents."""
        return []

    def digest(self) -> str:
        """SHA-256 of the rows, in their order."""
        seen = hashlib.sha256()
        for number in range(len(self.documents)):
            row = {name: self.documents[number].get(name) for name in COLUMNS}
            seen.update(json.dumps(row, sort_keys=True).encode())
        return seen.hexdigest()

    def _row(self, number: int) -> tuple[list[list[int]], list[int], list[int]]:
        row, recipe = self.documents[number], self.recipe
        if not all(isinstance(row.get(name), str) and row[name].strip() for name in COLUMNS):
            raise CompositionError(
                "train.row",
                f"Row {number + 1} lacks one of {', '.join(COLUMNS)}. Give all three as text.",
                row=number + 1,
            )
        context = self.tokenizer(row["context"], add_special_tokens=False, verbose=False)["input_ids"]
        prompt, answer = self.prompting.prompt(row["question"]), self.prompting.answer(row["answer"])
        answer = answer[: recipe.max_length // 2]
        prompt = prompt[-(recipe.max_length - len(answer)) :]
        return chunks(context[: recipe.batch_tokens], "parallel", int(max(recipe.windows))), prompt, answer


def _right_pad(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask) [rows, longest]; attention is causal, so padding on the right of a row changes nothing in it."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[IGNORED] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask
