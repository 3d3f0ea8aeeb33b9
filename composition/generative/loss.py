"""What a generator is trained by: cross-entropy of the next token in rows, each under its own adapter.

    L = mean of −log p(token) over the reconstructed tokens                                              nats
      + mean over the completed ones of (1 − w) · −log p(token) + w · −Σ_v p*(v) log p(v)

w is the recipe's `distillation`, and p* what the bare base says with everything before the token in its prompt.
Published is w = 0. With w = 1 completion learns what the base would have made of the text (as in Doc-to-LoRA,
arXiv:2602.15902): a token is a single draw of that, so the same answer arrives with less noise.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from composition.generative.encode import layer_states, run
from composition.generative.hooks import adapting
from composition.generative.layer import Generator
from composition.generative.segments import COMPLETE, RECONSTRUCT, Batch
from composition.training.parallel import ALONE, Replicas

TOKENS_AT_ONCE = 128
"""How many tokens have their logits in memory at once."""


def losses(
    base: Any,
    generator: Generator,
    batch: Batch,
    *,
    distillation: float = 0.0,
    learn: bool = False,
    replicas: Replicas = ALONE,
) -> dict[str, float]:
    """{"loss": L, and "reconstruction", "completion" where the batch has them: −log p of the tokens}, in nats a token.

    With `learn` L's gradient goes into the generator, unless L is not finite. Of several processes each has its share
    of the batch; the figures are the whole batch's, the gradients add up to its gradient.
    """
    device = batch.ids.device
    rows, wanted = batch.rows, batch.wanted()
    tokens = torch.zeros(2, device=device).index_add(0, batch.objectives, wanted.sum(1).float())
    tokens = replicas.add(tokens)
    if not len(rows):
        return _figures(replicas.add(torch.zeros(3, device=device)), tokens)
    objective = batch.objectives.unsqueeze(1).expand_as(wanted)[wanted]  # of every learnt token
    share = torch.where(objective == COMPLETE, distillation, 0.0)
    taught = share > 0
    teacher = full_text(base, batch)[taught] if taught.any() else None
    with generator.unbound():
        states = layer_states(base, generator, batch.ids, batch.ids_mask)  # [N, L, R1, R2]
        sums = torch.einsum("ij,jlab->ilab", batch.sums.to(states.dtype), states)
        directions = generator.directions(sums)[batch.adapters]  # [K, L, R1, R2]
        with adapting(base, generator.config, lambda number, x: generator.update(number, x, directions[:, number])):
            hidden = base.base_model(input_ids=rows, attention_mask=batch.mask, use_cache=False).last_hidden_state
            nll, target = TokenLoss.apply(  # type: ignore[no-untyped-call]
                hidden[:, :-1][wanted], base.get_output_embeddings(), rows[:, 1:][wanted], share, teacher
            )
            loss = (target / tokens.clamp(min=1)[objective]).sum()
            parts = torch.zeros(3, device=device).index_add(0, objective, nll)
            parts[-1] = loss.detach()
            figures = _figures(replicas.add(parts), tokens)
            if learn and math.isfinite(figures["loss"]):
                loss.backward()  # While the hooks are in place: gradient checkpointing runs layers again.
    return figures


@torch.no_grad()
def full_text(base: Any, batch: Batch) -> Tensor:
    """[learnt tokens, D]: the bare base's last hidden state before each, a completed segment's behind all its text.

    Rows that are not completed get the states of some segment, which mean nothing.
    """
    segments, window = batch.ids.shape
    first = batch.sums.argmax(1)  # of an adapter's segments
    begins, counts = torch.unique(first, return_counts=True)
    width = int(counts.max())
    places = begins.unsqueeze(1) + torch.arange(width, device=begins.device)
    whole = batch.ids[places.clamp(max=segments - 1)].flatten(1)  # what follows a shorter document changes nothing
    hidden = run(base, whole).view(len(begins), width, window, -1)
    following = (batch.adapters + 1).clamp(max=segments - 1)
    document = torch.searchsorted(begins, first[batch.adapters])
    place = (following - begins[document]).clamp(max=width - 1)
    return hidden[document, place, :-1][batch.wanted()]


class TokenLoss(torch.autograd.Function):
    """(−log p(token) [T], (1 − w) · −log p(token) + w · −Σ_v p*(v) log p(v) [T]) of hidden states [T, D].

    `share` is w [T], `teacher` the hidden states [those with w > 0, D] that give p*. The second has a gradient, by the
    hidden states alone; it is made at once, so that no more than `TOKENS_AT_ONCE` logits are ever kept.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: nn.Module, tokens: Tensor, share: Tensor, teacher: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        weight = head.weight
        assert isinstance(weight, Tensor)
        nll, target = torch.empty(len(hidden), device=hidden.device), torch.empty(len(hidden), device=hidden.device)
        grad = torch.empty_like(hidden)
        place = (share > 0).cumsum(0) - 1  # of a token in `teacher`
        for begin in range(0, len(hidden), TOKENS_AT_ONCE):
            part = slice(begin, begin + TOKENS_AT_ONCE)
            log_p = head(hidden[part]).float().log_softmax(-1)
            said = tokens[part].unsqueeze(1)
            found = -log_p.gather(1, said).squeeze(1)
            nll[part] = target[part] = found
            w = share[part].to(log_p.dtype)
            slope = log_p.exp()
            slope.scatter_add_(1, said, (w - 1).unsqueeze(1))
            soft = w > 0
            if teacher is not None and soft.any():
                p = head(teacher[place[part][soft]]).float().softmax(-1)
                cross = -(p * log_p[soft]).sum(-1)
                target[part][soft] = (1 - w[soft]) * found[soft] + w[soft] * cross
                slope[soft] -= w[soft].unsqueeze(1) * p
            grad[part] = slope.to(weight.dtype) @ weight
        ctx.save_for_backward(grad)
        ctx.mark_non_differentiable(nll)
        return nll, target

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        (grad,) = ctx.saved_tensors
        return grad * grads[1].unsqueeze(1).to(grad.dtype), None, None, None, None


def _figures(parts: Tensor, tokens: Tensor) -> dict[str, float]:
    """Means of (summed −log p of each objective, L), as {name: nats}."""
    places = (("reconstruction", RECONSTRUCT), ("completion", COMPLETE))
    means = {name: float(parts[place] / tokens[place]) for name, place in places if tokens[place]}
    return {**means, "loss": float(parts[-1])}
