"""Many continuations of one prompt, sampled side by side: the prompt is read once, rows that are done are dropped.

Temperature, then top-p over the whole vocabulary: the likeliest tokens are looked at in groups, and the rare row whose
group does not hold `top_p` of the probability (at 1: its own draw) gets the next, wider one, so that a 262k vocabulary
is never sorted. One uniform number a row and step, drawn for all rows whether they are done or not: what a row says
does not depend on how long its neighbours talk.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from composition.running.prompting import Prompting
from composition.running.reading import Reader

LOOKED_AT = 128
WIDER = 16


def draw(logits: Tensor, uniform: Tensor, temperature: float, top_p: float) -> Tensor:
    """[rows] token ids from [rows, vocabulary] logits by the inverse of the cumulated top-p distribution.

    `uniform` [rows] in [0, 1). Tokens come in the order of falling probability; the set is the smallest whose
    probability reaches `top_p`.
    """
    scaled = logits.float() / temperature
    peak = scaled.amax(1, keepdim=True)
    whole = peak.squeeze(1) + (scaled - peak).exp_().sum(1).log_()  # torch.logsumexp is four times as slow
    found = torch.empty(len(scaled), dtype=torch.long)
    open_rows = torch.arange(len(scaled))
    width = min(LOOKED_AT, scaled.shape[1])
    while len(open_rows):
        top, ids = scaled[open_rows].topk(width, dim=1)
        heap = (top - whole[open_rows, None]).exp().double().cumsum(1)  # [rows, width], falling probabilities summed
        drawn = uniform[open_rows].double()
        inside = (heap < top_p).sum(1, keepdim=True).clamp(max=width - 1)  # the last token of the set
        if top_p < 1.0:
            enough, drawn = heap[:, -1] >= top_p, drawn * heap.gather(1, inside).squeeze(1)
        else:
            enough = heap[:, -1] > drawn  # All tokens are in the set, so its probability is known: 1.
        if width == scaled.shape[1]:
            enough[:] = True
        place = torch.minimum((heap <= drawn[:, None]).sum(1, keepdim=True), inside)
        token, enough = ids.gather(1, place).squeeze(1).cpu(), enough.cpu()
        found[open_rows[enough]] = token[enough]
        open_rows, width = open_rows[~enough], min(width * WIDER, scaled.shape[1])
    return found


def sample(
    model: Any,
    prompting: Prompting,
    prompt: Sequence[int],
    rows: int,
    *,
    temperature: float,
    top_p: float,
    new_tokens: int,
    seed: int,
    done: Callable[[list[int]], bool],
) -> list[list[int]]:
    """Ids of `rows` continuations of one prompt, each up to a stop token, `done(ids)` or `new_tokens`."""
    reader = Reader(model, prompting)
    generator = torch.Generator().manual_seed(seed)
    written: list[list[int]] = [[] for _ in range(rows)]
    with torch.inference_mode():
        mask = torch.ones(1, len(prompt), dtype=torch.long)
        logits, cache = reader.forward(torch.tensor([list(prompt)]), mask, None, 1)
        logits = logits[:, -1].expand(rows, -1)
        cache.batch_repeat_interleave(rows)
        alive = torch.arange(rows)
        for step in range(new_tokens):
            uniform = torch.rand(rows, generator=generator)[alive]
            token = draw(logits, uniform.to(logits.device), temperature, top_p)
            for row, value in zip(alive.tolist(), token.tolist(), strict=True):
                written[row].append(value)
            open_ = [
                n
                for n, row in enumerate(alive.tolist())
                if written[row][-1] not in prompting.stop and not done(written[row])
            ]
            if step == new_tokens - 1 or not open_:
                break
            if len(open_) < len(alive):
                kept = torch.tensor(open_)
                cache.batch_select_indices(kept.to(reader.device))
                token, alive = token[kept], alive[kept]
            mask = torch.ones(len(alive), len(prompt) + step + 1, dtype=torch.long)
            logits, cache = reader.forward(token.unsqueeze(1), mask, cache, 1)
            logits = logits[:, -1]
    return written
