"""Reading many rows at once: what all prompts open with is read once, then the prompts, then answers on their cache.

Rows are padded on the left, so that all prompts of a batch end together. Vocabulary-wide logits are made for answers
alone, never for prompts. Evaluation, labelling and judging use it.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from composition.errors import CompositionError
from composition.running.prompting import (
    Prompted,
    Prompting,
    expand,
    left_pad,
    positions,
    shared_prefix,
    whole_cache,
    with_rows,
)


@dataclass(slots=True)
class ReadRows:
    """Rows whose prompts have been read: logits [rows, vocabulary] of the first answer token, cache, mask of slots."""

    rows: list[Prompted]
    logits: torch.Tensor
    cache: Any
    mask: torch.Tensor


@dataclass(slots=True)
class Scored:
    """One answer: Σ log p (nats), its tokens, whether each was the likeliest at its place, log p of each."""

    log_p: float
    tokens: int
    greedy: bool = field(default=False)
    each: list[float] = field(default_factory=list)


def keeps_logits(model: Any) -> bool:
    """Whether a model, with or without an adapter, can skip the logits that are not needed (`logits_to_keep`)."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(inner.forward).parameters


class Reader:
    """A model, read in pieces: shared prefix, prompts, then answers on top of the prompts' cache."""

    def __init__(self, model: Any, prompting: Prompting) -> None:
        self.model, self.prompting = model, prompting
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.keeps = keeps_logits(model)
        self.config = inner.config
        self.longest = getattr(inner.config, "max_position_embeddings", None)
        self.device = next(model.parameters()).device
        pad = prompting.tokenizer.pad_token_id
        self.pad = pad if pad is not None else next(iter(prompting.stop), 0)
        self.prefix: list[int] = []
        self.prefix_cache: Any = None

    def refuse_too_long(self, rows: Sequence[Prompted], new_tokens: int) -> None:
        for number, row in enumerate(rows):
            length = len(row.prompt) + max([new_tokens, len(row.completion), *map(len, row.choices)])
            if self.longest and length > self.longest:
                raise CompositionError(
                    "evaluate.too_long",
                    f"Row {number + 1} needs {length} tokens, prompt and answer, but the base reads {self.longest} at "
                    "most. Shorten the prompt or lower max_new_tokens.",
                    row=number,
                )

    def read_prefix(self, prompts: Sequence[Sequence[int]], answer: int = 0) -> None:
        """Read what all prompts open with, once; not where a layer forgets (recurrent states, or a sliding window
        that is shorter than the longest prompt with an `answer` of so many ids; 0 is an answer of unknown length)."""
        prefix = shared_prefix(prompts)
        if not prefix:
            return
        longest = max(map(len, prompts)) + answer
        empty = whole_cache(self.config, longest) if answer else None
        _, cache = self.forward(torch.tensor([prefix]), torch.ones(1, len(prefix), dtype=torch.long), empty, 1)
        layers = getattr(cache, "layers", None) or []
        if layers and all(type(layer).__name__ == "DynamicLayer" for layer in layers):
            self.prefix, self.prefix_cache = prefix, cache

    def read(self, rows: list[Prompted]) -> ReadRows:
        ids, mask = left_pad([row.prompt[len(self.prefix) :] for row in rows], self.pad)
        mask = torch.cat([torch.ones(len(rows), len(self.prefix), dtype=mask.dtype), mask], dim=1)
        cache = expand(with_rows(self.prefix_cache), len(rows)) if self.prefix else None
        logits, cache = self.forward(ids, mask, cache, 1)
        return ReadRows(rows, logits[:, -1], cache, mask)

    def score(self, batch: ReadRows, answers: Sequence[tuple[int, list[int]]]) -> list[Scored]:
        """The likelihood of each (row of the batch, answer ids); an answer has at least one id."""
        owners = torch.tensor([owner for owner, _ in answers])
        width = max(len(ids) for _, ids in answers)
        padded = torch.tensor([[*ids, *[self.pad] * (width - len(ids))] for _, ids in answers])
        real = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for _, ids in answers])
        logits = batch.logits[owners.to(self.device)].unsqueeze(1)  # [answers, 1, vocabulary]
        if width > 1:
            mask = torch.cat([batch.mask[owners], real[:, :-1]], dim=1)
            later, _ = self.forward(padded[:, :-1], mask, with_rows(batch.cache, owners.to(self.device)), width - 1)
            logits = torch.cat([logits, later], dim=1)  # [answers, width, vocabulary]
        wanted = padded.to(self.device)
        log_p = logits.gather(2, wanted.unsqueeze(2)).squeeze(2) - logits.logsumexp(2)  # [answers, width]
        likeliest = (logits.argmax(2) == wanted) | (real == 0).to(self.device)
        total = (log_p * real.to(self.device)).sum(1).tolist()
        greedy = likeliest.all(1).tolist()
        each = log_p.tolist()
        return [Scored(total[n], len(ids), greedy[n], each[n][: len(ids)]) for n, (_, ids) in enumerate(answers)]

    def generate(self, batch: ReadRows, numbers: Sequence[int], new_tokens: int) -> list[list[int]]:
        """Ids of the greedy answers of the named rows of a batch, each with its stop token where it reached one.

        Ends when every row has stopped; rows that have are dropped whenever they are half of those computed.
        """
        keep = torch.tensor(numbers)
        cache, mask = with_rows(batch.cache, keep.to(self.device)), batch.mask[keep]
        logits, stop = batch.logits[keep.to(self.device)], self.prompting.stop
        written: list[list[int]] = [[] for _ in numbers]
        alive = torch.arange(len(numbers))  # which answer each computed row writes
        for step in range(new_tokens):
            token = logits.argmax(1).cpu()  # [rows]
            for place, value in zip(alive.tolist(), token.tolist(), strict=True):
                if not (written[place] and written[place][-1] in stop):
                    written[place].append(value)
            open_rows = [n for n, place in enumerate(alive.tolist()) if written[place][-1] not in stop]
            if step == new_tokens - 1 or not open_rows:
                break
            if 2 * len(open_rows) <= len(alive):
                rows = torch.tensor(open_rows)
                cache, mask, token, alive = with_rows(cache, rows.to(self.device)), mask[rows], token[rows], alive[rows]
            mask = torch.cat([mask, torch.ones(len(alive), 1, dtype=mask.dtype)], dim=1)
            logits, cache = self.forward(token.unsqueeze(1), mask, cache, 1)
            logits = logits[:, -1]
        return written

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, cache: Any, keep: int) -> tuple[torch.Tensor, Any]:
        """(logits [rows, keep, vocabulary] in float32, cache); `mask` covers the cache's slots and the ids."""
        wide = {"logits_to_keep": keep} if self.keeps else {}
        output = self.model(
            input_ids=ids.to(self.device),
            attention_mask=mask.to(self.device),
            position_ids=positions(mask)[:, -ids.shape[1] :].to(self.device),
            past_key_values=cache,
            use_cache=True,
            **wide,
        )
        return output.logits[:, -keep:].float(), output.past_key_values
