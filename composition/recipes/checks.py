"""What every merge asks of its inputs, from header facts alone: mergeable, of one shape, enough of them.

Assembling checks the same things; `verb` begins the error codes and is the verb of the messages.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from composition.errors import CompositionError, RecipeError
from composition.recipes.base import Inputs

MERGE = "merge"
SMALLEST_WEIGHT, LARGEST_WEIGHT = 1e-6, 1e6
PAST = {MERGE: "merged", "assemble": "assembled", "transfer": "transferred"}


def check_count(inputs: Inputs, minimum: int, method: str, verb: str = MERGE) -> None:
    """At least `minimum` adapters."""
    if len(inputs) < minimum:
        raise CompositionError(
            f"{verb}.too_few_inputs",
            f"{method} needs at least {minimum} adapter{'s' * (minimum > 1)}, got {len(inputs)}. Add adapters.",
            given=len(inputs),
            minimum=minimum,
        )


def check_mergeable(inputs: Inputs, verb: str = MERGE) -> None:
    """No input may depend on the weights of its base (DoRA, PiSSA, modules_to_save, bias, ...)."""
    for name, facts in inputs:
        if facts.needs_base:
            need = facts.needs_base[0]
            raise CompositionError(
                f"{verb}.needs_base",
                f"{name} can't be {PAST[verb]}: {need['reason']} {need['do']}",
                adapter=name,
                needs_base=facts.needs_base,
            )
        if not facts.modules:
            raise CompositionError(
                f"{verb}.no_modules",
                f"{name} has no LoRA module, so there is nothing to {verb}. Choose another adapter.",
                adapter=name,
            )


def check_shapes(inputs: Inputs, verb: str = MERGE) -> None:
    """A module that two adapters share must have the same (in, out) in both; otherwise their bases differ."""
    first: dict[str, tuple[str, int, int]] = {}
    for name, facts in inputs:
        for module, shape in facts.modules.items():
            seen = first.setdefault(module, (name, shape.in_features, shape.out_features))
            if seen[1:] != (shape.in_features, shape.out_features):
                raise CompositionError(
                    f"{verb}.shapes_differ",
                    f"{module} is {seen[1]} → {seen[2]} features in {seen[0]} but {shape.in_features} → "
                    f"{shape.out_features} in {name}: they were trained on different base models. "
                    f"{verb.capitalize()} adapters of one base.",
                    module=module,
                    adapters=[seen[0], name],
                )


def check_weights(inputs: Inputs, weights: Sequence[float] | None) -> None:
    """One weight per adapter, none of them zero, or of a size that arithmetic drowns in."""
    if weights is None:
        return
    if len(weights) != len(inputs):
        raise RecipeError(
            "weights",
            f"Weights: got {len(weights)} for {len(inputs)} adapters. Give one weight for each, in their order.",
        )
    for (name, _), weight in zip(inputs, weights, strict=True):
        if weight == 0:
            raise RecipeError("weights", f"Weights: {name} has 0, which leaves it out. Remove it from the inputs.")
        if not SMALLEST_WEIGHT <= abs(weight) <= LARGEST_WEIGHT:
            raise RecipeError(
                "weights",
                f"Weights: {name} has {weight:g}; expected {SMALLEST_WEIGHT:g} to {LARGEST_WEIGHT:g} in size. Scale "
                "all weights alike.",
            )


def check_rank(inputs: Inputs, available: dict[str, int], rank: int) -> None:
    """At least one module must have `rank` units; modules with fewer keep what they have."""
    largest = max(available.values())
    if rank > largest:
        names = ", ".join(name for name, _ in inputs)
        raise RecipeError(
            "rank",
            f"Rank: {rank} is more than {names} have together: {largest} in their largest module. "
            f"Use at most {largest}.",
            largest=largest,
        )


def check_equal_ranks(
    inputs: Inputs, method: str = "a rank-wise average", do: str = "Use lego, svd or cat, which take any mix."
) -> None:
    """What works on A and B apart pairs the adapters' j-th ranks: a module must have one rank in all of them."""
    first: dict[str, tuple[str, int]] = {}
    for name, facts in inputs:
        for module, shape in facts.modules.items():
            other, rank = first.setdefault(module, (name, shape.r))
            if rank != shape.r:
                raise CompositionError(
                    "merge.ranks_differ",
                    f"{module} has rank {rank} in {other} but {shape.r} in {name}: {method} needs equal ranks. {do}",
                    module=module,
                    adapters=[other, name],
                    ranks=[rank, shape.r],
                )


def pooled_ranks(inputs: Inputs) -> dict[str, int]:
    """Σ r over the adapters that have the module, for every module that any adapter has, sorted by name."""
    pooled: dict[str, int] = {}
    for _, facts in inputs:
        for module, shape in facts.modules.items():
            pooled[module] = pooled.get(module, 0) + shape.r
    return dict(sorted(pooled.items()))


def common_ranks(inputs: Inputs) -> dict[str, int]:
    """The rank of every module that any adapter has, sorted by name, where all adapters agree on it."""
    return dict(sorted((module, shape.r) for _, facts in inputs for module, shape in facts.modules.items()))


def sides(inputs: Inputs) -> dict[str, int]:
    """min(in, out) for every module that any adapter has, sorted by name."""
    shapes = {module: shape for _, facts in inputs for module, shape in facts.modules.items()}
    return {module: min(shape.in_features, shape.out_features) for module, shape in sorted(shapes.items())}


def attainable_ranks(inputs: Inputs) -> dict[str, int]:
    """min(Σr, in, out), the highest rank that a combination of the updates can have, for every module."""
    shorter = sides(inputs)
    return {module: min(pooled, shorter[module]) for module, pooled in pooled_ranks(inputs).items()}


def check_names(inputs: Inputs) -> None:
    """Experts are told apart by name, so no name may appear twice."""
    twice = [name for name, count in Counter(name for name, _ in inputs).items() if count > 1]
    if twice:
        raise CompositionError(
            "assemble.named_twice",
            f"{', '.join(twice)} was given more than once; experts are told apart by name. Give each adapter once.",
            adapters=twice,
        )


def check_equal_dtypes(inputs: Inputs) -> None:
    """Adapters that are stacked unchanged must have one precision."""
    (first, facts), *others = inputs
    for name, other in others:
        if other.dtype != facts.dtype:
            raise CompositionError(
                "assemble.dtypes_differ",
                f"{first} is stored as {facts.dtype} and {name} as {other.dtype}, so they can't be stacked "
                "unchanged. Choose a precision for all of them (dtype=float32 keeps every value).",
                adapters=[first, name],
                dtypes=[facts.dtype, other.dtype],
            )


def check_labels(names: Sequence[str], rows: Mapping[str, int], method: str) -> None:
    """Data for every adapter and for nothing else."""
    missing = [name for name in names if name not in rows]
    if missing:
        raise CompositionError(
            "assemble.no_data",
            f"{', '.join(missing)} {'has' if len(missing) == 1 else 'have'} no data: {method} learns from labelled "
            "text which tokens each adapter should serve. Give one small dataset for each adapter, or choose "
            "train=prototype, which needs none.",
            adapters=missing,
        )
    unknown = [name for name in rows if name not in names]
    if unknown:
        raise CompositionError(
            "assemble.unknown_data",
            f"Data was given for {', '.join(unknown)}, but the adapters are {', '.join(names)}. "
            "Name the adapter that the data belongs to.",
            data=unknown,
        )
