"""The rows of the formats that are imported: each a module with `LABEL`, `detect`, `base_of` and `plan`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

from composition.facts import AdapterFacts
from composition.formats.foreign import gguf, grouped, megatron, mistral, mlx, sharded, torchtune
from composition.formats.foreign.image import diffusers, kohya
from composition.formats.foreign.plan import Base, made_in_memory
from composition.formats.gate import check_content
from composition.formats.peft.files import is_content, validate_peft
from composition.formats.peft.names import CONFIG_FILE
from composition.formats.sources import Files
from composition.formats.table import ADAPTER, Format

MODULES: dict[str, ModuleType] = {
    "diffusers": diffusers,
    "gguf": gguf,
    "grouped": grouped,
    "kohya": kohya,
    "megatron": megatron,
    "mistral": mistral,
    "mlx": mlx,
    "sharded": sharded,
    "torchtune": torchtune,
}


def validate_made(files: Files, module: ModuleType, base_shapes: Mapping[str, Sequence[int]] | None) -> AdapterFacts:
    """The facts of the PEFT adapter that the folder makes, in memory. Raises `import.*` and what PEFT's row raises."""
    check_content(files)
    plan = module.plan(files, Base.of(base_shapes))
    facts = validate_peft(made_in_memory(plan, files), base_shapes=base_shapes)
    named = module.base_of(files)
    return replace(
        facts,
        base_model_name=named.name if named else None,
        warnings=[imported_from(plan), *plan.warnings, *facts.warnings],
    )


def imported_from(plan: Any) -> str:
    """The sentence that says where a version comes from."""
    return f"Imported from {plan.label}: the files as they were pushed are in original/."


def _row(name: str, module: ModuleType) -> Format:
    def validate(files: Files, *, base_shapes: Mapping[str, Sequence[int]] | None = None) -> AdapterFacts:
        return validate_made(files, module, base_shapes)

    return Format(
        name=name,
        label=module.LABEL,
        holds=ADAPTER,
        detect=module.detect,
        validate=validate,
        content=is_content,
        config=CONFIG_FILE,
        base_of=module.base_of,
        read=f"composition.formats.foreign.read:read_{name}",
        by_base=True,
        convert=f"{module.__name__}:plan",
        merges=True,
    )


ROWS = tuple(_row(name, module) for name, module in MODULES.items())
