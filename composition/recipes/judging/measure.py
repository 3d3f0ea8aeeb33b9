"""The recipe that measures what a merge lost of its inputs."""

from dataclasses import dataclass
from typing import ClassVar

from composition.recipes.evaluate import EvaluateRecipe
from composition.recipes.method import Method, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureMergeRecipe(EvaluateRecipe):
    """Measure a merge, each of its inputs, their exact mean and the base in the same way on each dataset."""

    kind: ClassVar[str] = "measure-merge"

    def evaluation(self) -> EvaluateRecipe:
        """What one evaluation of it is."""
        values = {name: value for name, value in self.to_dict().items() if name not in ("kind", "version")}
        return EvaluateRecipe(**values)


METHODS = (
    Method(
        kind="measure-merge",
        verb="measure",
        label="What a merge lost",
        summary="Measures a merge beside its inputs, their exact mean and the base on the same rows.",
        recipe=MeasureMergeRecipe,
        function="composition.judging.loss:judge",
        needs=Needs(min_inputs=1, base_model=True, device="any"),
        result="evaluation",
    ),
)
