"""The recipe that reads the shapes of a base's weights from its config; registering a base queues one."""

from dataclasses import dataclass
from typing import ClassVar

from composition.recipes.base import Recipe
from composition.recipes.method import Method, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class FingerprintRecipe(Recipe):
    """Nothing to choose: names and shapes of all weights, from `config.json` alone."""

    kind: ClassVar[str] = "fingerprint"


METHODS = (
    Method(
        kind="fingerprint",
        verb="fingerprint",
        label="Fingerprint",
        summary="Reads names and shapes of a base's weights from its config.",
        recipe=FingerprintRecipe,
        function="composition.running.base_models:module_shapes",
        needs=Needs(min_inputs=0, max_inputs=0),
        result="shapes",
        offered=False,
    ),
)
