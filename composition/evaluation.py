"""How good is a model on a dataset of prompts and completions: likelihood, greedy exact match, choice by likelihood.

    nll           −Σ log p(token | before) / tokens, over the completions' tokens, the ending one included; nats
    exact_match   the share of rows whose greedy answer, stripped, is the completion, stripped
    choice        the share of rows whose likeliest choice is the completion; the likelihood of a choice is that of the
                  whole answer, end included, so that no choice wins by being the beginning of another
    choice_per_byte   the same with log p divided by the choice's UTF-8 bytes, which doesn't favour short answers

Each row is read once. What all prompts open with is read once for all rows; a batch of rows, sorted by length and
padded on the left, then leaves its key/value cache, and from that cache come the likelihoods of completion and choices
and, where needed, the greedy answer. It isn't needed where every token of the completion was the likeliest at its
place: the greedy answer is then the completion. Vocabulary-wide logits are made for answers alone, never for prompts.
"""

import inspect
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from composition.errors import CompositionError
from composition.progress import Progress, ignore
from composition.prompting import Prompted, Prompting, expand, left_pad, positions, shared_prefix, with_rows
from composition.recipes import EvaluateRecipe

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """`metrics` by name; `per_row` in the order of the rows, plain JSON values; wall `seconds`."""

    metrics: dict[str, float]
    per_row: list[dict[str, Any]]
    rows: int
    seconds: float


@dataclass(slots=True)
class _Batch:
    """Rows whose prompts have been read: logits [rows, vocabulary] of the first answer token, cache, mask of slots."""

    rows: list[Prompted]
    logits: torch.Tensor
    cache: Any
    mask: torch.Tensor


@dataclass(slots=True)
class _Scored:
    """One answer: Σ log p (nats), its tokens, whether each was the likeliest at its place."""

    log_p: float
    tokens: int
    greedy: bool = field(default=False)


def evaluate(
    model: Any, tokenizer: Any, rows: Sequence[Row], recipe: EvaluateRecipe, *, progress: Progress = ignore
) -> EvaluationResult:
    """Measure `model` (with whatever adapter the caller attached) on `rows` of {prompt, completion, choices?}.

    The model is put in eval mode for the time and left as it was. Nothing is drawn at random. `progress` is called
    after each batch; an exception from it ends the run. Errors: `evaluate.no_rows`, `evaluate.no_choices`,
    `evaluate.too_long`.
    """
    start, training = time.monotonic(), model.training
    rows = list(rows)[: recipe.limit]
    reader = _Reader(model, Prompting(tokenizer, getattr(model, "generation_config", None)))
    _refuse_unfit(rows, recipe)
    encoded = [reader.prompting.row(row) for row in rows]
    reader.refuse_too_long(encoded, recipe.max_new_tokens)
    order = sorted(range(len(rows)), key=lambda number: (len(encoded[number].prompt), number))
    per_row: list[dict[str, Any]] = [{} for _ in rows]
    try:
        model.eval()
        with torch.inference_mode():
            progress(0.0, f"reading {len(rows)} rows")
            reader.read_prefix([row.prompt for row in encoded])
            for done in range(0, len(order), recipe.batch_size):
                numbers = order[done : done + recipe.batch_size]
                batch = reader.read([encoded[number] for number in numbers])
                measured = _measure(reader, batch, [rows[number] for number in numbers], recipe)
                for number, figures in zip(numbers, measured, strict=True):
                    per_row[number] = {"row": number, **figures}
                finished = done + len(numbers)
                progress(finished / len(rows), f"{finished} of {len(rows)} rows", rows=finished)
    finally:
        model.train(training)
    return EvaluationResult(_metrics(per_row), per_row, len(rows), time.monotonic() - start)


