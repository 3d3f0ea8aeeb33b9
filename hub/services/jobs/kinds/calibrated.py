"""Merging with a little text: adapters of one base become one, by what their modules read on their own data."""

from composition.formats.dataset.files import COMPLETION, TEXT
from composition.recipes.base import Inputs
from composition.recipes.merge.calibrated import GRAM_BYTES, CalibratedRecipe, gram_widths
from composition.recipes.method import Method
from hub.errors import Invalid
from hub.models import Version
from hub.models.companions import SEEDS
from hub.services.content.dataset_rows import prompt_rows
from hub.services.jobs import companion_files
from hub.services.jobs.draft import Draft
from hub.services.jobs.files import Given
from hub.services.jobs.kinds.base import parameters_of, speed_of
from hub.services.jobs.kinds.merge import Merge
from hub.services.jobs.request import JobRequest

# Rough, for one core and fp32: floating-point operations a second, in float64 a second, tokens of a row.
FLOPS = 8e10
FLOPS_DOUBLE = 3e10
TOKENS = 64


class CalibratedMerge(Merge):
    """Plain LoRAs of one base in, each with a small dataset, or all with one; one LoRA out, as private as all these.

    Where each adapter has a text of its own and no dataset is named, the seeds kept beside the adapters are read.
    """

    recipe = CalibratedRecipe
    reads_data = True

    def labels_data(self, method: Method) -> bool:
        return method.recipe.needs_labels

    def parents(self, request: JobRequest) -> list[Version]:
        return [*request.adapters, *request.datasets]

    def check_datasets(self, draft: Draft) -> None:
        """Any number; how many suit is for `_check_data` to say."""

    def check_facts(self, draft: Draft) -> None:
        super().check_facts(draft)
        self._check_data(draft)

    def _check_data(self, draft: Draft) -> None:
        """Refuse datasets that don't suit: too many, without the split, of other rows, or none."""
        recipe, request = draft.recipe, draft.request
        if self._by_seeds(draft):
            return  # `check_files` says what is missing.
        names = [str(version) for version in request.adapters]
        counts = counts_of(draft)
        labels = names if recipe.needs_labels else [str(dataset) for dataset in request.datasets]
        recipe.check_data(names, dict(zip(labels, counts, strict=False)))
        if recipe.needs_labels and len(request.datasets) != len(names):
            raise Invalid(
                f"{recipe.name} takes one dataset for each adapter, in their order: {len(names)}, "
                f"got {len(request.datasets)}.",
                field="datasets",
            )

    def _by_seeds(self, draft: Draft) -> bool:
        return self.labels_data(draft.method) and not draft.request.datasets

    def find_files(self, draft: Draft) -> list[Given]:
        return companion_files.seeds_of_each(draft) if self._by_seeds(draft) else []

    def check_files(self, draft: Draft) -> None:
        """Refuse adapters of which one has neither a dataset nor seeds that the actor may see."""
        if self._by_seeds(draft):
            names = [str(version) for version in draft.request.adapters]
            rows = {names[int(file.name.partition(".")[0]) - 1]: file.facts["rows"] for file in draft.given_as(SEEDS)}
            draft.recipe.check_data(names, rows)

    def cost(self, draft: Draft) -> dict[str, object]:
        """With reading the text: forward passes of the base and half a Gram a token, as often as memory asks."""
        told, rows = super().cost(draft), sum(min(draft.recipe.rows, count) for count in counts_of(draft))
        facts = self.facts(draft.request)
        seconds = float(str(told["seconds"])) + 5 + seconds_to_read(draft, facts, rows) + seconds_to_solve(facts)
        memory = int(parameters_of(draft.base) * 4 * 1.3) + memory_of_grams(facts)
        return {**told, "seconds": round(seconds, 1), "memory": memory}

    def notes(self, draft: Draft, visibility: str) -> list[str]:
        told = super().notes(draft, visibility)
        if draft.problems:
            return told
        if self._by_seeds(draft):
            counts = zip(draft.request.adapters, counts_of(draft), strict=True)
            rows = ", ".join(f"{count} of {version}" for version, count in counts)
            told = [*told, f"It reads the seed examples kept beside the adapters: {rows}."]
        facts = self.facts(draft.request)
        if (passes := _passes(facts)) < 2:
            return told
        size = 2 * _squares(facts)
        return [
            *told,
            f"This base is large: each text is read {passes} times to stay within memory, and what was read of each "
            f"adapter takes about {size / 1e9:.0f} GB of the worker's disk.",
        ]


def counts_of(draft: Draft) -> list[int]:
    """How many rows each dataset, or the seeds of each adapter, have to read; Invalid where a dataset has none of a
    kind that can be read."""
    recipe = draft.recipe
    if not draft.request.datasets:
        return [file.facts["rows"] for file in draft.given_as(SEEDS)]
    return [prompt_rows(one, recipe.split, recipe.name, (COMPLETION, TEXT)) for one in draft.request.datasets]


def seconds_to_read(draft: Draft, facts: Inputs, rows: int) -> float:
    """Of so many rows in all, read for Grams of these adapters' modules on the draft's base."""
    passes = 2 * parameters_of(draft.base) * _passes(facts)
    return rows * TOKENS * (passes + _squares(facts)) / FLOPS / speed_of(draft.method)


def seconds_to_solve(facts: Inputs) -> float:
    """Of one RegMean of these adapters, once their Grams are there."""
    widths, ranks = gram_widths(facts), sum(max(m.r for m in fact.modules.values()) for _, fact in facts)
    return (sum(width**3 for width in widths) / 3 + 12 * ranks * _squares(facts)) / FLOPS_DOUBLE


def memory_of_grams(facts: Inputs) -> int:
    """Bytes of what is gathered at once, and of one solve."""
    return min(4 * _squares(facts), GRAM_BYTES) + 3 * 8 * max(gram_widths(facts), default=0) ** 2


def _squares(facts: Inputs) -> int:
    return sum(width * width for width in gram_widths(facts))


def _passes(facts: Inputs) -> int:
    """How often each text is read, so that Grams stay within their budget."""
    return max(1, -(-4 * _squares(facts) // GRAM_BYTES))


HOME = CalibratedMerge()
