"""How good a model is on a dataset of prompts and completions: likelihood, greedy exact match, choice by likelihood.

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

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from composition.errors import CompositionError
from composition.progress import Progress, ignore
from composition.recipes import EvaluateRecipe
from composition.running.prompting import Prompting
from composition.running.reading import Reader, ReadRows, Scored

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """`metrics` by name; `per_row` in the order of the rows, plain JSON values; wall `seconds`."""

    metrics: dict[str, float]
    per_row: list[dict[str, Any]]
    rows: int
    seconds: float


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
    reader = Reader(model, Prompting(tokenizer, getattr(model, "generation_config", None)))
    _refuse_unfit(rows, recipe)
    encoded = [reader.prompting.row(row) for row in rows]
    reader.refuse_too_long(encoded, recipe.max_new_tokens)
    order = sorted(range(len(rows)), key=lambda number: (len(encoded[number].prompt), number))
    per_row: list[dict[str, Any]] = [{} for _ in rows]
    try:
        model.eval()
        with torch.inference_mode():
            progress(0.0, f"reading {len(rows)} rows")
            answers = [len(ids) for row in encoded for ids in (row.completion, *row.choices)]
            reader.read_prefix([row.prompt for row in encoded], max([recipe.max_new_tokens, *answers]))
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


def _measure(reader: Reader, batch: ReadRows, rows: list[Row], recipe: EvaluateRecipe) -> list[dict[str, Any]]:
    """Per row: prediction, exact_match, nll (mean, nats), tokens, choice, choice_per_byte, as the recipe asks."""
    asked: list[tuple[int, list[int]]] = []
    for owner, encoded in enumerate(batch.rows):
        choices = encoded.choices if "choice" in recipe.metrics else []
        asked += [(owner, ids) for ids in _unique([encoded.completion, *choices]) if ids]
    scores: dict[tuple[int, tuple[int, ...]], Scored] = {}
    for piece in _pieces(asked, 2 * recipe.batch_size):
        for (owner, ids), scored in zip(piece, reader.score(batch, piece), strict=True):
            scores[owner, tuple(ids)] = scored
    figures: list[dict[str, Any]] = [{} for _ in rows]
    for owner, (row, encoded) in enumerate(zip(rows, batch.rows, strict=True)):
        own = scores.get((owner, tuple(encoded.completion)), Scored(0.0, 0))
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
            written = reader.generate(batch, open_rows, recipe.max_new_tokens)
            for owner, ids in zip(open_rows, written, strict=True):
                figures[owner]["prediction"] = reader.prompting.text(ids)
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
            "The metric choice was requested, but no row has choices. "
            "Leave the metric out, or give a dataset whose rows list their choices.",
        )


def _unique(answers: Sequence[list[int]]) -> list[list[int]]:
    return [list(ids) for ids in dict.fromkeys(tuple(ids) for ids in answers)]


def _pieces(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
