"""Σ_i c_gi ΔW_i at work on a base, with coefficients c [groups, n] that may be learnt, and as the adapter it comes to.

A group is all modules, the modules of one layer, or one module. The update of a module runs through all units at once:
y += ((x Âᵀ) ∘ c) B̂ᵀ, each unit with its adapter's coefficient, so gradients reach the coefficients and nothing else.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from composition.merging.calibrated.updates import module_of
from composition.merging.core.cores import cores_of
from composition.merging.core.merge import cut, kept_rank, retained, tell_cut
from composition.merging.diagnostics import MergeResult, Report
from composition.merging.gram import grams
from composition.merging.units import Units, module_names, pool
from composition.merging.walk import Merged, walk
from composition.progress import Progress, ignore
from composition.recipes.merge.learned import ALL, LAYER, LearnedRecipe
from composition.weights import LoraWeights

NUMBER = re.compile(r"\.(\d+)\.")


class Mixture:
    """Adapters, their coefficients [groups, n] in float32, and each module's group."""

    def __init__(self, adapters: Sequence[LoraWeights], begin: Sequence[float], by: str = ALL) -> None:
        self.adapters = adapters
        self.names = module_names(adapters)
        keys = {name: _group(name, by) for name in self.names}
        self.groups = list(dict.fromkeys(keys.values()))
        self.group_of = {name: self.groups.index(key) for name, key in keys.items()}
        self.coefficients = torch.tensor(begin, dtype=torch.float32).repeat(len(self.groups), 1)

    @contextmanager
    def on(self, model: Any) -> Iterator[None]:
        """The base with the mixture's update at its modules, and no weight that needs a gradient, for a while."""
        wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        model.requires_grad_(False)
        with ExitStack() as stack:
            stack.callback(lambda: [p.requires_grad_(wanted[name]) for name, p in model.named_parameters()])
            for name in self.names:
                module = module_of(model, name)
                handle = module.register_forward_hook(self._adder(pool(self.adapters, name), module))
                stack.callback(handle.remove)
            yield

    def _adder(self, units: Units, module: nn.Module) -> Any:
        like, group = next(module.parameters()), self.group_of[units.module]
        A, B = (half.to(like.device, like.dtype) for half in units.stacked())
        owner = units.owner.to(like.device)

        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            each = self.coefficients[group].to(like.device, like.dtype)[owner]
            return output + ((inputs[0] @ A.mT) * each) @ B.mT

        return add

    def merged(self, recipe: LearnedRecipe, told: Mapping[str, Any], progress: Progress = ignore) -> MergeResult:
        """The adapter Σ c_gi ΔW_i, cut to the recipe's rank; its report has the coefficients and what is `told`."""
        values = self.coefficients.detach().double()

        def merge(group: list[Units], recipe: LearnedRecipe, report: Report) -> Merged:
            gram = grams(group, report.names)
            for m, units in enumerate(group):
                cores = cores_of(units, gram, m)
                core = cores.whole(values[self.group_of[units.module]])
                u, kept, v = cut(core, kept_rank(recipe, units))
                assert cores.lift is not None
                B, A = cores.lift(u, v)
                report.add_core(units, cores, u, v)
                tell_cut(report, units.module, kept, core)
                yield units, A, B

        result = walk(self.adapters, recipe, merge, said="Merged", summary=retained, progress=progress)
        result.report.update(told)
        result.report["coefficients"] = {key: row.tolist() for key, row in zip(self.groups, values, strict=True)}
        result.report["summary"]["coefficients"] = values.mean(0).tolist()
        return result


def _group(module: str, by: str) -> str:
    """What the modules of a group have in common."""
    found = NUMBER.search(module)
    if by == ALL:
        return ALL
    return (f"layer {found[1]}" if found else "other modules") if by == LAYER else module
