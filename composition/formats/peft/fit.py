"""Does a LoRA say what it does, and does it fit: its modules against its own config and against a base's shapes."""

from collections.abc import Mapping, Sequence

from composition.errors import CompositionError
from composition.formats.peft.config import ALL_LINEAR, PeftConfig
from composition.formats.peft.names import CONFIG_FILE
from composition.formats.peft.patterns import Budget
from composition.formats.peft.tensors import Pair, Tensors, first_three, is_target_parameter

Shapes = Mapping[str, Sequence[int]]


def check_targets(found: Tensors, config: PeftConfig, budget: Budget) -> None:
    """Every adapted module is a target, and every target is adapted somewhere.

    Raises `adapter.target_unexpected`, `adapter.target_missing`, `adapter.magnitude`.
    """
    used: set[str] = set()
    unexpected = []
    for module in found.pairs:
        budget.spend()
        if config.targets(module):
            used.update(config.matching_targets(module))
        elif not is_target_parameter(module, config):
            unexpected.append(module)
    if unexpected:
        raise CompositionError(
            "adapter.target_unexpected",
            f"The weights adapt {first_three(unexpected)}, which target_modules of {CONFIG_FILE} does not name; peft "
            "would drop them. Push the config that the weights were saved with.",
            file=CONFIG_FILE,
            tensors=unexpected[:3],
            count=len(unexpected),
        )
    declared = config.target_modules or ()
    missing = sorted({declared} - used if isinstance(declared, str) else set(declared) - used)
    if missing and not (isinstance(declared, str) and config.target_parameters):
        raise CompositionError(
            "adapter.target_missing",
            f"target_modules of {CONFIG_FILE} names {first_three(missing)}, but no tensor adapts such a module. "
            "Push all of the weights, or take the name out of target_modules.",
            file=CONFIG_FILE,
            targets=missing[:3],
            count=len(missing),
        )
    check_magnitudes(found, config)


def check_magnitudes(found: Tensors, config: PeftConfig) -> None:
    """DoRA needs a magnitude for each module. Raises `adapter.magnitude`."""
    lacking = sorted(set(found.pairs) - found.magnitudes) if "dora" in config.variants else []
    if lacking:
        raise CompositionError(
            "adapter.magnitude",
            f"{CONFIG_FILE} says use_dora, but {first_three(lacking)} has no lora_magnitude_vector. Save it again.",
            file=CONFIG_FILE,
            tensors=lacking[:3],
        )


def check_base(found: Tensors, config: PeftConfig, shapes: Shapes, budget: Budget) -> list[str]:
    """Every module is in the base and of its shape; warnings for targets of the base that are left unadapted.

    `shapes` gives [out, in] for linear layers, Conv1D turned the same way, and [entries, dim] for embeddings, so that
    `fan_in_fan_out` changes nothing here. Raises `adapter.module_unknown`, `adapter.shape`.
    """
    if "layer_replication" in config.variants:
        return ["The base's layers are replicated (layer_replication), so shapes were not checked against it."]
    linear = {name: pair for name, pair in found.pairs.items() if not is_target_parameter(name, config)}
    unknown = sorted(name for name in linear if name not in shapes)
    if unknown:
        raise CompositionError(
            "adapter.module_unknown",
            f"The base has no module {first_three(unknown)}. Its modules are named like "
            f"{first_three(_examples(shapes, unknown))}. Choose the base that the adapter was trained on.",
            tensors=unknown[:3],
            count=len(unknown),
        )
    wrong = []
    for name, pair in linear.items():
        given, expected = _shapes_of(pair, shapes[name], config)
        if given != expected:
            wrong.append({"module": name, "given": given, "expected": expected})
    if wrong:
        told = "; ".join(f"{entry['module']} is {entry['given']}, expected {entry['expected']}" for entry in wrong[:3])
        raise CompositionError(
            "adapter.shape",
            f"{len(wrong)} modules do not fit the base, given as [out, in] of B @ A: {told}. "
            "Choose the base that the adapter was trained on.",
            tensors=wrong[:3],
            count=len(wrong),
        )
    return _unadapted(found, config, shapes, budget)


def _shapes_of(pair: Pair, base: Sequence[int], config: PeftConfig) -> tuple[list[int], list[int]]:
    """The change's shape and the base's, both as the base stores it."""
    assert pair.A is not None
    assert pair.B is not None
    a, b = pair.A.shape, pair.B.shape
    if pair.table:
        return [a[1], b[0]], list(base)
    if len(a) > 2:
        grouped = len(base) == len(a) and base[1] > 0 and a[1] % base[1] == 0
        return [b[0], base[1] if grouped else a[1], *a[2:]], list(base)
    if "qalora" in config.variants:
        group = config.raw.get("qalora_group_size", 16)
        return [b[0], a[1] * group if isinstance(group, int) else a[1]], list(base)
    return [b[0], a[1]], list(base)


def _unadapted(found: Tensors, config: PeftConfig, shapes: Shapes, budget: Budget) -> list[str]:
    """peft adapts every match in the base; where the file lacks some, they stay as they are."""
    targets = config.target_modules
    if targets is None or (isinstance(targets, str) and targets.lower() == ALL_LINEAR):
        return []
    absent = []
    for name, shape in shapes.items():
        budget.spend()
        if len(shape) == 2 and name not in found.pairs and config.targets(name):
            absent.append(name)
    if not absent:
        return []
    return [
        f"{len(absent)} modules that target_modules picks have no factors and stay unchanged: {first_three(absent)}."
    ]


def _examples(shapes: Shapes, unknown: list[str]) -> list[str]:
    """Names of the base that end like the unknown ones, or any."""
    last = unknown[0].rpartition(".")[2]
    return [name for name in shapes if name.endswith(f".{last}")][:2] or list(shapes)[:2]
