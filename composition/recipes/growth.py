"""Adapters that join a mixture: what the recipe takes from its config, and what can't join. Torch-free.

The first of an assembling job's inputs may be a mixture. It then stands for its experts, which stay in their places;
the other inputs are stacked after them, and the router continues from its trained state.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from composition.errors import CompositionError
from composition.facts import AdapterFacts, ModuleFacts
from composition.formats.mixture.config import AssemblyConfig
from composition.recipes.assemble import PROTOTYPE, AssembleRecipe
from composition.recipes.moe import MeteoraRecipe, SmoraRecipe

RECIPES: dict[str, type[AssembleRecipe]] = {"METEORA": MeteoraRecipe, "SMORA": SmoraRecipe}
ROUTING = {
    "METEORA": ("top_k", "router_temperature"),
    "SMORA": ("activate_r", "rank_partition", "rank_basis", "bias_in_gate"),
}


def routing_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's fields that an `adapter_config.json` decides: stage and routing."""
    return {"train": raw["trained"], **{name: raw[name] for name in ROUTING[raw["peft_type"]] if name in raw}}


def expert_facts(config: AssemblyConfig, facts: AdapterFacts) -> list[tuple[str, AdapterFacts]]:
    """(name, facts) of each expert of a mixture with these facts; its factors outweigh its gates in `facts.dtype`."""
    found: list[tuple[str, AdapterFacts]] = []
    for number, name in enumerate(config.names):
        modules = {}
        for module, whole in facts.modules.items():
            r, scale = config.ranks(module)[number], config.scales(module)[number]
            if r:
                modules[module] = ModuleFacts(
                    r=r, in_features=whole.in_features, out_features=whole.out_features, scale=scale
                )
        own = replace(facts, peft_type="LORA", modules=modules, needs_base=[], warnings=[])
        found.append((name, own))
    return found


def check_growth(name: str, config: AssemblyConfig, recipe: AssembleRecipe) -> None:
    """Refuse a recipe that can't go on with the mixture `name`: `assemble.other_method`, `assemble.trained_before`."""
    own = RECIPES[config.peft_type]
    if not isinstance(recipe, own):
        raise CompositionError(
            "assemble.other_method",
            f"{name} is a {own.name} mixture, but the recipe is {recipe.name}'s. Use {own.kind}.",
        )
    if isinstance(recipe, SmoraRecipe) and recipe.rank_partition != config.partition:
        raise CompositionError(
            "assemble.other_method",
            f"{name} has one router row for {config.partition} ranks, but the recipe asks for "
            f"{recipe.rank_partition}. Use rank_partition={config.partition}.",
        )
    if not recipe.trains and config.raw["trained"] != PROTOTYPE:
        raise CompositionError(
            "assemble.trained_before",
            f"The router of {name} was trained, so a new expert's row must be trained too. "
            "Choose train=router and give data for every expert.",
        )
