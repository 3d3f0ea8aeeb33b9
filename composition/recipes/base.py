"""The recipe's frame: fields that describe themselves, refuse bad values by name, and travel as JSON.

A field is declared with `option(...)`: its metadata carry type, label, help and bounds. The same metadata check the
value, draw the form, make the REST schema and the CLI option, so a new method needs no new page.

Field types: integer, number, boolean, choice, string, numbers (a list of numbers), choices (a list from `choices`).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from composition.errors import RecipeError
from composition.facts import AdapterFacts
from composition.formats.strict_json import shorten

Inputs = Sequence[tuple[str, AdapterFacts]]


def option(
    type: str,
    *,
    label: str,
    help: str,
    default: Any = dataclasses.MISSING,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """Declare a recipe field; without `default` it is required, with `default=None` it may be left empty."""
    metadata = {
        "type": type,
        "label": label,
        "help": help,
        "minimum": minimum,
        "maximum": maximum,
        "choices": list(choices),
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Base of all recipes: `kind` names the method, `version` changes when a recipe's meaning does.

    `earlier`: version → what the fields that it lacked meant then, so that stored recipes mean what they meant.
    """

    kind: ClassVar[str] = ""
    version: ClassVar[int] = 1
    earlier: ClassVar[Mapping[int, Mapping[str, Any]]] = {}

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))

    def to_dict(self) -> dict[str, Any]:
        """JSON form: {"kind", "version", every field}; `recipe_from_dict` is its inverse."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {"kind": self.kind, "version": self.version, **plain}

    @classmethod
    def knows(cls, data: Mapping[str, Any]) -> bool:
        """Whether it is known what a stored recipe of this kind, {"version", fields}, meant when it was written."""
        version = data.get("version", cls.version)
        return type(version) is int and version in (cls.version, *cls.earlier)

    def check(self, inputs: Inputs) -> None:
        """Raise CompositionError, naming adapter and module, if these (name, facts) inputs can't be used."""

    def settled(self, inputs: Inputs) -> Self:
        """The recipe with what these inputs decide filled in, after they were checked: a stored recipe says all."""
        return self

    def output_ranks(self, inputs: Inputs) -> dict[str, int]:
        """Rank of every module of the result; empty for recipes that make no adapter."""
        return {}


def recipe_fields(cls: type[Recipe]) -> list[dict[str, Any]]:
    """The fields as plain dicts: name, type, label, help, default, required, minimum, maximum, choices."""
    rows = []
    for field in dataclasses.fields(cls):
        required = field.default is dataclasses.MISSING
        default = None if required else field.default
        rows.append(
            {
                "name": field.name,
                **field.metadata,
                "default": list(default) if isinstance(default, tuple) else default,
                "required": required,
            }
        )
    return rows


def _checked(field: dataclasses.Field, value: Any) -> Any:
    """The value in its canonical form (tuples for lists, float for numbers), or RecipeError."""
    rule = field.metadata
    if value is None:
        if field.default is None:
            return None
        raise RecipeError(field.name, f"{rule['label']} is missing: {rule['help']}")
    match rule["type"]:
        case "integer":
            return _bounded(field, _integer(field, value))
        case "number":
            return _bounded(field, _number(field, value))
        case "numbers":
            return tuple(_bounded(field, _number(field, item)) for item in _listed(field, value))
        case "boolean":
            if not isinstance(value, bool):
                raise _wrong(field, value, "true or false")
        case "choice":
            if value not in rule["choices"]:
                raise _wrong(field, value, f"one of {', '.join(rule['choices'])}")
        case "choices":
            items = tuple(_listed(field, value))
            unknown = [item for item in items if item not in rule["choices"]]
            if unknown or not items or len(set(items)) != len(items):
                raise _wrong(field, value, f"at least one of {', '.join(rule['choices'])}, each once")
            return items
        case "string":
            if not isinstance(value, str):
                raise _wrong(field, value, "text")
    return value


def _listed(field: dataclasses.Field, value: Any) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _wrong(field, value, "a list")
    return value


def _integer(field: dataclasses.Field, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(field, value, "a whole number")
    return value


def _number(field: dataclasses.Field, value: Any) -> float:
    try:
        if not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass  # A whole number beyond the largest float.
    raise _wrong(field, value, "a finite number")


def _bounded(field: dataclasses.Field, value: Any) -> Any:
    low, high = field.metadata["minimum"], field.metadata["maximum"]
    if low is not None and value < low:
        raise _wrong(field, value, f"at least {low}")
    if high is not None and value > high:
        raise _wrong(field, value, f"at most {high}")
    return value


def _wrong(field: dataclasses.Field, value: Any, expected: str) -> RecipeError:
    return RecipeError(field.name, f"{field.metadata['label']}: expected {expected}, got {shorten(value)}.")
