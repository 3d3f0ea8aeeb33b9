"""Inventing inputs: a base continues the numbered list that the seeds begin, until there are enough distinct ones.

Batch b is one prompt (which seeds, in which order, follows from the recipe's seed and b) and as many sampled
continuations as `synthesis_batch` says. Batches form one endless stream: a caller that needs more candidates continues
where the last one stopped, and one that needs fewer sees the same first ones. So a stream on disk can be used again by
a killed run, with another filter, or for another number of samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from composition.errors import CompositionError
from composition.moe.batches import shuffled
from composition.progress import Progress, ignore
from composition.recipes.synthesis import SynthesisOptions
from composition.running.prompting import Prompting
from transfer.numbered_list import frame_of, list_prompt, read_items
from transfer.parties import Loader
from transfer.rouge import Kept
from transfer.sampling import sample
from transfer.stages import LIVE, SHOWN, Clock, Product, digest

OPTIONS = ("temperature", "top_p", "shots", "max_new_tokens", "items", "similarity", "synthesis_batch")
DRY_BATCHES = 8
"""A stream ends after this many batches in a row without a new input."""
COUNTS = ("tries", "unreadable", "duplicates", "kept", "tokens")


@dataclass(frozen=True, slots=True)
class Counted:
    """The figures of a number of batches; `stopped` says why there are no more, where there are none."""

    tries: int
    unreadable: int
    duplicates: int
    kept: int
    tokens: int
    seconds: float
    stopped: str | None


class Candidates:
    """The stream of one generator; `texts` are the distinct inputs found so far, in the order they came."""

    def __init__(
        self, load: Loader, name: str, seeds: Sequence[str], recipe: SynthesisOptions, seed: int, path: Path
    ) -> None:
        self.load, self.recipe, self.seed = load, recipe, seed
        self.frame = frame_of(seeds)
        self.seeds = [self.frame.item(text) for text in seeds]
        options = {option: getattr(recipe, option) for option in OPTIONS}
        self.key = digest("synthesis", options, seed, name, list(seeds))
        self.product = Product(path, self.key)
        state = self.product.read() or {"texts": [], "batches": [], "duplicates": [], "unreadable": []}
        self.texts: list[str] = state["texts"]
        self.batches: list[dict[str, Any]] = state["batches"]
        self.examples: dict[str, list[str]] = {name: state[name] for name in ("duplicates", "unreadable")}
        self.kept = Kept(recipe.similarity, [*self.seeds, *map(self.frame.item, self.texts)])

    def ensure(self, wanted: int, most_tries: float, progress: Progress = ignore) -> bool:
        """Go on until there are `wanted` texts; False where the stream ends before (cap, or nothing new comes)."""
        if len(self.texts) >= wanted or self._ended(most_tries):
            return len(self.texts) >= wanted
        model, tokenizer = self.load()
        training = model.training
        model.eval()
        try:
            prompting = Prompting(tokenizer, getattr(model, "generation_config", None))
            newlines = _Newlines(tokenizer)
            while len(self.texts) < wanted and not self._ended(most_tries):
                self._batch(model, prompting, newlines)
                figures = self.counted(len(self.texts))
                progress(
                    len(self.texts) / wanted,
                    f"{len(self.texts)} of {wanted} distinct inputs",
                    candidates=figures.tries,
                    duplicates=figures.duplicates,
                    unreadable=figures.unreadable,
                    examples=self.texts[-LIVE:],
                )
        finally:
            model.train(training)
        return len(self.texts) >= wanted

    def counted(self, texts: int, most_tries: float = float("inf")) -> Counted:
        """The figures of the batches that the first `texts` texts came from, all of them where there are no more."""
        used = self.batches
        if texts < len(self.texts):
            seen, used = 0, []
            for batch in self.batches:
                used.append(batch)
                seen += batch["kept"]
                if seen >= texts:
                    break
        sums = {name: sum(batch[name] for batch in used) for name in COUNTS}
        stopped = self._ended(most_tries) if used is self.batches else None
        return Counted(**sums, seconds=round(sum(batch["seconds"] for batch in used), 2), stopped=stopped)

    def report(self, texts: int, most_tries: float) -> dict[str, Any]:
        """The part of the transfer's report."""
        counted = self.counted(texts, most_tries)
        return {
            **{name: getattr(counted, name) for name in COUNTS},
            "seconds": counted.seconds,
            "tokens_per_second": round(counted.tokens / counted.seconds, 1) if counted.seconds else None,
            "stopped": counted.stopped,
            "examples": {"kept": self.texts[:SHOWN], **self.examples},
        }

    def refuse_empty(self, who: str) -> None:
        """Error `transfer.no_inputs` where the stream ended without a single usable text."""
        if not self.texts:
            counted = self.counted(0)
            raise CompositionError(
                "transfer.no_inputs",
                f"{who} wrote no usable input in {counted.tries} tries: {counted.unreadable} could not be read as an "
                f"item of the list, {counted.duplicates} repeated a seed or each other. Give more seeds, and more "
                "varied ones, raise temperature or similarity, or let another base invent the inputs (synthesiser).",
                examples=self.examples["unreadable"][:LIVE],
                tries=counted.tries,
            )

    def _ended(self, most_tries: float) -> str | None:
        last = self.batches[-DRY_BATCHES:]
        if len(last) == DRY_BATCHES and not any(batch["kept"] for batch in last):
            return f"nothing new in {DRY_BATCHES} batches of {self.recipe.synthesis_batch}"
        tries = sum(batch["tries"] for batch in self.batches)
        return f"{tries} candidates, the most allowed" if tries >= most_tries else None

    def _batch(self, model: Any, prompting: Prompting, newlines: "_Newlines") -> None:
        number, clock, recipe = len(self.batches), Clock(), self.recipe
        order = shuffled(len(self.seeds), f"{self.seed} shots {number}")[: recipe.shots]
        shots = [self.seeds[place] for place in order]
        text = list_prompt(shots, self.frame)
        ids = list(prompting.tokenizer(text)["input_ids"])
        _refuse_too_long(model, len(ids) + recipe.max_new_tokens)
        texts = sample(
            model,
            prompting,
            ids,
            recipe.synthesis_batch,
            temperature=recipe.temperature,
            top_p=recipe.top_p,
            new_tokens=recipe.max_new_tokens,
            seed=int(digest(self.seed, "batch", number)[:15], 16),
            done=lambda written: newlines.count(written) >= recipe.items,
        )
        found: list[str | None] = []
        for written in texts:
            stopped = written[-1] in prompting.stop
            kept = written[:-1] if stopped else written
            raw = prompting.tokenizer.decode(kept, skip_special_tokens=True) + ("\n" if stopped else "")
            items = read_items(raw, len(shots) + 1, recipe.items)
            found += items or [None]
            if None in items or not items:
                _note(self.examples["unreadable"], raw)
        kept_before, unreadable, duplicates = len(self.texts), 0, 0
        for item in found:
            if item is None:
                unreadable += 1
            elif self.kept.has_like(item):
                duplicates += 1
                _note(self.examples["duplicates"], item)
            else:
                self.kept.add(item)
                self.texts.append(self.frame.whole(item))
        self.batches.append(
            {
                "tries": len(found),
                "unreadable": unreadable,
                "duplicates": duplicates,
                "kept": len(self.texts) - kept_before,
                "tokens": sum(map(len, texts)),
                "seconds": clock.seconds,
            }
        )
        self.product.write({"texts": self.texts, "batches": self.batches, **self.examples})


class _Newlines:
    """How many line breaks a run of tokens holds, each token decoded once."""

    def __init__(self, tokenizer: Any) -> None:
        self.decode: Callable[..., str] = tokenizer.decode
        self.known: dict[int, int] = {}

    def count(self, ids: Sequence[int]) -> int:
        for token in ids[-1:]:
            if token not in self.known:
                self.known[token] = self.decode([token]).count("\n")
        return sum(self.known.get(token, 0) for token in ids)


def _note(examples: list[str], text: str) -> None:
    if len(examples) < SHOWN:
        examples.append(text)


def _refuse_too_long(model: Any, length: int) -> None:
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest and length > longest:
        raise CompositionError(
            "transfer.too_long",
            f"A list of the seeds and its continuation take {length} tokens, but the base reads {longest} at most. Use "
            "fewer shots, shorter seeds or a lower max_new_tokens.",
            length=length,
            longest=longest,
        )
