"""Forms drawn from a recipe's fields, and read back into its JSON. A new method needs nothing here."""

from collections.abc import Mapping
from types import MappingProxyType

from django.http import QueryDict

from composition.recipes import Recipe, recipe_fields
from composition.registry import METHODS, Method, methods_of
from hub.errors import Invalid


def method_of(kind: str, *verbs: str) -> Method:
    """The method of this kind among those of `verbs`, or Invalid."""
    method = METHODS.get(kind)
    if method is None or method.verb not in verbs:
        known = ", ".join(one.kind for one in METHODS.values() if one.verb in verbs)
        raise Invalid(f"{kind!r} is not a method to {verbs[0]}; choose one of {known}.", field="kind")
    return method


def method_for(recipe: type[Recipe]) -> Method:
    """The method that takes this recipe."""
    return METHODS[recipe.kind]


def names_of(method: Method) -> set[str]:
    """The fields of its recipe."""
    return {row["name"] for row in recipe_fields(method.recipe)}


def names(*verbs: str) -> set[str]:
    """The fields of all methods of these verbs."""
    return {name for one in METHODS.values() if one.verb in verbs for name in names_of(one)}


def drawn(
    method: Method, values: dict, *, without: tuple[str, ...] = (), settled: Mapping[str, object] = MappingProxyType({})
) -> list[dict]:
    """The recipe's fields with their present values, the method's own before those all methods share.

    An empty field tells by its placeholder what stands for it in the `settled` recipe.
    """
    rows = []
    shared = set.intersection(*(names_of(one) for one in methods_of(method.verb)))
    for row in sorted(recipe_fields(method.recipe), key=lambda row: row["name"] in shared):
        if row["name"] not in without:
            value = values.get(row["name"], row["default"])
            if row["type"] == "numbers" and isinstance(value, list | tuple):
                value = ", ".join(f"{one:g}" if isinstance(one, int | float) else str(one) for one in value)
            shown = {"value": "" if value is None else value, "wide": row["type"] in ("choices", "string")}
            if value is None and (settled_value := settled.get(row["name"])) is not None:
                shown["placeholder"] = settled_value
            rows.append(row | shown)
    return rows


def read(method: Method, form: QueryDict, *, partly: bool = False) -> dict:
    """The recipe's JSON from a sent form; an empty field is left to its default. Wrong values go on as they are,
    so that the recipe itself refuses them by name. `partly`: an address, which names some of the fields only."""
    recipe: dict = {"kind": method.kind}
    for row in recipe_fields(method.recipe):
        if partly and row["name"] not in form:
            continue
        value = _value(row, form)
        if value is not None:
            recipe[row["name"]] = value
    return recipe


def parted(method: Method, values: dict, first: tuple[str, ...]) -> dict[str, list[dict]]:
    """{"first", "rest"}: the fields shown at once, and those that open on demand."""
    fields = drawn(method, values)
    return {
        "first": [row for row in fields if row["name"] in first],
        "rest": [row for row in fields if row["name"] not in first],
    }


def _value(row: dict, form: QueryDict) -> object:
    name, type_ = row["name"], row["type"]
    if type_ == "boolean":
        return form.get(name) in ("on", "true")
    if type_ == "choices":
        return form.getlist(name)
    if type_ == "numbers":
        given = [word for text in form.getlist(name) for word in text.split(",") if word.strip()]
        numbers = [_number(text, float) for text in given]
        return numbers if any(number != 1 for number in numbers) else None
    text = form.get(name, "").strip()
    if not text:
        return None
    return _number(text, {"integer": int, "number": float}.get(type_, str))


def _number(text: str, make) -> object:
    try:
        return make(text)
    except ValueError:
        return text
