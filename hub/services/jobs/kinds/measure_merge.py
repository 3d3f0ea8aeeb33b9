"""Measuring what a merge lost: it, its inputs, their exact mean and the base, on the same rows of some datasets."""

from composition.recipes import MeasureMergeRecipe, MergeRecipe, Recipe
from composition.registry import METHODS
from hub import access, queries
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import ADAPTER, Version
from hub.services.jobs.draft import Draft
from hub.services.jobs.kinds.base import JobKind, check_repository_kind
from hub.services.jobs.kinds.evaluate import check_data, seconds_of
from hub.services.jobs.request import JobRequest


class MeasureMerge(JobKind):
    """A merged version in, which brings its inputs along; evaluations out, and a table that stays with the job."""

    recipe = MeasureMergeRecipe
    makes = None
    reads_data = True
    answer_page = "jobs/loss.html"

    def completed(self, viewer: Viewer, request: JobRequest) -> JobRequest:
        """With those of the merge's inputs that the viewer sees and whose files they may have, in their order."""
        if not request.adapters:
            return request
        merged, *given = request.adapters
        parents = inputs_of_merge(merged)
        if wrong := [version for version in given if version not in parents]:
            raise Invalid(f"{wrong[0]} is no input of {merged}; name the merge alone.", field="inputs")
        seen = queries.seen(viewer, [version.repository_id for version in parents])
        shown = [one for one in parents if one.repository_id in seen and access.lets_in(viewer, one.repository)]
        return request.replace(inputs={**request.inputs, ADAPTER: (merged, *shown)})

    def with_data(self, viewer: Viewer, recipe: Recipe, request: JobRequest) -> JobRequest:
        """Where no dataset is named, those on which the inputs have been measured."""
        if request.datasets:
            return request
        return request.replace(datasets=tuple(queries.measured_on(viewer, request.adapters, recipe.split)))

    def check(self, draft: Draft) -> None:
        self.check_counts(draft)
        merged, *inputs = draft.request.adapters
        if not is_merge(merged):
            raise Invalid(
                f"{merged} was not merged here, so it has no inputs to be measured with. Compare it with others by "
                "`hubctl compare`.",
                code="merge.not_a_merge",
                field="inputs",
            )
        if not inputs:
            raise Invalid(f"No input of {merged} is there any more, or you may see none.", field="inputs")
        if merged.base is None:
            raise Invalid(f"{merged} belongs to no base this hub knows: push it with its base.", field="base")
        if draft.request.base and draft.request.base.pk != merged.base_id:
            raise Invalid(f"{merged} belongs to {merged.base}, not to {draft.request.base}.", field="base")
        if not draft.request.datasets:
            raise Invalid(
                f"No input of {merged} has been measured on the split {draft.recipe.split!r} of a dataset that you "
                "see; name the datasets to measure on.",
                field="datasets",
            )
        for dataset in draft.request.datasets:
            check_data(dataset, draft.recipe)

    def check_datasets(self, draft: Draft) -> None:
        """Datasets alone; how many is for `check` to say."""
        for version in draft.request.datasets:
            check_repository_kind(version, "dataset", "datasets")

    def cost(self, draft: Draft) -> dict[str, object]:
        arms = len(draft.request.adapters) + 2
        return seconds_of(draft, [draft.recipe.split] * len(draft.request.datasets), draft.recipe.limit, arms)

    def answer_without_sight(self, outcome: dict) -> dict | None:
        """All of it: it names no input."""
        return outcome

    def notes(self, draft: Draft, visibility: str) -> list[str]:
        if draft.problems or not draft.request.adapters:
            return []
        merged, *inputs = draft.request.adapters
        on = ", ".join(map(str, draft.request.datasets))
        notes = [f"It measures {merged}, {len(inputs)} inputs, their exact mean and the base on {on}."]
        if len(inputs) < len(inputs_of_merge(merged)):
            notes.append("Some inputs are gone, or you may not have their files; they and the exact mean are left out.")
        return notes


def inputs_of_merge(version: Version) -> list[Version]:
    """The adapters that a merge was made of, in their order; not the data that it read."""
    rows = version.parentage.select_related("parent__repository__namespace", "parent__base").order_by("position")
    parents = [row.parent for row in rows]
    return [parent for parent in parents if parent.repository.is_adapter and not parent.repository.deleted_at]


def is_merge(version: Version) -> bool:
    """Whether a version was made by a merge of this hub."""
    method = METHODS.get(str((version.recipe or {}).get("kind")))
    return bool(method) and issubclass(method.recipe, MergeRecipe)


HOME = MeasureMerge()