class _Reader:
    """A model, read in pieces: shared prefix, prompts, then answers on top of the prompts' cache."""

    def __init__(self, model: Any, prompting: Prompting) -> None:
        self.model, self.prompting = model, prompting
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.keeps = "logits_to_keep" in inspect.signature(inner.forward).parameters
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
                    f"Row {number + 1} needs {length} tokens, prompt and answer, and the base reads {self.longest} at "
                    "most. Shorten the prompt or lower max_new_tokens.",
                    row=number,
                )

    def read_prefix(self, prompts: Sequence[Sequence[int]]) -> None:
        """Read what all prompts open with, once; not where a layer forgets (sliding windows, recurrent states)."""
        prefix = shared_prefix(prompts)
        if not prefix:
            return
        _, cache = self._forward(torch.tensor([prefix]), torch.ones(1, len(prefix), dtype=torch.long), None, 1)
        layers = getattr(cache, "layers", None) or []
        if layers and all(type(layer).__name__ == "DynamicLayer" for layer in layers):
            self.prefix, self.prefix_cache = prefix, cache

    def read(self, rows: list[Prompted]) -> _Batch:
        ids, mask = left_pad([row.prompt[len(self.prefix) :] for row in rows], self.pad)
        mask = torch.cat([torch.ones(len(rows), len(self.prefix), dtype=mask.dtype), mask], dim=1)
        cache = expand(with_rows(self.prefix_cache), len(rows)) if self.prefix else None
        logits, cache = self._forward(ids, mask, cache, 1)
        return _Batch(rows, logits[:, -1], cache, mask)

    def score(self, batch: _Batch, answers: Sequence[tuple[int, list[int]]]) -> list[_Scored]:
        """The likelihood of each (row of the batch, answer ids); an answer has at least one id."""
        owners = torch.tensor([owner for owner, _ in answers])
        width = max(len(ids) for _, ids in answers)
        padded = torch.tensor([[*ids, *[self.pad] * (width - len(ids))] for _, ids in answers])
        real = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for _, ids in answers])
        logits = batch.logits[owners.to(self.device)].unsqueeze(1)  # [answers, 1, vocabulary]
        if width > 1:
            mask = torch.cat([batch.mask[owners], real[:, :-1]], dim=1)
            later, _ = self._forward(padded[:, :-1], mask, with_rows(batch.cache, owners.to(self.device)), width - 1)
            logits = torch.cat([logits, later], dim=1)  # [answers, width, vocabulary]
        wanted = padded.to(self.device)
        log_p = logits.gather(2, wanted.unsqueeze(2)).squeeze(2) - logits.logsumexp(2)  # [answers, width]
        likeliest = (logits.argmax(2) == wanted) | (real == 0).to(self.device)
        total = (log_p * real.to(self.device)).sum(1).tolist()
        greedy = likeliest.all(1).tolist()
        return [_Scored(total[n], len(ids), greedy[n]) for n, (_, ids) in enumerate(answers)]

    def generate(self, batch: _Batch, numbers: Sequence[int], new_tokens: int) -> list[str]:
        """Greedy answers of the named rows of a batch, each up to its stop token; ends when every row has stopped."""
        keep = torch.tensor(numbers)
        cache, mask = with_rows(batch.cache, keep.to(self.device)), batch.mask[keep]
        logits, stop = batch.logits[keep.to(self.device)], torch.tensor(sorted(self.prompting.stop))
        written: list[list[int]] = [[] for _ in numbers]
        stopped = torch.zeros(len(numbers), dtype=torch.bool)
        for step in range(new_tokens):
            token = logits.argmax(1).cpu()  # [rows]
            for row, value in zip(written, token.tolist(), strict=True):
                row.append(value)
            stopped |= torch.isin(token, stop)
            if step == new_tokens - 1 or bool(stopped.all()):
                break
            mask = torch.cat([mask, torch.ones(len(numbers), 1, dtype=mask.dtype)], dim=1)
            logits, cache = self._forward(token.unsqueeze(1), mask, cache, 1)
            logits = logits[:, -1]
        return [self.prompting.text(row) for row in written]

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, cache: Any, keep: int) -> tuple[torch.Tensor, Any]:
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


def _measure(reader: _Reader, batch: _Batch, rows: list[Row], recipe: EvaluateRecipe) -> list[dict[str, Any]]:
    """Per row: prediction, exact_match, nll (mean, nats), tokens, choice, choice_per_byte, as the recipe asks."""
    asked: list[tuple[int, list[int]]] = []
    for owner, encoded in enumerate(batch.rows):
        choices = encoded.choices if "choice" in recipe.metrics else []
        asked += [(owner, ids) for ids in _unique([encoded.completion, *choices]) if ids]
    scores: dict[tuple[int, tuple[int, ...]], _Scored] = {}
    for piece in _pieces(asked, 2 * recipe.batch_size):
        for (owner, ids), scored in zip(piece, reader.score(batch, piece), strict=True):
            scores[owner, tuple(ids)] = scored
    figures: list[dict[str, Any]] = [{} for _ in rows]
    for owner, (row, encoded) in enumerate(zip(rows, batch.rows, strict=True)):
        own = scores.get((owner, tuple(encoded.completion)), _Scored(0.0, 0))
        if "nll" in recipe.metrics:
            figures[owner].update(log_p=own.log_p, tokens=own.tokens)
        if "choice" in recipe.metrics and encoded.choices:
            log_p = [scores[owner, tuple(ids)].log_p if ids else 0.0 for ids in encoded.choices]
            per_byte = [value / max(len(text.encode()), 1) for value, text in zip(log_p, row["choices"], strict=True)]
            for name, values in (("choice", log_p), ("choice_per_byte", per_byte)):
                figures[owner][name] = row["choices"][max(range(len(values)), key=values.__getitem__)]
                figures[owner][f"{name}_right"] = figures[owner][name] == row["completion"]
        if "exact_match" in recipe.metrics and own.greedy and reader.prompting.end:
            certain = len(encoded.completion) <= recipe.max_new_tokens
            figures[owner]["prediction"] = reader.prompting.text(encoded.completion) if certain else None
    if "exact_match" in recipe.metrics:
        open_rows = [owner for owner, figure in enumerate(figures) if figure.get("prediction") is None]
        if open_rows:
            texts = reader.generate(batch, open_rows, recipe.max_new_tokens)
            for owner, text in zip(open_rows, texts, strict=True):
                figures[owner]["prediction"] = text
        for row, figure in zip(rows, figures, strict=True):
            figure["exact_match"] = figure["prediction"] == row["completion"].strip()
    return figures


def _metrics(per_row: list[dict[str, Any]]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    tokens = sum(row.get("tokens", 0) for row in per_row)
    if tokens:
        metrics["nll"] = -sum(row["log_p"] for row in per_row) / tokens
    for name, key in (
        ("exact_match", "exact_match"),
        ("choice", "choice_right"),
        ("choice_per_byte", "choice_per_byte_right"),
    ):
        judged = [row[key] for row in per_row if key in row]
        if judged:
            metrics[name] = sum(judged) / len(judged)
    return metrics


def _refuse_unfit(rows: Sequence[Row], recipe: EvaluateRecipe) -> None:
    if not rows:
        raise CompositionError("evaluate.no_rows", "The split has no rows. Give a dataset with at least one row.")
    if "choice" in recipe.metrics and not any(row.get("choices") for row in rows):
        raise CompositionError(
            "evaluate.no_choices",
            "The metric choice was asked for and no row has choices. "
            "Leave the metric out, or give a dataset whose rows list their choices.",
        )


def _unique(answers: Sequence[list[int]]) -> list[list[int]]:
    return [list(ids) for ids in dict.fromkeys(tuple(ids) for ids in answers)]


def _pieces(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
