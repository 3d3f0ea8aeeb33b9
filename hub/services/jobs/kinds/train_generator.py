"""Training a generator for a base: which rows it learns from, where it may start, what it costs."""

from composition.errors import CompositionError
from composition.formats.dataset.files import QUESTIONS, TEXT
from composition.recipes import TrainGeneratorRecipe
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import Kind, Version
from hub.services.jobs.draft import Draft
from hub.services.jobs.kinds.base import JobKind, a, parameters_of, speed_of
from hub.services.jobs.kinds.generate import GENERATOR, GENERATOR_ROLE, check_generator, with_base
from hub.services.jobs.request import JobRequest
from hub.services.known_bases import require_shapes

ROWS = {"text": TEXT, "questions": QUESTIONS}
# Rough, for one core and fp32, measured on a 135M base; good to a factor of 3.
TRAINED = 1.5e11


class TrainGenerator(JobKind):
    """Datasets in, and perhaps the generator to go on from; a generator out."""

    recipe = TrainGeneratorRecipe
    roles = (GENERATOR_ROLE,)
    reads_data = True
    makes = Kind.GENERATOR

    def completed(self, viewer: Viewer, request: JobRequest) -> JobRequest:
        return with_base(request)

    def check(self, draft: Draft) -> None:
        check_generator(draft)
        recipe, datasets, base = draft.recipe, draft.request.datasets, draft.request.base
        if not datasets:
            raise Invalid(
                "Give datasets to learn from: rows of text, or of context, question, answer.", field="datasets"
            )
        rows = sum(dataset.facts["splits"][split] for dataset in datasets for split in splits_of(dataset, recipe.stage))
        if recipe.stage == "text" and rows < recipe.holdout + 2:
            raise CompositionError(
                "train.few_documents",
                f"{rows} documents were given, and {recipe.holdout} are held out. Give more, or hold out fewer.",
                field="datasets",
            )
        if recipe.stage == "questions" and GENERATOR not in draft.request.others:
            raise CompositionError(
                "train.no_start",
                "The stage questions begins from a generator trained on text. Give one.",
                field=GENERATOR,
            )
        recipe.config_for(str(base), require_shapes(base))

    def parents(self, request: JobRequest) -> list[Version]:
        return [*request.others.values(), *request.datasets]

    def cost(self, draft: Draft) -> dict[str, object]:
        recipe, base = draft.recipe, draft.base
        config = recipe.config_for(str(base), require_shapes(base))
        # Read once, then twice as many tokens learnt, forward and back; a teacher reads once more.
        passes = 14 + 2 * (recipe.distillation > 0)
        faster = speed_of(draft.method)
        seconds = passes * parameters_of(base) * recipe.batch_tokens * recipe.steps / TRAINED / faster
        memory = parameters_of(base) * 4 * 1.3 + config.parameters * 16
        return {
            "rank": config.adapter_rank,
            "bytes": config.parameters * 2,
            "seconds": round(10 + seconds, 1),
            "memory": int(memory),
        }


def splits_of(dataset: Version, stage: str) -> list[str]:
    """The splits a training reads: `train` where its rows suit, else all that suit. Invalid where none does."""
    if not dataset.repository.is_dataset:
        raise Invalid(f"{dataset} is {a(dataset.repository.kind)}; give datasets.", field="datasets")
    kinds = dataset.facts.get("kinds", {})
    suited = [split for split, kind in sorted(kinds.items()) if kind == ROWS[stage]]
    if not suited:
        there = ", ".join(f"{split}: {kind}" for split, kind in sorted(kinds.items())) or "no rows"
        raise Invalid(
            f"{dataset} has no split of {ROWS[stage]}, which the stage {stage} learns from; it has {there}. "
            'Rows are {"text": "…"} or {"context": "…", "question": "…", "answer": "…"}.',
            field="datasets",
            code="train.rows",
        )
    return ["train"] if "train" in suited else suited


HOME = TrainGenerator()
