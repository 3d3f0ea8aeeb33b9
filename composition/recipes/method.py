"""A method's row: what it makes, what it needs, where its function lives, and its paper.

Rows are kept next to their recipes, in the tuple `METHODS` of a module of this package; `composition.registry` gathers
them. The function is named, not imported, so that web and API, which build their forms from recipes, load no torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from composition.recipes.base import Recipe

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
    shapes. A method that is not `offered` is started by the hub itself and not listed.
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

    def load(self) -> Callable[..., Any]:
        """Import and return the function. Loads torch."""
        module, name = self.function.split(":")
        return getattr(import_module(module), name)
