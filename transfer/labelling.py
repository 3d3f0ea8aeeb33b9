"""The teacher's answers: source base with its adapter, greedy, in batches on a shared prefix.

Answers are text, so that any target can learn them. One that reached `answer_tokens` is kept without an end, and
counted; an empty one is dropped.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from composition.errors import CompositionError
from composition.progress import Progress, ignore
from composition.running.prompting import Prompted, Prompting
from composition.running.reading import Reader
from transfer.parties import Loader
from transfer.stages import LIVE, Clock, Product, attached, digest
from transfer.token_score import span_scores


class Labels:
    """Answers to a list of inputs, one batch after the other; state on disk after each."""

    def __init__(
        self,
        load: Loader,
        adapter: Path,
        base: str,
        texts: Sequence[str],
        *,
        answer_tokens: int,
        batch: int,
        scored: bool,
        key: str,
        path: Path,
    ) -> None:
        self.load, self.adapter, self.base, self.texts = load, adapter, base, list(texts)
        self.answer_tokens, self.batch, self.scored = answer_tokens, batch, scored
        self.product = Product(path, digest("labels", key, base, self.texts, answer_tokens, batch, scored))

    def run(self, progress: Progress = ignore) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """(rows {prompt, completion, cut?, scores?} in the order of the texts, figures).

        `scores` are [characters, score] runs over the answer, the end last, as the filter token-score wants them.
        """
        state = self.product.read() or {"rows": [], "tokens": 0, "seconds": 0.0}
        rows = state["rows"]
        if len(rows) < len(self.texts):
            clock = Clock(state["seconds"])
            model, tokenizer = self.load()
            training = model.training
            model.eval()
            try:
                with attached(model, self.adapter, "The adapter", self.base) as teacher, torch.inference_mode():
                    prompting = Prompting(tokenizer, getattr(model, "generation_config", None))
                    while len(rows) < len(self.texts):
                        texts = self.texts[len(rows) : len(rows) + self.batch]
                        answered, tokens = self._answer(teacher, prompting, texts, len(rows))
                        rows += answered
                        state["tokens"] += tokens
                        state["seconds"] = clock.seconds
                        self.product.write(state)
                        shown = [{key: row[key] for key in ("prompt", "completion")} for row in answered[-LIVE:]]
                        done = len(rows) / len(self.texts)
                        progress(done, f"{len(rows)} of {len(self.texts)} answers", labelled=len(rows), examples=shown)
            finally:
                model.train(training)
        speed = round(state["tokens"] / state["seconds"], 1) if state["seconds"] else None
        return rows, {"tokens": state["tokens"], "seconds": state["seconds"], "tokens_per_second": speed}

    def _answer(
        self, teacher: Any, prompting: Prompting, texts: Sequence[str], first: int
    ) -> tuple[list[dict[str, Any]], int]:
        reader = Reader(teacher, prompting)
        encoded = [Prompted(prompting.prompt(text), [], []) for text in texts]
        _refuse_too_long(reader, encoded, self.answer_tokens, first)
        reader.read_prefix([row.prompt for row in encoded], self.answer_tokens)
        batch = reader.read(encoded)
        written = reader.generate(batch, range(len(texts)), self.answer_tokens)
        rows: list[dict[str, Any]] = []
        for text, ids in zip(texts, written, strict=True):
            row: dict[str, Any] = {"prompt": text, "completion": prompting.text(ids)}
            if prompting.stop and ids[-1] not in prompting.stop:
                row["cut"] = True
            rows.append(row)
        if self.scored:
            with_adapter = reader.score(batch, list(enumerate(written)))
            with teacher.disable_adapter():
                bare = Reader(teacher, prompting)
                bare.read_prefix([row.prompt for row in encoded], self.answer_tokens)
                without = bare.score(bare.read(encoded), list(enumerate(written)))
            for row, ids, high, low in zip(rows, written, with_adapter, without, strict=True):
                row["scores"] = span_scores(prompting, ids, high.each, low.each)
        return rows, sum(map(len, written))


def usable(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with an answer."""
    return [row for row in rows if row["completion"]]


def _refuse_too_long(reader: Reader, rows: Sequence[Prompted], answer_tokens: int, first: int) -> None:
    for number, row in enumerate(rows):
        length = len(row.prompt) + answer_tokens
        if reader.longest and length > reader.longest:
            raise CompositionError(
                "transfer.too_long",
                f"Input {first + number + 1} and its answer may take {length} tokens, but the source base reads "
                f"{reader.longest} at most. Lower answer_tokens, or max_new_tokens of the synthesis.",
                length=length,
            )
