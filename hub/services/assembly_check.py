"""What a mixture asks of the data its router learns from, and what assembling costs, before anything is queued."""

from collections.abc import Sequence

from composition.recipes import AssembleRecipe
from hub.errors import Invalid
from hub.models import BaseModel, Version
from hub.services import assembly_growth
from hub.services.content.dataset_rows import prompt_rows

# Rough, for one core and fp32: floating-point operations a second in training, tokens of a row.
FLOPS = 8e10
TOKENS = 64
ROUTER = "a router"
ROUTED = 32  # rows of each task that the routing report reads


def check_data(recipe: AssembleRecipe, inputs: Sequence[Version], datasets: Sequence[Version]) -> None:
    """Refuse datasets that don't suit: too many, without the split, empty, or missing where the router learns."""
    if datasets and not recipe.trains:
        raise Invalid("train=prototype learns from no data. Leave the datasets out.", field="datasets")
    names = [name for name, _ in assembly_growth.experts(recipe.kind, inputs)]
    if recipe.needs_labels and len(datasets) > len(names):
        raise Invalid(
            f"{recipe.name} takes one dataset for each adapter, in their order: {len(names)}, got {len(datasets)}.",
            field="datasets",
        )
    counts = [prompt_rows(dataset, recipe.split, ROUTER) for dataset in datasets]
    labels = names if recipe.needs_labels else [str(dataset) for dataset in datasets]
    recipe.check_data(names, dict(zip(labels, counts, strict=False)))


def estimate(
    recipe: AssembleRecipe, inputs: Sequence[Version], datasets: Sequence[Version], base: BaseModel | None
) -> dict:
    """Ranks and bytes of the result; seconds and bytes of memory to make it."""
    facts = assembly_growth.experts(recipe.kind, inputs)
    ranks = recipe.output_ranks(facts)
    widths = {name: module.in_features for _, fact in facts for name, module in fact.modules.items()}
    rows = len(facts) if recipe.needs_labels else 0
    gates = sum(4 * width * (rows or ranks[name]) for name, width in widths.items())
    size = sum(assembly_growth.facts_of(version).bytes for version in inputs) + gates
    parameters = (base and base.parameters) or 1e8
    seconds = 5.0
    if recipe.trains:
        counts = [prompt_rows(dataset, recipe.split, ROUTER) for dataset in datasets]
        # A row costs three forward passes in training; held-out rows are read before and after, some more for routing.
        trained = recipe.steps_for(sum(counts)) * recipe.batch_size
        read = 2 * recipe.holdout * sum(counts) + sum(min(count, ROUTED) for count in counts)
        seconds += (3 * trained + read) * TOKENS * parameters * 2 / FLOPS
    return {
        "ranks": ranks,
        "rank": max(ranks.values(), default=0),
        "bytes": size,
        "seconds": round(seconds, 1),
        "memory": int(parameters * 4 * 1.5 + size * 4),
    }
