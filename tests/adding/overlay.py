"""Trees of files laid over the repository: what the steps of docs/architecture.md have one add, and nothing else.

`toy_merge`, `toy_kind` and `toy_page` hold each file at the path where a step puts it. `laid_over` makes their modules
importable from there, and registers what the tables would find at the next start.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path

import hub.services.jobs.kinds
import workers.kinds
from composition.registry import Homes, registered

HERE = Path(__file__).parent


def tree(name: str) -> Path:
    """The folder of one toy."""
    return HERE / name


def files(name: str) -> list[str]:
    """The paths that a toy adds to the repository."""
    return sorted(path.relative_to(tree(name)).as_posix() for path in tree(name).rglob("*.*") if path.suffix != ".pyc")


def modules(name: str) -> list[str]:
    """The modules that a toy adds, dotted."""
    return [path.removesuffix(".py").replace("/", ".") for path in files(name) if path.endswith(".py")]


@contextmanager
def importable(name: str) -> Iterator[None]:
    """With a toy's modules as parts of the packages they belong to."""
    added = modules(name)
    packages = [import_module(package) for package in sorted({module.rpartition(".")[0] for module in added})]
    for package in packages:
        package.__path__.append(str(tree(name) / package.__name__.replace(".", "/")))
    try:
        yield
    finally:
        for package in packages:
            package.__path__.pop()
        for module in added:
            package, _, stem = module.rpartition(".")
            sys.modules.pop(module, None)
            vars(sys.modules[package]).pop(stem, None)


@contextmanager
def laid_over(name: str) -> Iterator[None]:
    """With a toy's modules importable, its rows in the registry and its homes in the hub and in the workers."""
    known = {room: room.HOMES.all for room in (hub.services.jobs.kinds, workers.kinds)}
    with importable(name), ExitStack() as stack:
        for module in modules(name):
            if module.startswith("composition.recipes."):
                for row in import_module(module).METHODS:
                    stack.enter_context(registered(row))
        for room, homes in known.items():
            found = Homes(room, "HOME").all
            for recipe in found.keys() - homes.keys():
                stack.enter_context(room.HOMES.registered(found[recipe]))
        yield
