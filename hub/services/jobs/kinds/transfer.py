"""Moving an adapter by invented data (Trans-LoRA): seeds, a discriminator, two bases, and what they cost."""

from composition.recipes import TransLoraRecipe
from composition.recipes.memory import check_memory, memory_estimate
from composition.recipes.method import Method
from hub.errors import Invalid
from hub.models import BaseModel
from hub.models.companions import DISCRIMINATOR, SEEDS
from hub.services.jobs import companion_files
from hub.services.jobs.draft import Draft
from hub.services.jobs.files import Given
from hub.services.jobs.kinds.base import parameters_of, speed_of
from hub.services.jobs.kinds.moving import Move
from hub.services.jobs.scheduling import able_workers

# Rough, for one core and fp32, measured on 135M and 268M bases; good to a factor of 3.
TRAINED, WRITTEN = 1.5e11, 2.5e10
TOKENS = 48  # of a row
TRIED = 3  # candidates for each sample that is kept
PROMPT, ITEM = 200, 40  # tokens read and written for a candidate


class MoveByData(Move):
    """The target invents inputs like the seeds, a discriminator picks, the source answers, the target learns."""

    recipe = TransLoraRecipe
    stages = ("synthesis", "filter", "labelling", "distillation")

    def check_target(self, draft: Draft) -> None:
        super().check_target(draft)
        self._check_room(draft)

    def file_roles(self, method: Method) -> tuple[str, ...]:
        return SEEDS, DISCRIMINATOR

    def find_files(self, draft: Draft) -> list[Given]:
        if draft.recipe.filter == DISCRIMINATOR:
            return companion_files.find(draft, (SEEDS, DISCRIMINATOR))
        if draft.request.files.get(DISCRIMINATOR):
            raise Invalid(f"filter={draft.recipe.filter} uses no discriminator.", field="files")
        return companion_files.find(draft, (SEEDS,))

    def check_files(self, draft: Draft) -> None:
        draft.recipe.check_parties(draft.rows(SEEDS), bool(draft.given_as(DISCRIMINATOR)))

    def notes(self, draft: Draft, visibility: str) -> list[str]:
        """Warnings: few seeds, a weak discriminator."""
        said = draft.recipe.warnings(draft.rows(SEEDS)) if draft.rows(SEEDS) else []
        facts = next((file.facts for file in draft.given_as(DISCRIMINATOR)), {})
        if isinstance(facts.get("recall"), int | float):
            refuses = facts.get("specificity")
            rest = f", and rejects {100 * refuses:.0f} % of invented ones" if isinstance(refuses, int | float) else ""
            said.append(f"The discriminator recognises {100 * facts['recall']:.0f} % of held-out real inputs{rest}.")
        return said

    def cost(self, draft: Draft) -> dict[str, object]:
        (version,), recipe, target = draft.request.adapters, draft.recipe, draft.base
        writer = version.base if recipe.synthesiser == "source" else target
        seconds = synthesis_seconds(recipe.samples, writer, version.base)
        seconds += training_seconds(recipe.samples * recipe.epochs, target)
        parts = [parameters_of(version.base) * 4 * 1.3]
        if draft.request.base:
            # Source and target need not be loaded together; the larger counts.
            parts.append(memory_of(recipe, draft.request.base)["total"])
        return by_data_cost(draft, seconds, max(parts))

    def _check_room(self, draft: Draft) -> None:
        """`transfer.memory` where workers hold both bases and none has room to train on the target."""
        base = draft.request.base
        workers = able_workers(draft.method, self.bases(draft.method, draft.request.adapters, base))
        told = [worker.model_bytes for worker in workers if worker.model_bytes]
        if told and len(told) == len(workers):
            check_memory(memory_of(draft.recipe, base), max(told), str(base))


def synthesis_seconds(samples: int, writer: BaseModel, judge: BaseModel) -> float:
    """Of inventing and judging so many inputs, on one core."""
    written = samples * TRIED * 2 * parameters_of(writer) * (ITEM / WRITTEN + PROMPT / TRAINED)
    return written + samples * TRIED * 2 * parameters_of(judge) * ITEM / WRITTEN


def training_seconds(rows: int, base: BaseModel) -> float:
    """Of learning so many rows, on one core."""
    return rows * TOKENS * 6 * parameters_of(base) / TRAINED


def by_data_cost(draft: Draft, seconds: float, memory: float) -> dict[str, object]:
    """The estimates of a job that invents data; a GPU, where its queue has one, is faster."""
    seconds /= speed_of(draft.method)
    rank = getattr(draft.recipe, "rank", None)
    return {"ranks": {}, "rank": rank, "bytes": None, "seconds": round(10.0 + seconds, 1), "memory": int(memory)}


def memory_of(recipe: TransLoraRecipe, base: BaseModel) -> dict[str, int]:
    """Bytes to train on `base`, by part and in all; see `memory_estimate`."""
    config = base.config.get("text_config") or base.config
    shape = {
        "layers": int(config.get("num_hidden_layers") or config.get("n_layer") or 24),
        "width": int(config.get("hidden_size") or config.get("n_embd") or 1024),
        "vocabulary": int(config.get("vocab_size") or 50_000),
    }
    return memory_estimate(int(parameters_of(base)), recipe, **shape)


HOME = MoveByData()
