"""What an adapter knows of its text, and what it merely knows of the domain.

A document is a context and its continuation. Loss of either, in nats a token, under
    none         the bare base
    own          the context's adapter
    other        the adapter of the next document's context: the control, for it fits the domain as well
    prompt       the bare base with the context before it
    ceiling      the other document's adapter, with the context before it
and  gap closed = (other − own) / (other − ceiling): what the text itself brought, out of what it could bring.
Only tokens after the first are counted, in every arm the same ones.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from composition.generative.encode import adapter, layer_states
from composition.generative.hooks import adapting
from composition.generative.layer import Generator

CONTINUATION = 64
ROWS_AT_ONCE = 8
Row = dict[str, float]


@torch.no_grad()
def held_out(
    base: Any,
    generator: Generator,
    documents: Sequence[Sequence[int]],
    context: int,
    continuation: int = CONTINUATION,
    window: int | None = None,
) -> dict[str, Row]:
    """{"reconstruction": {arm: loss}, "completion": {arm: loss}}, averaged over documents long enough.

    The context is read in chunks of `window` (all at once where none is given). Fewer than two documents give {}.
    """
    long = [ids[: context + continuation] for ids in documents if len(ids) >= context + continuation]
    if len(long) < 2:
        return {}
    device = next(base.parameters()).device
    ids = torch.tensor(long, device=device)
    text, rest = ids[:, :context], ids[:, context:]
    states = [context_state(base, generator, row, window) for row in text]
    sums: dict[str, Row] = {"reconstruction": {}, "completion": {}}
    for i, state in enumerate(states):
        arms = {"none": None, "own": state, "other": states[(i + 1) % len(states)]}
        for arm, given in arms.items():
            for name, part in (("reconstruction", text[i]), ("completion", rest[i])):
                add(sums[name], arm, loss(base, generator, given, part, 1))
        doubled, whole = torch.cat([text[i], text[i]]), ids[i]
        for arm, given in (("prompt", None), ("ceiling", arms["other"])):
            add(sums["reconstruction"], arm, loss(base, generator, given, doubled, context + 1))
            add(sums["completion"], arm, loss(base, generator, given, whole, context + 1))
    return {name: {arm: value / len(long) for arm, value in row.items()} for name, row in sums.items()}


def gap(row: Row) -> float:
    """(other − own) / (other − ceiling); 0 where the ceiling is no better than the control."""
    possible = row["other"] - row["ceiling"]
    return (row["other"] - row["own"]) / possible if possible > 0 else 0.0


@torch.no_grad()
def context_state(base: Any, generator: Generator, ids: Tensor, window: int | None = None) -> Tensor:
    """S [1, L, R1, R2] of a context [T], read in chunks of exactly `window` tokens (T must be their multiple)."""
    rows = ids.unsqueeze(0) if window is None or len(ids) <= window else ids.view(-1, window)
    return layer_states(base, generator, rows).sum(0, keepdim=True)


def loss(base: Any, generator: Generator | None, state: Tensor | None, ids: Tensor, first: int) -> float:
    """Mean −log p (nats) of ids[first:], under a state's adapter where one is given."""
    return float(token_losses(base, generator, state, ids, first).mean())


@torch.no_grad()
def token_losses(base: Any, generator: Generator | None, state: Tensor | None, ids: Tensor, first: int) -> Tensor:
    """−log p (nats) of each of ids[first:], under a state's adapter where one is given."""
    if generator is None or state is None:
        return _token_losses(base, ids, first)
    with adapting(base, generator.config, adapter(generator, state)):
        return _token_losses(base, ids, first)


def add(row: Row, arm: str, value: float) -> None:
    """row[arm] += value."""
    row[arm] = row.get(arm, 0.0) + value


def _token_losses(base: Any, ids: Tensor, first: int) -> Tensor:
    hidden = base.base_model(input_ids=ids.unsqueeze(0), use_cache=False).last_hidden_state[0, first - 1 : -1]
    return nn.functional.cross_entropy(base.get_output_embeddings()(hidden).float(), ids[first:], reduction="none")
