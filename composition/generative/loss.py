"""What a generator is trained by: next-token cross-entropy of rows, each under its own adapter.

L = mean of −log p over the reconstructed tokens + mean over the completed ones        nats
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from composition.generative.encode import layer_states
from composition.generative.hooks import adapting
from composition.generative.layer import Generator
from composition.generative.segments import COMPLETE, RECONSTRUCT, Batch
from composition.parallel import ALONE, Replicas


def losses(
    base: Any, generator: Generator, batch: Batch, *, learn: bool = False, replicas: Replicas = ALONE
) -> dict[str, float]:
    """{"loss": L, and "reconstruction", "completion" where the batch has them} in nats a token.

    With `learn` L's gradient goes into the generator, unless L is not finite. Of several processes each has its share
    of the batch; the figures are the whole batch's, the gradients add up to its gradient.
    """
    if not len(batch.rows):
        return _figures(replicas.add(torch.zeros(2, 2, device=batch.ids.device)))
    states = layer_states(base, generator, batch.ids, batch.ids_mask)  # [N, L, R1, R2]
    sums = torch.einsum("ij,jlab->ilab", batch.sums.to(states.dtype), states)
    directions = generator.directions(sums)[batch.adapters]  # [K, L, R1, R2]
    with adapting(base, generator.config, lambda number, x: generator.update(number, x, directions[:, number])):
        nll, count = next_token(base, batch.rows, batch.mask, batch.learnt)
        parts = torch.zeros(2, 2, device=nll.device).index_add(0, batch.objectives, torch.stack([nll, count], 1))
        whole = replicas.add(parts)  # [objective, (−log p, tokens)]
        figures = _figures(whole)
        if learn and math.isfinite(figures["loss"]):
            # While the hooks stand: gradient checkpointing runs layers again.
            (parts[:, 0] / whole[:, 1].clamp(min=1)).sum().backward()
    return figures


def _figures(whole: Tensor) -> dict[str, float]:
    """Means of [objective, (−log p, tokens)], and their sum, the loss."""
    places = (("reconstruction", RECONSTRUCT), ("completion", COMPLETE))
    means = {name: float(whole[place, 0] / whole[place, 1]) for name, place in places if whole[place, 1]}
    return {**means, "loss": sum(means.values())}


def next_token(base: Any, ids: Tensor, mask: Tensor | None, learnt: Tensor | None) -> tuple[Tensor, Tensor]:
    """(summed −log p of the learnt tokens [K], their number [K]); without `learnt` all tokens but each row's first."""
    hidden = base.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    wanted = torch.ones_like(ids[:, 1:], dtype=torch.bool) if learnt is None else learnt[:, 1:]
    logits = base.get_output_embeddings()(hidden[:, :-1][wanted])  # [learnt tokens, V]
    flat = nn.functional.cross_entropy(logits.float(), ids[:, 1:][wanted], reduction="none")
    row = torch.arange(len(ids), device=ids.device).unsqueeze(1).expand_as(wanted)[wanted]
    return torch.zeros(len(ids), device=ids.device).index_add(0, row, flat), wanted.sum(1)
