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
OBJECTIVES = ("reconstruction", "completion")
Row = dict[str, float]


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
    found = by_token(base, generator, documents, context, continuation, window)
    return {name: {arm: float(rows.mean()) for arm, rows in arms.items()} for name, arms in found.items()}


@torch.no_grad()
def by_token(
    base: Any,
    generator: Generator,
    documents: Sequence[Sequence[int]],
    context: int,
    continuation: int = CONTINUATION,
    window: int | None = None,
    objectives: Sequence[str] = OBJECTIVES,
) -> dict[str, dict[str, Tensor]]:
    """{objective: {arm: −log p [documents long enough, tokens]}}; otherwise as `held_out`."""
    long = [ids[: context + continuation] for ids in documents if len(ids) >= context + continuation]
    if len(long) < 2:
        return {}
    device = next(base.parameters()).device
    ids = torch.tensor(long, device=device)
    states = [context_state(base, generator, row[:context], window) for row in ids]
    found: dict[str, dict[str, list[Tensor]]] = {name: {} for name in objectives}
    for i, own in enumerate(states):
        text, rest, other = ids[i, :context], ids[i, context:], states[(i + 1) % len(states)]
        for name in objectives:
            alone = text if name == "reconstruction" else rest
            behind = torch.cat([text, alone])
            for arm, state, row, first in (
                ("none", None, alone, 1),
                ("own", own, alone, 1),
                ("other", other, alone, 1),
                ("prompt", None, behind, context + 1),
                ("ceiling", other, behind, context + 1),
            ):
                found[name].setdefault(arm, []).append(token_losses(base, generator, state, row, first))
    return {name: {arm: torch.stack(rows) for arm, rows in arms.items()} for name, arms in found.items()}


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


def _token_losses(base: Any, ids: Tensor, first: int) -> Tensor:
    hidden = base.base_model(input_ids=ids.unsqueeze(0), use_cache=False).last_hidden_state[0, first - 1 : -1]
    return nn.functional.cross_entropy(base.get_output_embeddings()(hidden).float(), ids[first:], reduction="none")
