"""Does a LoRA say what it does, and does it fit: its modules against its own config and against a base's shapes."""

from collections.abc import Iterable, Sequence

from composition.base_shapes import BaseShapes
from composition.errors import CompositionError
from composition.formats.peft.config import ALL_LINEAR, PeftConfig
from composition.formats.peft.matching import Picked, is_table, picked
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE
from composition.formats.peft.patterns import Budget
from composition.formats.peft.tensors import Pair, Tensors, check_pairs, first_three, is_target_parameter
from composition.formats.peft.whole import check_whole


def check_targets(found: Tensors, budget: Budget) -> None:
    """Every adapted module is a target, and every target is adapted somewhere; for a base that is not known.

    Raises `adapter.target_unexpected`, `adapter.target_missing`, `adapter.magnitude`.
    """
    config = found.config
    used: set[str] = set()
    unexpected = []
    for module in found.pairs:
        budget.spend()
        if config.targets(module):
            used.update(config.matching_targets(module))
        elif not is_target_parameter(module, config):
            unexpected.append(module)
    if unexpected:
        raise _unexpected(unexpected)
    missing = _unused(config, used)
    if missing:
        raise _missing(missing)
    check_magnitudes(found, config)


def _unused(config: PeftConfig, used: set[str]) -> list[str]:
    """The entries of target_modules that no module of the file matches."""
    declared = config.target_modules or ()
    if isinstance(declared, str):
        return [] if used or config.target_parameters else [declared]
    return sorted(set(declared) - used)


def _unexpected(modules: list[str]) -> CompositionError:
    return CompositionError(
        "adapter.target_unexpected",
        f"The weights adapt {first_three(modules)}, which target_modules of {CONFIG_FILE} does not name; peft "
        "would drop them. Push the config that the weights were saved with.",
        file=CONFIG_FILE,
        tensors=modules[:3],
        count=len(modules),
    )


def _missing(targets: list[str]) -> CompositionError:
    return CompositionError(
        "adapter.target_missing",
        f"target_modules of {CONFIG_FILE} names {first_three(targets)}, but no tensor adapts such a module. "
        "Push all of the weights, or take the name out of target_modules.",
        file=CONFIG_FILE,
        targets=targets[:3],
        count=len(targets),
    )


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


def check_base(found: Tensors, base: BaseShapes, budget: Budget) -> list[str]:
    """Peft fills all of it on this base: modules, names, targets, shapes, whole layers. Returns the warnings.

    `found.config` is the `effective` one. Shapes are [out, in] for linear layers, Conv1D turned the same way, and
    [entries, dim] for embeddings, so that `fan_in_fan_out` changes nothing here. Raises `adapter.module_unknown`,
    `.shape`, `.target_unexpected`, `.target_missing`, `.magnitude`, `.does_not_load`.
    """
    config = found.config
    if "layer_replication" in config.variants:
        check_pairs(found, budget, file=WEIGHTS_FILE)
        check_targets(found, budget)
        return ["The base's layers are replicated (layer_replication), so shapes were not checked against it."]
    chosen = picked(config, base, budget)
    found.parameters = chosen.parameters
    unknown = sorted(name for name in found.pairs if name not in base.layout.kinds and name not in chosen.parameters)
    if unknown:
        raise _no_module(unknown, base)
    check_pairs(found, budget, file=WEIGHTS_FILE)
    warnings = _check_targets_of_base(found, chosen)
    check_magnitudes(found, config)
    _check_shapes(found, chosen, base)
    return warnings + check_whole(found, base) + _unadapted(found, chosen)


def _no_module(unknown: list[str], base: BaseShapes) -> CompositionError:
    if all(name in base for name in unknown):
        told = (
            f"{first_three(unknown)} is no module of the base but a parameter that holds all experts, and these are "
            "not the factors that peft writes for one. Save the adapter with peft, by target_parameters, or one "
            "adapter for each expert as transformers 4 has them."
        )
    else:
        told = (
            f"The base has no module {first_three(unknown)}. Its modules are named like "
            f"{first_three(_examples(base, unknown))}. Choose the base that the adapter was trained on."
        )
    return CompositionError("adapter.module_unknown", told, tensors=unknown[:3], count=len(unknown))


def _check_targets_of_base(found: Tensors, chosen: Picked) -> list[str]:
    config = found.config
    unexpected = [name for name in found.pairs if name not in chosen.modules and name not in chosen.parameters]
    misnamed = [
        name
        for name, pair in found.pairs.items()
        if name in chosen.modules and pair.table > is_table(chosen.modules[name])
    ]
    if unexpected or misnamed:
        raise _unexpected(unexpected or misnamed)
    used = {entry for name in found.pairs for entry in config.matching_targets(name)}
    unused = _unused(config, used)
    there = {entry for name in chosen.modules for entry in config.matching_targets(name)}
    untrained = [entry for entry in unused if entry in there]
    if untrained:
        raise _missing(untrained)
    if not unused:
        return []
    return [f"target_modules names {first_three(unused)}, which no module of the base matches; peft passes over it."]


def _check_shapes(found: Tensors, chosen: Picked, base: BaseShapes) -> None:
    wrong = []
    for name, pair in found.pairs.items():
        assert pair.A is not None
        assert pair.B is not None
        parameter = chosen.parameters.get(name)
        if parameter:
            given, allowed = [pair.B.shape[0], pair.A.shape[1]], parameter.changes()
        else:
            given, expected = _shapes_of(pair, base[name], found.config)
            allowed = [expected]
        if given not in allowed:
            wrong.append({"module": name, "given": given, "expected": allowed[0]})
    if wrong:
        told = "; ".join(f"{entry['module']} is {entry['given']}, expected {entry['expected']}" for entry in wrong[:3])
        raise CompositionError(
            "adapter.shape",
            f"{len(wrong)} modules do not fit the base, given as [out, in] of B @ A: {told}. "
            "Choose the base that the adapter was trained on.",
            tensors=wrong[:3],
            count=len(wrong),
        )


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


def _unadapted(found: Tensors, chosen: Picked) -> list[str]:
    """Peft adapts every match in the base; where the file lacks some, they stay as they are.

    With `init_lora_weights` false they would not: peft fills them at random. Raises `adapter.target_missing` then.
    """
    config = found.config
    absent = sorted({*chosen.modules, *chosen.parameters} - set(found.pairs))
    random = config.init_lora_weights is False
    if not absent or not (random or _told(config)):
        return []
    if random:
        raise CompositionError(
            "adapter.target_missing",
            f"{len(absent)} modules that {CONFIG_FILE} picks have no factors ({first_three(absent)}), and with "
            "init_lora_weights false peft would fill them at random. Set it to true, or push all of the weights.",
            file=CONFIG_FILE,
            targets=absent[:3],
            count=len(absent),
        )
    return [
        f"{len(absent)} modules that target_modules picks have no factors and stay unchanged: {first_three(absent)}."
    ]


def _told(config: PeftConfig) -> bool:
    targets = config.target_modules
    return not (isinstance(targets, str) and targets.lower() == ALL_LINEAR)


def _examples(shapes: Iterable[str], unknown: list[str]) -> list[str]:
    """Names of the base that end like the unknown ones, or any."""
    last = unknown[0].rpartition(".")[2]
    return [name for name in shapes if name.endswith(f".{last}")][:2] or list(shapes)[:2]
