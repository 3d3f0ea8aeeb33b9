"""A method's row: what it makes, what it needs, where its function lives, and its paper.

Rows are kept next to their recipes, in the tuple `METHODS` of a module of this package; `composition.registry` gathers
them. The function is named, not imported, so that web and API, which build their forms from recipes, load no torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from composition.recipes.base import Recipe

Purpose = Literal["balance", "exact", "conflicts", "data", "federated", "difference"]
"""What one wants of a merge: small and balanced, keep exactly, few conflicts, with a little data, rounds of federated
training, one update taken from another."""
Result = Literal["adapter", "generator", "companion", "evaluation", "answer", "shapes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a method needs in order to run; `max_inputs` None is any number."""

    min_inputs: int
    max_inputs: int | None = None
    base_model: bool = False
    device: Literal["cpu", "any"] = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One row: `function` is dotted as "package.module:name"; `load()` imports it.

    `verb` groups methods that are requested in the same way. `result` says what a run makes: a version of an adapter
    or generator repository, a companion kept with an adapter, an evaluation, an answer kept with the job, or a base's
    shapes. A method that is not `offered` is started by the hub itself and not listed. `purpose` groups merges by what
    one wants. `searched` merges are those that a search tries where none are named: one or two of each family. `core`
    names the function that makes the merged core of one module from the adapters' `Cores` alone
    (`composition.merging.core.cores`): where there is one, the method can be judged without reading weights. It is cut
    to the recipe's rank where the recipe has one. `rough` says that this core is only an estimate of the result's.
    """

    kind: str
    verb: str
    label: str
    summary: str
    recipe: type[Recipe]
    function: str
    needs: Needs
    paper: str | None = None
    result: Result = "adapter"
    offered: bool = True
    purpose: Purpose | None = None
    searched: bool = False
    core: str | None = None
    rough: bool = False

    def load(self) -> Callable[..., Any]:
        """Import and return the function. Loads torch."""
        return _named(self.function)

    def load_core(self) -> Callable[..., Any] | None:
        """Import and return the function of the core, None where the method has none. Loads torch."""
        return _named(self.core) if self.core else None


def _named(dotted: str) -> Callable[..., Any]:
    module, name = dotted.split(":")
    return getattr(import_module(module), name)
