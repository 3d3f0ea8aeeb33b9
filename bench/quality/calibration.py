"""Gram matrices of every module's inputs under each task's own adapter, and what merges make of them.

    G_i = Σ x xᵀ over the tokens of a task's rows, prompt and answer, as they reach the module under adapter i
    G_i ← α G_i + (1 − α) diag(G_i)                     RegMean's damping (Jin et al., 2023, arXiv:2212.09849, §4)
    W*  = Σ_i ΔW_i G_i (Σ_i G_i)⁻¹ = Σ_i s_i B_i · A_i G_i (Σ_i G_i)⁻¹

minimises Σ_i tr((W − ΔW_i) G_i (W − ΔW_i)ᵀ). Only the A halves change, and the rank is Σr. Of the G_i only A_i G_i and
their sum are kept. With Σ_i G_i = L Lᵀ that objective is ‖(W − W*) L‖² and a constant, so its best matrix of rank k
is the truncated SVD of W* L, times L⁻¹. L is (Σ_i G_i)^½ but for a rotation, which no distance sees.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from composition.running.prompting import Prompting, left_pad, positions
from composition.weights import Factors, LoraWeights

from .measuring import Row

DAMPING = 0.9
RIDGE = 1e-4
"""Of the mean of the diagonal, added to it."""


@dataclass
class Calibration:
    """Σ_i G_i, damped, by the first module of those that read one input; whose input each module reads; A_i G_i."""

    total: dict[str, Tensor]
    reads: dict[str, str]
    moved: list[dict[str, Tensor]]
    found: dict[str, Tensor] = field(default_factory=dict)

    def gram(self, module: str) -> Tensor:
        """Σ_i G_i [in, in] and a ridge, float64."""
        gram = self.total[self.reads[module]].double()
        return gram + RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)

    def lower(self, module: str) -> Tensor:
        """L of Σ_i G_i = L Lᵀ, float64; kept for the modules that follow."""
        source = self.reads[module]
        if source not in self.found:
            self.found[source] = torch.linalg.cholesky(self.gram(module)).float()
        return self.found[source].double()

    def save(self, path: Path) -> None:
        tensors = {f"total.{module}": gram for module, gram in self.total.items()}
        tensors |= {f"{n}.{module}": part for n, own in enumerate(self.moved) for module, part in own.items()}
        save_file(tensors, path, metadata=self.reads)

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        with safe_open(path, framework="pt") as file:
            reads = dict(file.metadata())
            parts: dict[str, dict[str, Tensor]] = {}
            for key in file.keys():  # noqa: SIM118
                place, _, module = key.partition(".")
                parts.setdefault(place, {})[module] = file.get_tensor(key)
        total = parts.pop("total")
        return cls(total, reads, [parts[str(n)] for n in range(len(parts))])


def input_grams(
    model: Any, tokenizer: Any, rows: Sequence[Row], modules: Sequence[str], *, bf16: bool = False
) -> dict[str, Tensor]:
    """{module: X Xᵀ [in, in] in float32}, X the inputs of `rows`' tokens; modules with one input share a tensor."""
    prompting = Prompting(tokenizer, model.generation_config)
    encoded = sorted((prompting.row(row) for row in rows), key=lambda row: len(row.prompt))
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    found: dict[str, Tensor] = {}
    kept = torch.empty(0)
    last: dict[str, Any] = {}

    def hook(name: str) -> Any:
        def add(_: Any, inputs: tuple[Tensor, ...]) -> None:
            if last.get("input") is inputs[0]:  # q, k and v read one input, and so do gate and up
                found[name] = found[last["name"]]
                return
            last.update(input=inputs[0], name=name)
            with torch.autocast("cpu", enabled=False):
                x = inputs[0].float()[kept]
                found[name] = found[name].addmm_(x.mT, x) if name in found else x.mT @ x

        return add

    hooks = [base.get_submodule(name).register_forward_pre_hook(hook(name)) for name in modules]
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            for start in range(0, len(encoded), 16):
                ids, mask = left_pad([row.prompt + row.completion for row in encoded[start : start + 16]], 0)
                kept = mask.bool()
                model(ids, attention_mask=mask, position_ids=positions(mask), logits_to_keep=1)
    finally:
        for one in hooks:
            one.remove()
    return found


def calibrate(adapters: Sequence[LoraWeights], grams: Iterable[Mapping[str, Tensor]], damping: float) -> Calibration:
    """Put the tasks' Grams together. `grams` may be a generator: one task's are held at a time."""
    total: dict[str, Tensor] = {}
    reads: dict[str, str] = {}
    moved = []
    for adapter, found in zip(adapters, grams, strict=True):
        first: dict[int, str] = {}
        own = {}
        for module in adapter:
            reads[module] = first.setdefault(id(found[module]), module)
            gram = damping * found[module] + (1 - damping) * torch.diag(found[module].diagonal())
            own[module] = (adapter[module].A.double() @ gram.double()).float()
            if reads[module] == module:
                total[module] = total[module] + gram if module in total else gram
        moved.append(own)
    return Calibration(total, reads, moved)


def regmean(adapters: Sequence[LoraWeights], facts: Calibration) -> LoraWeights:
    """W* at rank Σr."""
    modules = {}
    for module in adapters[0]:
        stacked = torch.cat([own[module] for own in facts.moved]).double()
        A = torch.cholesky_solve(stacked.mT, facts.lower(module)).mT
        B = torch.cat([a[module].B.double() * a[module].scale for a in adapters], 1)
        modules[module] = Factors(A.float(), B.float())
    return alike(adapters[0], modules)


def in_metric(adapter: LoraWeights, facts: Calibration, *, back: bool = False) -> LoraWeights:
    """The adapter with A L in place of A, or `back` with A L⁻¹."""
    modules = {}
    for module in adapter:
        factors, lower = adapter[module], facts.lower(module)
        A = factors.A.double()
        A = torch.linalg.solve_triangular(lower, A, upper=False, left=False) if back else A @ lower
        modules[module] = Factors(A.float(), factors.B.float(), factors.scale)
    return alike(adapter, modules)


def alike(adapter: LoraWeights, modules: Mapping[str, Factors]) -> LoraWeights:
    """Other factors under the adapter's names."""
    return LoraWeights(
        modules, base_model=adapter.base_model, task_type=adapter.task_type, target_modules=adapter.target_modules
    )
