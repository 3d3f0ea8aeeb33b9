"""Searching the best merge: many candidates of the same adapters, measured on some datasets; nothing is published."""

from dataclasses import dataclass

from composition.judging.candidates import Grid, planned, reads_text
from composition.judging.halving import cost_of, schedule
from composition.judging.reading import Reading, tasks_of
from composition.recipes import MergeSearchRecipe
from composition.recipes.base import Recipe
from composition.recipes.method import Method
from hub.errors import Invalid
from hub.models import Version
from hub.services.base_families import other_base
from hub.services.jobs.draft import Draft
from hub.services.jobs.kinds.base import check_repository_kind, unfit_facts
from hub.services.jobs.kinds.calibrated import memory_of_grams, seconds_to_read, seconds_to_solve
from hub.services.jobs.kinds.combining import Combining
from hub.services.jobs.kinds.evaluate import check_data, seconds_of

TEST = "test"
MADE = 2
"""How often a candidate is made, since half of those that are left go out each round."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a search will do: candidates, rows by round, candidates of each rank, rows of each task that are judged."""

    grid: Grid
    reading: Reading
    rounds: list[int]
    sizes: list[int]
    tasks: list[int]

    @property
    def splits(self) -> list[str]:
        """The split that each task is judged on."""
        return [split for split, _ in self.reading.judged]

    @property
    def readers(self) -> list[Recipe]:
        """The candidates that read text."""
        return [one for one in self.grid.candidates if reads_text(one)]

    @property
    def shares(self) -> float:
        """Rows read for candidates, in shares of what one reads that stays to the end."""
        return cost_of(self.rounds, self.sizes, self.tasks) / sum(min(self.rounds[-1], rows) for rows in self.tasks)


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
        judged = tasks_of(draft.recipe, len(draft.request.adapters), draft.request.datasets)
        for dataset in judged:
            check_data(dataset, draft.recipe.evaluation(draft.recipe.split_of(dataset.facts.get("splits", {}))))
        self._plan(draft)

    def check_datasets(self, draft: Draft) -> None:
        """Datasets alone; how many is for `check` to say."""
        for version in draft.request.datasets:
            check_repository_kind(version, "dataset", "datasets")

    def cost(self, draft: Draft) -> dict[str, object]:
        arms, plan, facts = len(draft.request.adapters) + 2, self._plan(draft), self.facts(draft.request)
        beside = seconds_of(draft, plan.splits, plan.rounds[-1], arms)
        whole = seconds_of(draft, plan.splits, plan.rounds[-1], 1)
        seconds, memory = beside["seconds"] + plan.shares * whole["seconds"], beside["memory"]
        if (text := plan.reading.text) and plan.readers:
            seconds += seconds_to_read(draft, facts, text.rows * len(text.places))
            seconds += MADE * len(plan.readers) * seconds_to_solve(facts)
            memory += memory_of_grams(facts)
        return {**beside, "seconds": round(seconds, 1), "memory": memory}

    def notes(self, draft: Draft, visibility: str) -> list[str]:
        if draft.problems:
            return []
        plan = self._plan(draft)
        rounds = ", ".join(map(str, plan.rounds))
        notes = [f"{sum(plan.sizes)} candidates; rows of each dataset read by the end of each round: {rounds}."]
        notes += _reads(draft, plan)
        notes += [f"{kind} is left out: {why}" for kind, why in plan.grid.left_out.items()]
        for dataset, split in zip(draft.request.datasets, plan.splits, strict=False):
            if split == TEST:
                notes.append(
                    f"{dataset} is searched on its split test: figures on it will flatter the best candidate. Push a "
                    "split validation or train, or report on other data."
                )
        return notes

    def _plan(self, draft: Draft) -> Plan:
        inputs = self.facts(draft.request)
        found, reading = planned(draft.recipe, inputs, [dataset.facts for dataset in draft.request.datasets])
        ranks = [max(one.output_ranks(inputs).values()) for one in found.candidates]
        sizes = [ranks.count(rank) for rank in dict.fromkeys(ranks)]
        tasks = [rows for _, rows in reading.judged]
        return Plan(found, reading, schedule(draft.recipe, sizes, tasks), sizes, tasks)


def _reads(draft: Draft, plan: Plan) -> list[str]:
    """Which text is read for which adapter."""
    if not (text := plan.reading.text) or not plan.readers:
        return []
    pairs = [
        f"{draft.request.datasets[place]} for {adapter}"
        for place, adapter in zip(text.places, draft.request.adapters, strict=True)
    ]
    names = " and ".join(dict.fromkeys(one.name for one in plan.readers))
    return [
        f"{names} reads {text.rows} rows of the split {text.split}, which are not measured on: {', '.join(pairs)}. "
        "Datasets belong to the adapters in their order."
    ]


HOME = MergeSearch()
