"""The next token's cross-entropy on answers, computed as cheaply as possible.

Logits are made for answers alone, which matters where the vocabulary is a quarter of a million. What all prompts open
with (an instruction, a chat template's head) is read once a pass, at batch size one, and its keys and values are laid
under every row; attention is causal and gradients flow through, so loss and gradients are those of the plain pass.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from composition.running.prompting import expand, left_pad, positions, shared_prefix, whole_cache

SHORTEST_PREFIX = 4


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids that end with the answer; `learnt` says which of the answer's tokens the loss is on."""

    ids: list[int]
    learnt: list[bool]
    soft: tuple[Tensor, Tensor] | None = None
    """Teacher's likeliest ids [answer, k] and their log p [answer, k], where soft targets are asked for."""


class AnswerLoss:
    """Σ over some rows' learnt tokens of −log p, divided by a total that the caller gives."""

    def __init__(self, model: Any, examples: Sequence[Example], pad: int) -> None:
        self.model, self.examples, self.pad = model, examples, pad
        self.device = next(model.parameters()).device
        self.keeps = keeps_logits(model)
        self.prefix: list[int] = []
        self.prefix = self._shared_prefix()

    def __call__(self, rows: Sequence[Example], total: int, soft: float) -> Tensor:
        """Σ over these rows' learnt tokens / `total`."""
        shared = len(self.prefix)
        ids, mask = left_pad([row.ids[shared:] for row in rows], self.pad)
        keep = max(len(row.learnt) for row in rows)
        wanted = torch.full((len(rows), keep), -100)
        for number, row in enumerate(rows):
            answer = torch.tensor(row.ids[len(row.ids) - len(row.learnt) :])
            wanted[number, keep - len(row.learnt) :] = answer.masked_fill(~torch.tensor(row.learnt), -100)
        some: dict[str, Any] = {"logits_to_keep": keep + 1} if self.keeps else {}
        if shared:
            some["past_key_values"] = expand(self._read_prefix(), len(rows))
            mask = torch.cat([torch.ones(len(rows), shared, dtype=mask.dtype), mask], dim=1)
        logits = (
            self.model(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                position_ids=positions(mask)[:, shared:].to(self.device),
                use_cache=bool(shared),
                **some,
            )
            .logits[:, -keep - 1 : -1]
            .float()
        )  # [rows, keep, vocabulary]: what stands before each token of the answers
        hard = nn.functional.cross_entropy(
            logits.flatten(0, 1), wanted.flatten().to(self.device), ignore_index=-100, reduction="sum"
        )
        if not soft:
            return hard / total
        return ((1 - soft) * hard + soft * soft_loss(logits, rows)) / total

    def _shared_prefix(self) -> list[int]:
        """What all prompts open with: read once a pass, its keys and values laid under every row, gradients and all.

        Not where activations are computed anew (that needs a pass without a cache), nor where a layer keeps no keys.
        """
        every = [row.ids[: len(row.ids) - len(row.learnt)] for row in self.examples]
        prefix = shared_prefix(every)
        inner = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        if len(prefix) < SHORTEST_PREFIX or getattr(inner, "is_activation_checkpointing", False):
            return []
        self.prefix = prefix
        with torch.no_grad():
            layers = getattr(self._read_prefix(), "layers", None) or []
        return prefix if layers and all(type(layer).__name__ == "DynamicLayer" for layer in layers) else []

    def _read_prefix(self) -> Any:
        """A cache of one row."""
        some: dict[str, Any] = {"logits_to_keep": 1} if self.keeps else {}
        ids = torch.tensor([self.prefix], device=self.device)
        empty = whole_cache(self.model.config, max(len(row.ids) for row in self.examples))
        output = self.model(input_ids=ids, past_key_values=empty, use_cache=True, **some)
        return getattr(output, "past_key_values", None)


def soft_loss(logits: Tensor, rows: Sequence[Example]) -> Tensor:
    """Σ over learnt tokens of −Σ_v p_teacher(v) log p(v), on the teacher's likeliest tokens, renormalised.

    Cross-entropy to the teacher's distribution: its divergence up to a constant.
    """
    total = logits.new_zeros(())
    for number, row in enumerate(rows):
        assert row.soft is not None
        ids, log_p = (part.to(logits.device) for part in row.soft)
        own = logits[number, logits.shape[1] - len(row.learnt) :].log_softmax(-1).gather(1, ids)
        each = -(log_p.softmax(-1) * own).sum(-1)
        total = total + each[torch.tensor(row.learnt, device=logits.device)].sum()
    return total


def keeps_logits(model: Any) -> bool:
    """Whether the model can be asked for the last positions' logits alone."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(inner.forward).parameters
