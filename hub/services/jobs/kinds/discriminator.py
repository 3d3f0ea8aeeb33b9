"""Training a discriminator beside an adapter, from real inputs and seeds; kept as a companion, privately."""

from composition.formats.dataset.seed_rows import MOST_ROWS
from composition.recipes import DiscriminatorRecipe
from composition.recipes.method import Method
from hub.errors import Invalid
from hub.models import Version
from hub.models.companions import SEEDS
from hub.services.content.dataset_rows import prompt_rows
from hub.services.jobs import companion_files
from hub.services.jobs.draft import Draft
from hub.services.jobs.files import Given
from hub.services.jobs.kinds.base import JobKind, parameters_of
from hub.services.jobs.kinds.transfer import by_data_cost, synthesis_seconds, training_seconds
from hub.services.jobs.request import JobRequest

REAL = "real"
USUAL_NEGATIVES = 250


class Discriminate(JobKind):
    """One adapter in, with real inputs as a private file or a dataset; a companion of that adapter out."""

    recipe = DiscriminatorRecipe
    stages = ("synthesis", "discriminator", "measuring")
    moves = ()

    def check_datasets(self, draft: Draft) -> None:
        """At most one; asked after the base, see `check`."""

    def check(self, draft: Draft) -> None:
        self.check_counts(draft)
        self.check_facts(draft)
        (version,), base = draft.request.adapters, draft.request.base
        if base and base.pk != version.base_id:
            raise Invalid(f"A discriminator uses the adapter's own base, {version.base}.", field="base")
        if len(draft.request.datasets) > 1:
            raise Invalid(f"Give one dataset of real inputs, not {len(draft.request.datasets)}.", field="datasets")

    def file_roles(self, method: Method) -> tuple[str, ...]:
        return SEEDS, REAL

    def find_files(self, draft: Draft) -> list[Given]:
        return companion_files.find(draft, (SEEDS, REAL))

    def check_files(self, draft: Draft) -> None:
        real, datasets = draft.rows(REAL), draft.request.datasets
        if real and datasets:
            raise Invalid("Real inputs came as a file and as a dataset; give one of them.", field="datasets")
        rows = real or sum(_real_rows(dataset, draft.recipe.split) for dataset in datasets)
        draft.recipe.check_data(rows, draft.rows(SEEDS))

    def place(self, request: JobRequest) -> tuple[str, str] | None:
        """Beside its adapter, while that is somewhere."""
        repository = request.adapters[0].repository if request.adapters else None
        return (repository.namespace.name, repository.name) if repository and repository.namespace else None

    def visibility(self, asked: str | None) -> str | None:
        """It is kept privately, whoever may see its adapter."""
        return None

    def cost(self, draft: Draft) -> dict[str, object]:
        recipe, base = draft.recipe, draft.request.adapters[0].base
        negatives = recipe.negatives or USUAL_NEGATIVES
        rows = recipe.steps * recipe.batch_size if recipe.steps else negatives * recipe.epochs
        seconds = synthesis_seconds(negatives, base, base) + training_seconds(rows, base)
        return by_data_cost(draft, seconds, parameters_of(base) * 6)


def _real_rows(dataset: Version, split: str) -> int:
    """Rows of the split, as many as a discriminator reads."""
    count = prompt_rows(dataset, split, "a discriminator")
    if count > MOST_ROWS:
        raise Invalid(f"{dataset} has {count:,} rows; a discriminator reads at most {MOST_ROWS:,}.", field="datasets")
    return count


HOME = Discriminate()
