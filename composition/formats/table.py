"""The table of formats: one row says all that the rest of the project needs to know of a format. Torch-free.

    recognise → validate → read

A row is kept next to its format as `ROW`: in `row.py` of the format's sub-package, or in its `__init__.py` where one
module is enough. A sub-package of several formats offers `ROWS` instead. The table finds the rows by itself, so a
format is added by adding its sub-package.
"""

import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

from composition.facts import AdapterFacts, DatasetFacts, GeneratorFacts
from composition.formats.sources import Files

ADAPTER, GENERATOR, DATASET = "adapter", "generator", "dataset"
KINDS = (ADAPTER, GENERATOR, DATASET)

Facts = AdapterFacts | GeneratorFacts | DatasetFacts
Shapes = Mapping[str, Sequence[int]]


class BaseName(NamedTuple):
    """The base that files name: its id or an alias of it, and its revision; None where they don't say."""

    name: str | None
    revision: str | None = None


class Validate(Protocol):
    """Checks files and gives their facts; `base_shapes` is {module: [out, in]} of the base they should fit."""

    def __call__(self, files: Files, *, base_shapes: Shapes | None = None) -> Facts: ...


@dataclass(frozen=True, kw_only=True)
class Format:
    """One row.

    `holds` is the kind of repository that keeps it. `content` says which paths make a version: weights and config,
    or rows. `config` is the file that counts by its JSON value and not by its bytes; `weights` is the name of the
    weights, where the format fixes one. `base_of` is None where the format has no base, and returns None where the file
    that names it is missing. `read` is "module:function", folder → LoraWeights for an adapter, loaded when it is
    asked for; with `by_base` it also takes the base, whose names it gives the modules. `convert` is "module:function"
    for a format that isn't stored as it is: (files, base) → Plan of the PEFT files that say the same
    (`composition.formats.foreign`). The `fallback` row of a kind judges the files that no row recognises: its refusal
    says what is missing.
    """

    name: str
    label: str
    holds: str
    detect: Callable[[Files], bool]
    validate: Validate
    content: Callable[[str], bool]
    config: str | None = None
    weights: str | None = None
    base_of: Callable[[Files], BaseName | None] | None = None
    read: str | None = None
    convert: str | None = None
    by_base: bool = False
    merges: bool = False
    loads_in_peft: bool = False
    fallback: bool = False

    def __post_init__(self) -> None:
        if self.holds not in KINDS:
            raise ValueError(f"{self.name}: holds is {self.holds!r}; expected one of {', '.join(KINDS)}.")
        if self.merges and not self.read:
            raise ValueError(f"{self.name}: what merges must be read; give `read`.")

    @property
    def files(self) -> tuple[str, ...]:
        """The files that a complete upload has at its top, the config first."""
        return tuple(name for name in (self.config, self.weights) if name)

    def missing(self, paths: Iterable[str]) -> list[str]:
        """Those of `files` that are not among these paths: what a folder lacks that is pushed bit by bit."""
        there = set(paths)
        return [name for name in self.files if name not in there]

    def weights_in(self, paths: Iterable[str]) -> list[str]:
        """The weights or rows among these paths, sorted."""
        return sorted(path for path in paths if path != self.config and self.content(path))

    def check(self, files: Files, *, base_shapes: Shapes | None = None) -> Facts:
        """`validate`, and for an adapter that doesn't merge at least one reason in `facts.needs_base`."""
        facts = self.validate(files, base_shapes=base_shapes)
        if isinstance(facts, AdapterFacts) and not self.merges and not facts.needs_base:
            reason = {
                "code": "format",
                "reason": f"It is stored as {self.label}, which can't be merged.",
                "do": "Convert it to a plain LoRA and push that.",
            }
            return replace(facts, needs_base=[reason])
        return facts

    def reader(self) -> Callable[..., Any]:
        """The function that `read` names."""
        if self.read is None:
            raise ValueError(f"{self.name} has no reader; ask for rows with `read`.")
        return _function(self.read)

    def converter(self) -> Callable[[Files, Any], Any]:
        """The function that `convert` names."""
        if self.convert is None:
            raise ValueError(f"{self.name} is stored as it is; ask for rows with `convert`.")
        return _function(self.convert)


def _function(dotted: str) -> Callable[..., Any]:
    module, _, function = dotted.partition(":")
    return getattr(import_module(module), function)


def _rows_at(place: str) -> Sequence[Format]:
    """A sub-package's rows; none where it is a format that is only written."""
    package = import_module(place)
    if hasattr(package, "ROWS"):
        return package.ROWS
    if hasattr(package, "ROW"):
        return [package.ROW]
    return [import_module(f"{place}.row").ROW] if find_spec(f"{place}.row") else []


class Table(Mapping[str, Format]):
    """name → row, of all sub-packages of a package: the particular rows by name, then the fallbacks."""

    def __init__(self, package: str) -> None:
        self._package = package

    def __getitem__(self, name: str) -> Format:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._rows, key=lambda name: (self._rows[name].fallback, name)))

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def _rows(self) -> dict[str, Format]:
        rows: dict[str, Format] = {}
        package = import_module(self._package)
        for found in pkgutil.iter_modules(package.__path__):
            if found.ispkg:
                for row in _rows_at(f"{self._package}.{found.name}"):
                    self._add(rows, row)
        return rows

    @staticmethod
    def _add(rows: dict[str, Format], row: Format) -> None:
        if row.name in rows:
            raise ValueError(f"Two formats are named {row.name!r}. Rename one.")
        rival = next((other for other in rows.values() if other.holds == row.holds and other.fallback), None)
        if row.fallback and rival:
            raise ValueError(f"{rival.name} and {row.name} are both the fallback for {row.holds}s. Choose one.")
        rows[row.name] = row

    def register(self, row: Format) -> None:
        """Add a row; ValueError where its name is taken."""
        self._add(self._rows, row)

    def unregister(self, name: str) -> None:
        """Take a row out."""
        del self._rows[name]

    @contextmanager
    def registered(self, row: Format) -> Iterator[Format]:
        """`with FORMATS.registered(row):` the row is in the table."""
        self.register(row)
        try:
            yield row
        finally:
            self.unregister(row.name)

    def holding(self, kind: str) -> list[Format]:
        """The rows of a kind of repository, in the table's order; ValueError where no format is kept in such a kind."""
        rows = [row for row in self.values() if row.holds == kind]
        if not rows:
            raise ValueError(f"No format is kept in a {kind!r}; expected one of {', '.join(KINDS)}.")
        return rows

    def recognise(self, kind: str, files: Files, *, stored: bool = False) -> Format:
        """The row that these files of a repository of this kind belong to: the first that detects them, or the last.

        Where two rows detect the same files, the one whose name comes first has them, on every machine. `stored` files
        are of a format that is stored: rows that convert are not asked.
        """
        rows = [row for row in self.holding(kind) if not (stored and row.convert)]
        return next((row for row in rows if row.detect(files)), rows[-1])

    def may_be_content(self, kind: str, path: str) -> bool:
        """Whether the path makes a version in some format of this kind."""
        return any(row.content(path) for row in self.holding(kind))


FORMATS = Table("composition.formats")
