"""What the door makes of a LoRA's tensors: right as they are, right under other names, or wrong. Torch-free.

"Right" means that peft 0.21 fills a factor of the base with every tensor: its names, its config's targets and its
shapes are followed as peft follows them (`landing`, `matching`, `fit`).
"""

from dataclasses import replace

from composition.base_shapes import BaseShapes
from composition.errors import CompositionError
from composition.formats.peft import fit
from composition.formats.peft.config import PeftConfig
from composition.formats.peft.matching import effective
from composition.formats.peft.names import WEIGHTS_FILE
from composition.formats.peft.patterns import Budget, check_names
from composition.formats.peft.renaming import Renaming, renamings
from composition.formats.peft.tensors import Tensors, check_pairs, sort_tensors
from composition.formats.safetensors_header import SafetensorsHeader

MISNAMED = frozenset(
    f"adapter.{code}" for code in ("names", "tensor_unknown", "module_unknown", "target_unexpected", "target_missing")
)
"""Refusals whose cause may be the tensors' names alone."""


def check_lora(header: SafetensorsHeader, config: PeftConfig, base: BaseShapes | None, warnings: list[str]) -> Tensors:
    """The factors of a LoRA, checked against its config and, where it is known, its base.

    Raises `adapter.*`; `adapter.names` where other names would make all of it right, with the steps (`renaming`).
    """
    check_names(config.expressions, max(map(len, header.tensors)))
    budget = Budget()
    try:
        return _judge(header, config, base, warnings, budget)
    except CompositionError as refusal:
        if refusal.code not in MISNAMED:
            raise
        found = _on_encoder(header, config, base, warnings, budget)
        if found is not None:
            return found
        for renaming in renamings(header.tensors, () if base is None else base):
            if _mends(renaming, header, config, base, budget):
                raise _names(renaming, header) from refusal
        raise


def _judge(
    header: SafetensorsHeader, config: PeftConfig, base: BaseShapes | None, warnings: list[str], budget: Budget
) -> Tensors:
    found = sort_tensors(header, config, budget, file=WEIGHTS_FILE, base=base)
    if base is None:
        check_pairs(found, budget, file=WEIGHTS_FILE)
        fit.check_targets(found, budget)
        return found
    found.config = effective(config, base)
    told = fit.check_base(found, base, budget)
    warnings += told
    return found


def _on_encoder(
    header: SafetensorsHeader, config: PeftConfig, base: BaseShapes | None, warnings: list[str], budget: Budget
) -> Tensors | None:
    """A feature extractor's factors on the base without its head, as AutoModel loads it, by the base's own names."""
    encoder = base.without_head() if base is not None and config.task_type == "FEATURE_EXTRACTION" else None
    if encoder is None or base is None:
        return None
    told: list[str] = []
    try:
        found = _judge(header, config, encoder, told, budget)
    except CompositionError:
        return None
    start = f"{base.layout.prefix}."
    warnings += [
        *told,
        f"The names are those of the model without its head. Load the base with AutoModel; on the whole model, where "
        f"it is {start.rstrip('.')}, peft loads nothing of it.",
    ]
    found.pairs = {f"{start}{name}": pair for name, pair in found.pairs.items()}
    found.parameters = {f"{start}{name}": parameter for name, parameter in found.parameters.items()}
    return found


def _mends(
    renaming: Renaming, header: SafetensorsHeader, config: PeftConfig, base: BaseShapes | None, budget: Budget
) -> bool:
    """Whether all is right under the new names."""
    names = {name: renaming(name) for name in header.tensors}
    if len(set(names.values())) != len(names):
        return False
    tensors = {names[name]: tensor for name, tensor in header.tensors.items()}
    try:
        _judge(replace(header, tensors=tensors), config, base, [], budget)
    except CompositionError:
        return False
    return True


def _names(renaming: Renaming, header: SafetensorsHeader) -> CompositionError:
    old = next(name for name in header.tensors if renaming(name) != name)
    return CompositionError(
        "adapter.names",
        f"peft would not load {WEIGHTS_FILE} under the names of its tensors: {renaming.told()}. An example is "
        f"{old}; the name that peft asks for is {renaming(old)}. "
        "This mends it in a copy and pushes that: hubctl push FOLDER NAME --rename",
        file=WEIGHTS_FILE,
        found=[word for word, _ in renaming.found],
        rename=[dict(step) for step in renaming.steps],
        example=[old, renaming(old)],
        tensors=[old],
    )
