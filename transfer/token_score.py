"""The filter without a discriminator (TiTok, arXiv:2510.04682): what does the adapter change?

    score(token) = log p(token | before, with LoRA) − log p(token | before, without)

Samples are ranked by their mean score; in an answer the loss is on the share of tokens with the highest. Source and
target cut a text differently, so scores travel as runs of characters: a source token's score holds for its characters,
a target token's is the mean over its own. The token that ends an answer keeps its score.
"""

from collections.abc import Sequence
from typing import Any

from composition.running.prompting import Prompting
from transfer.classes import class_counts, quotas

Spans = list[list[float]]
"""[characters, score] runs that cover an answer's text, and [0, score] of its end."""


def span_scores(prompting: Prompting, ids: Sequence[int], high: Sequence[float], low: Sequence[float]) -> Spans:
    """Runs of a greedy answer `ids` from log p with (`high`) and without (`low`) the adapter."""
    text = prompting.tokenizer.decode(list(ids), skip_special_tokens=True)
    stripped = len(text) - len(text.lstrip())  # answers are kept without the space they open with
    spans: Spans = []
    for length, with_adapter, without in zip(_lengths(prompting, ids), high, low, strict=True):
        cut = min(stripped, length)
        stripped -= cut
        spans.append([length - cut, round(with_adapter - without, 6)])
    return spans


def mean_score(spans: Spans) -> float:
    """A sample's score: the mean of its tokens'."""
    return sum(score for _, score in spans) / len(spans) if spans else float("-inf")


def best_samples(rows: Sequence[dict[str, Any]], most: int) -> list[int]:
    """Places of the `most` rows of the highest mean score, in their order; the earlier of equals.

    Where the answers are classes the best of each are taken in proportion, a deviation: one ranking keeps the class
    whose answers the adapter changed most, and starves the others.
    """
    ranked = sorted(range(len(rows)), key=lambda place: (-mean_score(rows[place]["scores"]), place))
    counts = class_counts([row["completion"] for row in rows])
    if not counts:
        return sorted(ranked[:most])
    left, kept = quotas(counts, most), []
    for place in ranked:
        name = rows[place]["completion"]
        if left[name]:
            left[name] -= 1
            kept.append(place)
    return sorted(kept)


def token_mask(prompting: Prompting, answer: Sequence[int], spans: Spans, share: float) -> list[bool]:
    """Which tokens of the target's `answer` ids the loss is on: the `share` with the highest scores, at least one."""
    per_character = [score for length, score in spans for _ in range(int(length))]
    end = spans[-1][1] if spans and spans[-1][0] == 0 else 0.0
    scores, start = [], 0
    for length in _lengths(prompting, answer):
        own = per_character[start : start + length]
        near = per_character[min(start, len(per_character) - 1)] if per_character else end
        scores.append(sum(own) / len(own) if own else (end if start >= len(per_character) else near))
        start += length
    count = max(1, round(share * len(scores)))
    best = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:count]
    return [place in set(best) for place in range(len(scores))]


def _lengths(prompting: Prompting, ids: Sequence[int]) -> list[int]:
    """Characters that each token adds to the decoded text; 0 for what ends an answer and for halves of a character."""
    lengths, before = [], 0
    for number in range(1, len(ids) + 1):
        text = prompting.tokenizer.decode(list(ids[:number]), skip_special_tokens=True)
        whole = len(text.rstrip("\ufffd"))
        lengths.append(max(0, whole - before))
        before = max(before, whole)
    return lengths
