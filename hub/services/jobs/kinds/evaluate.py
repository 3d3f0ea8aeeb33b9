"""Evaluating: an adapter, or a bare base, on one split of a dataset."""

from collections.abc import Sequence

from composition.recipes import EvaluateRecipe
from hub.errors import Invalid
from hub.models import Version
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
        check_data(dataset, draft.recipe)

    def cost(self, draft: Draft) -> dict[str, object]:
        return seconds_of(draft, [draft.recipe.split], draft.recipe.limit)


def check_data(dataset: Version, recipe: EvaluateRecipe) -> None:
    """Refuse a dataset that can't be measured on by this recipe."""
    prompt_rows(dataset, recipe.split, "an evaluation")
    if "choice" in recipe.metrics and not dataset.facts.get("has_choices"):
        raise Invalid(
            f"{dataset} has no row with choices, which the metric `choice` needs. Leave that metric out.",
            field="metrics",
        )


def seconds_of(draft: Draft, splits: Sequence[str], limit: int | None, arms: int = 1) -> dict[str, object]:
    """The estimates of measuring so many arms on the draft's datasets, one split each, by the recipe's metrics; the
    last datasets, for which there is no split, are not measured on."""
    there = [dataset.facts["splits"][split] for dataset, split in zip(draft.request.datasets, splits, strict=False)]
    metrics = len(getattr(draft.recipe, "metrics", ("nll", "share")))
    rows, parameters = sum(min(rows, limit or rows) for rows in there), parameters_of(draft.base)
    seconds = SECONDS_TO_START + arms * rows * metrics * parameters / ROWS_A_SECOND
    return {"bytes": 0, "seconds": round(seconds, 1), "memory": int(parameters * 4 * 1.3)}


HOME = Evaluate()
