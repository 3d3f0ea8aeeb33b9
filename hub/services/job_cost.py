"""What a job costs: ranks and bytes of its result, seconds and memory to make it; estimates from header facts."""

from collections.abc import Sequence

from composition.facts import AdapterFacts
from composition.recipes import Recipe
from composition.registry import Method
from hub.models import BaseModel, Version
from hub.services import assembly_check, transfer_check

# Rough rates of one core, measured on merges of 8B-shaped adapters and on a 135M base in fp32; good to a factor of 3.
FLOPS = 2e10
BYTES_READ = 3e8
ROWS_A_SECOND = 4e8  # evaluated rows a second, times the base's parameters
SECONDS_TO_START = 1.0
ITEMSIZE = {"float32": 4, "float16": 2, "bfloat16": 2}


def estimate(
    method: Method, recipe: Recipe, inputs: Sequence[Version], datasets: Sequence[Version], base: BaseModel | None
) -> dict:
    """Ranks and bytes of the result; seconds and bytes of memory to make it."""
    if method.verb == "evaluate":
        rows = datasets[0].facts["splits"][recipe.split]
        rows = min(rows, recipe.limit) if recipe.limit else rows
        parameters = (base and base.parameters) or 1e8
        seconds = SECONDS_TO_START + rows * len(recipe.metrics) * parameters / ROWS_A_SECOND
        return {"bytes": 0, "seconds": round(seconds, 1), "memory": int(parameters * 4 * 1.3)}
    if method.verb in ("transfer", "discriminator"):
        return transfer_check.estimate(recipe, inputs, base)
    if method.verb == "try":
        parameters = (base and base.parameters) or 1e8
        tokens = recipe.max_new_tokens * (1 + recipe.compare + bool(recipe.context))
        return {"bytes": 0, "seconds": round(tokens * parameters * 2 / FLOPS, 1), "memory": int(parameters * 4 * 1.3)}
    if method.verb == "assemble":
        return assembly_check.estimate(recipe, inputs, datasets, base)
    facts = [AdapterFacts.from_dict(version.facts) for version in inputs]
    ranks = recipe.output_ranks([(str(v), f) for v, f in zip(inputs, facts, strict=True)])
    shapes = {name: module for fact in facts for name, module in fact.modules.items()}
    pooled = {name: sum(f.modules[name].r for f in facts if name in f.modules) for name in shapes}
    widths = {name: module.in_features + module.out_features for name, module in shapes.items()}
    dtype = getattr(recipe, "dtype", "float32")
    size = sum(ranks[name] * widths[name] for name in ranks) * ITEMSIZE.get(dtype, 4)
    flops = sum(4 * widths[name] * pooled[name] ** 2 for name in shapes)
    read = sum(fact.bytes for fact in facts)
    memory = max((pooled[name] * widths[name] * 8 + pooled[name] ** 2 * 32 for name in shapes), default=0)
    return {
        "ranks": ranks,
        "rank": max(ranks.values(), default=0),
        "bytes": size,
        "seconds": round(SECONDS_TO_START + flops / FLOPS + read / BYTES_READ + len(shapes) * 0.005, 1),
        "memory": memory,
    }
