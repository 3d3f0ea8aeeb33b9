"""Adding adapters to an assembly: its trained gates stay, each new expert gets a row from its prototype.

The new rows are as long as the old ones are on average, so that an adapter joins as an equal; a brief training
(`train_assembly`, on data for all experts) then finds its place. Experts that are there are cut out and stacked again
with their own bits. An assembly of prototypes, which was never trained, grows without data.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from composition.formats.mixture.config import read_assembly_config
from composition.moe import prototypes
from composition.moe.assemble import Assembly, Entry, Source, make_config, stack
from composition.moe.unstack import StoredAssembly, experts_of
from composition.recipes import AssembleRecipe, SmoraRecipe
from composition.recipes.growth import RECIPES, check_growth, routing_of
from composition.weights import LoraWeights

OWN = ("name", "r", "lora_alpha", "use_rslora", "scale")


def recipe_of(folder: str | Path, **changes: Any) -> AssembleRecipe:
    """The recipe that goes on with an assembly: its method, routing and stage, with `changes` (steps, train, …)."""
    raw = read_assembly_config(Path(folder)).raw
    return RECIPES[raw["peft_type"]](**{**routing_of(raw), **changes})


def add_experts(
    folder: str | Path, adapters: Sequence[LoraWeights], recipe: AssembleRecipe, *, sources: Sequence[Source] = ()
) -> Assembly:
    """The assembly in `folder` with these adapters as further experts, behind its own; a draft unless all prototype.

    Raises CompositionError `assemble.other_method`, `assemble.trained_before`, and what assembling raises.
    """
    stored = StoredAssembly(folder)
    check_growth(stored.folder.name, stored.config, recipe)
    if isinstance(recipe, SmoraRecipe) and recipe.rank_basis == "svd":
        adapters = [prototypes.in_svd_basis(adapter) for adapter in adapters]
    count = len(stored.config.experts)
    everyone = [*experts_of(folder), *adapters]
    names = [*stored.config.names, *(a.name or f"adapter {count + i}" for i, a in enumerate(adapters, 1))]
    recipe.check([(name, expert.facts()) for name, expert in zip(names, everyone, strict=True)])
    known = [{key: value for key, value in row.items() if key not in OWN} for row in stored.config.experts]
    config = make_config(everyone, recipe, names, [*known, *(sources or [{}] * len(adapters))])
    config["router_abs"] = stored.config.raw.get("router_abs", False)
    config["target_modules"] = _targets(stored, adapters) or config["target_modules"]
    assembly = stack(everyone, config, recipe, partial(_gate, stored, adapters, recipe))
    for module in stored.modules if stored.config.peft_type == "SMORA" else []:
        key = stored.config.key(module, "bias")
        entry = assembly.entries[key]
        assembly.entries[key] = Entry(entry.shape, entry.dtype, partial(_bias, stored, module, entry.shape[0]))
    return assembly


def _gate(stored: StoredAssembly, adapters: Sequence[LoraWeights], recipe: AssembleRecipe, module: str) -> Tensor:
    """[rows, in] float32: the gate that is there, then prototypes of the new experts."""
    there = module in stored.modules
    here = any(module in adapter for adapter in adapters)
    old = stored.tensor(module, "gate").float() if there else None
    if isinstance(recipe, SmoraRecipe):
        new = prototypes.rank_gate(adapters, module, recipe.rank_partition) if here else None
    elif here:
        new = prototypes.expert_gate(adapters, module)
    else:
        assert old is not None
        new = torch.zeros(len(adapters), old.shape[1])
    if old is None:
        assert new is not None
        rows = 0 if isinstance(recipe, SmoraRecipe) else len(stored.config.experts)
        old = torch.zeros(rows, new.shape[1])
    elif new is not None and stored.config.raw["trained"] != "prototype":
        new = new * old.norm(dim=1).mean()
    return old if new is None else torch.cat([old, new])


def _bias(stored: StoredAssembly, module: str, total: int) -> Tensor:
    old = stored.tensor(module, "bias").float()
    return torch.cat([old, torch.zeros(total - len(old))])


def _targets(stored: StoredAssembly, adapters: Sequence[LoraWeights]) -> list[str] | None:
    """Suffixes, where both the assembly and the new adapters name their modules by suffixes."""
    own = stored.config.raw.get("target_modules")
    if not isinstance(own, list) or set(own) & set(stored.modules):
        return None
    suffixes = [adapter.target_modules for adapter in adapters]
    return sorted({*own, *(s for some in suffixes for s in some or ())}) if all(suffixes) else None
