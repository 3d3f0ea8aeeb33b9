"""How a dataset row becomes tokens: the one place that training, evaluation and synthesis share.

Where the tokenizer has a chat template the prompt is the user's turn and the completion, with the token that ends a
turn, the assistant's. Without one the prompt is the text itself and the completion ends with the EOS token. Prompt and
completion are tokenised apart, because generation starts at that very boundary.

Rows of a task mostly open alike (system prompt, instruction). `shared_prefix` and `expand` let a model read that
opening once: its key/value cache is laid under every row of a batch. Attention is causal: the numbers don't change.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from transformers import DynamicCache

WINDOW = 12
UNFINISHED = "\ufffd"


@dataclass(frozen=True, slots=True)
class Prompted:
    """Token ids of a row's prompt, completion and choices; completion and choices end with a stop token."""

    prompt: list[int]
    completion: list[int]
    choices: list[list[int]]


class Prompting:
    """A tokenizer's way of writing prompts and answers; `stop` holds the ids that end an answer."""

    def __init__(self, tokenizer: Any, generation_config: Any = None) -> None:
        self.tokenizer = tokenizer
        self.chat = bool(getattr(tokenizer, "chat_template", None))
        stop = getattr(generation_config, "eos_token_id", None)
        self.stop: set[int] = set(stop if isinstance(stop, list) else [] if stop is None else [stop])
        if tokenizer.eos_token_id is not None:
            self.stop.add(tokenizer.eos_token_id)
        self.end = self._end_of_answer()

    def prompt(self, text: str) -> list[int]:
        """Ids of the prompt, up to where an answer begins."""
        if not self.chat:
            return list(self.tokenizer(text)["input_ids"])
        return list(self.tokenizer(self._chat(text), add_special_tokens=False)["input_ids"])

    def answer(self, text: str) -> list[int]:
        """Ids of an answer and the token that ends it (none where the tokenizer has no EOS)."""
        return [*self.tokenizer(text, add_special_tokens=False)["input_ids"], *self.end]

    def row(self, row: Mapping[str, Any]) -> Prompted:
        """All of a row: `prompt`, `completion`, optional `choices`."""
        choices = [self.answer(choice) for choice in row.get("choices") or []]
        return Prompted(self.prompt(row["prompt"]), self.answer(row["completion"]), choices)

    def text(self, ids: Sequence[int]) -> str:
        """The answer in `ids`, up to the first stop token, stripped."""
        kept = list(takewhile(lambda token: token not in self.stop, ids))
        return self.tokenizer.decode(kept, skip_special_tokens=True).strip()

    def _chat(self, text: str, answer: str | None = None) -> str:
        turns = [{"role": "user", "content": text}]
        if answer is not None:
            turns.append({"role": "assistant", "content": answer})
        return self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer is None)

    def _end_of_answer(self) -> list[int]:
        if self.chat:
            opening, whole = self._chat("a"), self._chat("a", "b")
            if whole.startswith(opening + "b"):
                rest = self.tokenizer(whole[len(opening) + 1 :], add_special_tokens=False)["input_ids"]
                if rest and rest[0] in self.tokenizer.all_special_ids:
                    self.stop.add(rest[0])
                    return [rest[0]]
        return [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]


def last_piece(tokenizer: Any, ids: Sequence[int]) -> str:
    """What the last of these ids adds to their text; "" while it is part of a character that further ids complete.

    Byte-level and sentence-piece tokens mean something only behind others, so a few are decoded with it.
    """
    near = list(ids[-WINDOW:])
    before, after = (str(tokenizer.decode(part)).rstrip(UNFINISHED) for part in (near[:-1], near))
    return after[len(before) :]


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text of each id, which together are the text of all."""
    return [last_piece(tokenizer, ids[max(0, end - WINDOW) : end]) for end in range(1, len(ids) + 1)]


def shared_prefix(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The ids all prompts open with, short of the shortest prompt by one, so that each row keeps a token of its own."""
    if not prompts:
        return []
    shortest = min(len(prompt) for prompt in prompts)
    first = prompts[0]
    for position in range(shortest - 1):
        if any(prompt[position] != first[position] for prompt in prompts):
            return list(first[:position])
    return list(first[: max(shortest - 1, 0)])


def left_pad(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids [rows, longest], mask of the same shape), padding on the left so that all rows end together."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def positions(mask: torch.Tensor) -> torch.Tensor:
    """Position ids [rows, width] that count only what isn't padding."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def whole_cache(config: Any, longest: int) -> Any:
    """An empty cache whose layers all keep every key, where sliding layers see rows of `longest` ids whole anyway.

    None elsewhere: the model makes its own, whose sliding layers hand out no views and forget.
    """
    text = config.get_text_config()
    kinds, window = set(getattr(text, "layer_types", None) or ()), getattr(text, "sliding_window", None)
    fits = "sliding_attention" in kinds and kinds <= {"full_attention", "sliding_attention"}
    return DynamicCache() if fits and window and longest <= window else None


def with_rows(cache: Any, rows: torch.Tensor | None = None) -> Any:
    """A second cache with the named rows (all by default, sharing memory); the first one is left as it is."""
    second = copy.copy(cache)
    second.layers = [copy.copy(layer) for layer in cache.layers]
    if rows is not None:
        second.batch_select_indices(rows)
    return second


def expand(cache: Any, rows: int) -> Any:
    """Lay a one-row key/value cache under `rows` rows, as views where autograd and memory allow. In place."""
    for layer in cache.layers:
        layer.keys = layer.keys.expand(rows, -1, -1, -1)
        layer.values = layer.values.expand(rows, -1, -1, -1)
    return cache
