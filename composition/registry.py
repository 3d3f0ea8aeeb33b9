"""Every method by name, and recipes built from JSON by the method that it names.

Rows are kept next to their recipes: each module below `composition.recipes` may have a tuple `METHODS`. So a new method
is a function, a recipe and a row, and nothing here changes. Two rows of one kind are refused.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from functools import cached_property
from importlib import import_module
from pkgutil import iter_modules, walk_packages
from types import ModuleType
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from composition import recipes
from composition.errors import RecipeError
from composition.formats.strict_json import shorten
from composition.recipes.base import Recipe
from composition.recipes.method import Method, Needs

__all__ = [
    "METHODS",
    "Homes",
    "Method",
    "Needs",
    "beyond",
    "brought_forward",
    "known_versions",
    "methods_of",
    "recipe_from_dict",
    "registered",
]


class HasRecipe(Protocol):
    """A home names the recipe class that it serves."""

    recipe: ClassVar[type[Recipe]]


Home = TypeVar("Home", bound=HasRecipe)
FIRST = {
    "merge": "lego",
    "compare": "compare-merges",
    "assemble": "meteora",
    "transfer": "trans-lora",
    "discriminator": "discriminator",
    "generate": "generate",
    "train-generator": "train-generator",
    "evaluate": "evaluate",
    "try": "try",
}
"""Verb → the method that comes first, with which forms open. Lists keep the order of these verbs; others come last.
Within a verb the other methods follow in the order of their modules' names, so a new module changes no default."""


def table_of(rows: Iterable[Method]) -> dict[str, Method]:
    """kind → row, in the order of lists. ValueError if two rows share a kind, or a row's recipe has another kind."""
    found: dict[str, Method] = {}
    for row in rows:
        if row.kind in found:
            raise ValueError(f"two methods are called {row.kind!r}: {found[row.kind].function} and {row.function}")
        if row.recipe.kind != row.kind:
            raise ValueError(f"the row {row.kind!r} has the recipe of {row.recipe.kind!r}")
        found[row.kind] = row
    order = {verb: place for place, verb in enumerate(FIRST)}

    def place(row: Method) -> tuple[int, bool]:
        return order.get(row.verb, len(order)), FIRST.get(row.verb) != row.kind

    return {row.kind: row for row in sorted(found.values(), key=place)}


def _rows() -> Iterator[Method]:
    for module in walk_packages(recipes.__path__, f"{recipes.__name__}."):
        yield from getattr(import_module(module.name), "METHODS", ())


METHODS: dict[str, Method] = table_of(_rows())


class Homes(Generic[Home]):
    """What a room has for each family of recipes, found in the modules of one of its packages by an attribute's name.

    A home is for the methods whose recipe is of its class `recipe`, or derived from it; the nearest one counts.
    """

    def __init__(self, package: ModuleType, attribute: str) -> None:
        self._package, self._attribute = package, attribute

    @cached_property
    def all(self) -> dict[type[Recipe], Home]:
        """Recipe class → home. ValueError where two homes claim one class."""
        found: dict[type[Recipe], Home] = {}
        for module in iter_modules(self._package.__path__, f"{self._package.__name__}."):
            home = getattr(import_module(module.name), self._attribute, None)
            if home is not None:
                self._add(found, home)
        return found

    def of(self, method: Method) -> Home:
        """The home of a method. LookupError where the room has none for it."""
        for family in method.recipe.__mro__:
            if family in self.all:
                return self.all[family]
        raise LookupError(f"{self._package.__name__} has no home for the method {method.kind!r}")

    @contextmanager
    def registered(self, home: Home) -> Iterator[Home]:
        """With one more home, for the time of the block."""
        self._add(self.all, home)
        try:
            yield home
        finally:
            del self.all[home.recipe]

    def _add(self, found: dict[type[Recipe], Home], home: Home) -> None:
        if home.recipe in found:
            raise ValueError(f"{self._package.__name__} has two homes for {home.recipe.__name__}")
        found[home.recipe] = home


@contextmanager
def registered(row: Method) -> Iterator[Method]:
    """The table with one more row, for the time of the block. ValueError where its kind is taken."""
    table = table_of([*METHODS.values(), row])
    METHODS.clear()
    METHODS.update(table)
    try:
        yield row
    finally:
        del METHODS[row.kind]


def methods_of(verb: str) -> list[Method]:
    """The rows of one verb, in the order pages show them."""
    return [method for method in METHODS.values() if method.verb == verb]


def brought_forward(data: Mapping[str, Any]) -> dict[str, Any]:
    """A stored recipe's JSON in the words of today's version: what it lacks is said as it was meant then.

    What names no method, or no version that has an `earlier` meaning, is left as it is.
    """
    method = METHODS.get(str(data.get("kind")))
    if method is None or "version" not in data or not method.recipe.knows(data):
        return dict(data)
    return {**method.recipe.earlier.get(data["version"], {}), **data, "version": method.recipe.version}


def known_versions() -> dict[str, list[int]]:
    """kind → the versions of its recipe that this release can run: what a worker tells of itself."""
    return {kind: sorted({row.recipe.version, *row.recipe.earlier}) for kind, row in METHODS.items()}


def beyond(kind: str, data: Mapping[str, Any]) -> str:
    """What a later release has put into a stored job of this kind, in words; "" where there is nothing of it.

    So a worker of an earlier release leaves the job to others, instead of failing it or taking it for something else.
    """
    if kind not in METHODS:
        return f"the method {shorten(kind)}"
    cls = METHODS[kind].recipe
    version = data.get("version", cls.version)
    if type(version) is not int or version > cls.version:
        return f"version {shorten(version)} of the {kind} recipe"
    if version < cls.version:
        return ""
    unknown = set(data) - {field.name for field in fields(cls)} - {"kind", "version"}
    return f"{shorten(min(unknown))} in the {kind} recipe" if unknown else ""


def recipe_from_dict(data: Mapping[str, Any]) -> Recipe:
    """Build the recipe that `data["kind"]` names; RecipeError with the field for anything unknown, missing or wrong."""
    kind = data.get("kind")
    if kind not in METHODS:
        known = ", ".join(row.kind for row in METHODS.values() if row.offered)
        raise RecipeError("kind", f"There is no method {kind!r}. Use one of: {known}.")
    cls = METHODS[str(kind)].recipe
    if not cls.knows(data):
        raise RecipeError(
            "version",
            f"This hub knows version {cls.version} of the {kind} recipe, not {shorten(data['version'])}, which may "
            "mean something else. Leave the version out to run it as this hub does.",
        )
    data = brought_forward(data)
    own = {field.name: field for field in fields(cls)}
    values = {name: value for name, value in data.items() if name not in ("kind", "version")}
    for name in values:
        if name not in own:
            has = f"It has: {', '.join(own)}." if own else "It has no fields."
            raise RecipeError(name, f"A {kind} recipe has no field {name!r}. {has}")
    for name, field in own.items():
        if name not in values and field.default is MISSING:
            raise RecipeError(name, f"A {kind} recipe needs {name!r} ({field.metadata['help']})")
    return cls(**values)
