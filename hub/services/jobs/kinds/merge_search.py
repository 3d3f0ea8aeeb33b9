"""Searching the best merge: many candidates of the same adapters, measured on some datasets; nothing is published."""

from composition.judging.candidates import grid
from composition.judging.halving import cost_of, schedule
from composition.recipes import MergeSearchRecipe
from composition.recipes.base import Recipe
from composition.recipes.method import Method
from hub.errors import Invalid
from hub.models import Version
from hub.services.base_families import other_base
from hub.services.jobs.draft import Draft
from hub.services.jobs.kinds.base import check_repository_kind, unfit_facts
from hub.services.jobs.kinds.combining import Combining
from hub.services.jobs.kinds.evaluate import check_data, seconds_of

TEST = "test"


class MergeSearch(Combining):
    """Two adapters or more and the datasets to measure on, in; a table of candidates out."""

    recipe = MergeSearchRecipe
    makes = None
    reads_data = True
    answer_page = "jobs/search.html"

    def misfit(self, method: Method, first: Version, version: Version, recipe: Recipe | None = None) -> str:
        across = bool(recipe and recipe.across_quantisations)
        return other_base(first, version, across=across) or unfit_facts(first, version, method, recipe)

    def check(self, draft: Draft) -> None:
        super().check(draft)
        if draft.base is None:
            raise Invalid("These adapters belong to no base this hub knows: push them with their base.", field="base")
        if not draft.request.datasets:
            raise Invalid("Give the datasets to search on, one for each task.", field="datasets")
        for dataset, split in zip(draft.request.datasets, splits_of(draft), strict=True):
            check_data(dataset, draft.recipe.evaluation(split))
        self._planned(draft)

    def check_datasets(self, draft: Draft) -> None:
        """Datasets alone; how many is for `check` to say."""
        for version in draft.request.datasets:
            check_repository_kind(version, "dataset", "datasets")

    def cost(self, draft: Draft) -> dict[str, object]:
        arms = len(draft.request.adapters) + 2
        planned, sizes, tasks = self._planned(draft)
        beside = seconds_of(draft, splits_of(draft), planned[-1], arms)
        whole = seconds_of(draft, splits_of(draft), planned[-1], 1)
        read = cost_of(planned, sizes, tasks) / sum(min(planned[-1], rows) for rows in tasks)
        return {**beside, "seconds": round(beside["seconds"] + read * whole["seconds"], 1)}

    def answer_without_sight(self, outcome: dict) -> dict | None:
        """All of it: it names no input."""
        return outcome

    def notes(self, draft: Draft, visibility: str) -> list[str]:
        if draft.problems:
            return []
        found, (planned, sizes, _) = grid(draft.recipe, self.facts(draft.request)), self._planned(draft)
        rounds = ", ".join(map(str, planned))
        notes = [f"{sum(sizes)} candidates; rows of each dataset read by the end of each round: {rounds}."]
        notes += [f"{kind} is left out: {why}" for kind, why in found.left_out.items()]
        for dataset, split in zip(draft.request.datasets, splits_of(draft), strict=True):
            if split == TEST:
                notes.append(
                    f"{dataset} is searched on its split test: figures on it will flatter the best candidate. Push a "
                    "split validation or train, or report on other data."
                )
        return notes

    def _planned(self, draft: Draft) -> tuple[list[int], list[int], list[int]]:
        """(rows by round, candidates of each rank, rows of each dataset)."""
        inputs = self.facts(draft.request)
        ranks = [max(one.output_ranks(inputs).values()) for one in grid(draft.recipe, inputs).candidates]
        sizes = [ranks.count(rank) for rank in dict.fromkeys(ranks)]
        pairs = zip(draft.request.datasets, splits_of(draft), strict=True)
        tasks = [dataset.facts["splits"][split] for dataset, split in pairs]
        return schedule(draft.recipe, sizes, tasks), sizes, tasks


def splits_of(draft: Draft) -> list[str]:
    """The split of each dataset that the search reads."""
    return [draft.recipe.split_of(dataset.facts.get("splits", {})) for dataset in draft.request.datasets]


HOME = MergeSearch()
