"""Evaluating: an adapter, or a bare base, on one split of a dataset."""

from composition.recipes import EvaluateRecipe
from hub.errors import Invalid
from hub.services.content.dataset_rows import prompt_rows
from hub.services.jobs.draft import Draft
from hub.services.jobs.kinds.base import SECONDS_TO_START, JobKind, parameters_of

# Rough, for one core, measured on a 135M base in fp32: evaluated rows a second, times the base's parameters.
ROWS_A_SECOND = 4e8


class Evaluate(JobKind):
    """At most one adapter and one dataset in, an evaluation out; nothing is published."""

    recipe = EvaluateRecipe
    datasets = 1
    makes = None

    def check(self, draft: Draft) -> None:
        self.check_counts(draft)
        adapters, base, (dataset,) = draft.request.adapters, draft.request.base, draft.request.datasets
        if not adapters and base is None:
            raise Invalid("Give an adapter to evaluate, or the base alone.", field="base")
        if adapters and base and adapters[0].base_id != base.pk:
            raise Invalid(f"{adapters[0]} belongs to {adapters[0].base}, not to {base}.", field="base")
        prompt_rows(dataset, draft.recipe.split, "an evaluation")
        if "choice" in draft.recipe.metrics and not dataset.facts.get("has_choices"):
            raise Invalid(
                f"{dataset} has no row with choices, which the metric `choice` needs. Leave that metric out.",
                field="metrics",
            )

    def cost(self, draft: Draft) -> dict[str, object]:
        rows = draft.request.datasets[0].facts["splits"][draft.recipe.split]
        rows = min(rows, draft.recipe.limit or rows)
        parameters = parameters_of(draft.base)
        seconds = SECONDS_TO_START + rows * len(draft.recipe.metrics) * parameters / ROWS_A_SECOND
        return {"bytes": 0, "seconds": round(seconds, 1), "memory": int(parameters * 4 * 1.3)}


HOME = Evaluate()
