"""What making an adapter from a text, and training what makes it, ask for: generator, base, data, and what they cost.

Beside datasets and texts such jobs have inputs with a role of their own: `generator` (the one that writes, or the one a
training starts from), `onto` and `without` (generated adapters whose kept states a text is added to, or taken from).
"""

from collections.abc import Mapping, Sequence

from composition.errors import CompositionError
from composition.formats.dataset.files import QUESTIONS, TEXT
from composition.recipes import GenerateRecipe, Recipe, TrainGeneratorRecipe
from composition.recipes.generate import VERB
from composition.recipes.train_generator import TRAIN_VERB
from composition.registry import METHODS
from hub import access, broker
from hub.errors import Invalid
from hub.models import BaseModel, Kind, User, Version, Visibility
from hub.queries import generator as generators
from hub.services.bases import require_shapes
from hub.services.generation_files import CONTEXT, ONTO, STATE, WITHOUT, check_part
from hub.services.jobs.files import Given
from hub.services.jobs.scheduling import queue_of

GENERATOR = "generator"
ROLES = {VERB: (GENERATOR, ONTO, WITHOUT), TRAIN_VERB: (GENERATOR,)}
KEPT = {VERB: ("context", "state")}
ROWS = {"text": TEXT, "questions": QUESTIONS}
# Rough, for one core and fp32, measured on a 135M base; good to a factor of 3. A GPU is some 50 times faster.
READ, TRAINED, GPU = 1.2e11, 1.5e11, 50.0
SECONDS_TO_START = 2.0
ITEMSIZE = {"float32": 4, "float16": 2, "bfloat16": 2}
Others = Mapping[str, Version]


def verb_of(kind: str) -> str:
    """The verb of a kind of job; "" for a kind that is no method."""
    return METHODS[kind].verb if kind in METHODS else ""


def makes_or_uses(kind: str) -> bool:
    """Whether a job of this kind trains a generator, or writes with one."""
    return verb_of(kind) in ROLES


def completed(
    actor: User, kind: str, base: BaseModel | None, others: Others
) -> tuple[BaseModel | None, dict[str, Version]]:
    """Base and other inputs with what follows from the rest: a generator's base, a base's newest generator.

    Raises Invalid for a role that this kind has not, and `generate.no_generator` where none is there.
    """
    verb, found = verb_of(kind), {role: version for role, version in others.items() if version}
    for role in found:
        if role not in ROLES.get(verb, ()):
            raise Invalid(f"A job of the kind {kind} has no {role}.", field=role)
    if verb not in ROLES:
        return base, found
    if verb == VERB and GENERATOR not in found:
        kept = found.get(ONTO) or found.get(WITHOUT)
        found[GENERATOR] = _behind(actor, kept) if kept else _newest(actor, base)
    if base is None and GENERATOR in found:
        base = found[GENERATOR].base
    if base is None:
        raise Invalid("Say which base the generator shall be for.", field="base")
    return base, found


def check_parties(
    kind: str,
    recipe: Recipe,
    inputs: Sequence[Version],
    datasets: Sequence[Version],
    base: BaseModel | None,
    others: Others,
) -> None:
    """Refuse a generator of another base, states of another generator, data of another kind than the stage's."""
    if inputs:
        raise Invalid(f"{METHODS[kind].label} takes no adapters as inputs.", field="inputs")
    generator = others.get(GENERATOR)
    if generator and generator.repository.kind != Kind.GENERATOR:
        raise Invalid(f"{generator} is a {generator.repository.kind}; give a generator.", field=GENERATOR)
    if generator and generator.base_id != base.pk:
        raise Invalid(
            f"{generator} writes adapters for {generator.base}, not for {base}. Choose a generator of {base}, or leave "
            "it out for the newest.",
            field=GENERATOR,
            code="generator.other_base",
        )
    if isinstance(recipe, TrainGeneratorRecipe):
        _check_training(recipe, datasets, base, generator)
        return
    if datasets:
        raise Invalid("A generation reads texts, not datasets: send them as files.context.", field="datasets")
    for role in (ONTO, WITHOUT):
        if role in others:
            _check_state(others[role], role, generator)
    if WITHOUT in others and ONTO not in others:
        raise Invalid("Say from which adapter it shall be taken away (onto).", field=ONTO)


def parents_of(kind: str, inputs: Sequence[Version], datasets: Sequence[Version], others: Others) -> list[Version]:
    """What the result is made from: a private one makes it private."""
    if verb_of(kind) == TRAIN_VERB:
        return [*others.values(), *datasets]
    return list(others.values()) if verb_of(kind) == VERB else list(inputs)


def asked_visibility(kind: str, asked: str | None) -> str | None:
    """What was asked for. An adapter made from a text gives that text away in part, so it is private unless said."""
    if verb_of(kind) == "discriminator":
        return None  # It is kept privately, whoever may see its adapter.
    return asked or (Visibility.PRIVATE if verb_of(kind) == VERB else None)


def check_keep(kind: str, keep: Sequence[str]) -> list[str]:
    """The kinds of companions to keep, each once; Invalid for one that this kind of job has not."""
    may = KEPT.get(verb_of(kind), ())
    for word in keep:
        if word not in may:
            raise Invalid(
                f"A job of the kind {kind} can't keep {word!r}; it can keep: {', '.join(may) or 'nothing'}.",
                field="keep",
            )
    return sorted(set(keep))


def check_files(recipe: Recipe, base: BaseModel | None, given: Sequence[Given]) -> None:
    """Refuse a text too long by any count of its tokens, `generate.too_long`, and a state that holds no other."""
    if isinstance(recipe, GenerateRecipe):
        states = {file.name: file for file in given if file.role == STATE}
        if len(states) == 2:
            check_part(states[ONTO], states[WITHOUT])
        sees = (base.config if base else {}).get("max_position_embeddings")
        for file in given:
            if file.role == CONTEXT:
                recipe.check_length(file.facts["tokens_about"] // 2, sees if isinstance(sees, int) else None)


def notes(recipe: Recipe | None, given: Sequence[Given], others: Others, visibility: str) -> list[str]:
    """What one should know before the start."""
    if not isinstance(recipe, GenerateRecipe):
        return []
    tokens = sum(file.facts["tokens_about"] for file in given if file.role == CONTEXT)
    said = [f"Written by {others[GENERATOR]}." if GENERATOR in others else ""]
    if tokens > recipe.max_tokens:
        said.append(f"The texts have about {tokens:,} tokens, more than the {recipe.max_tokens:,} that are read.")
    if visibility == Visibility.PUBLIC:
        said.append("The adapter will be public: parts of the text can be read out of it.")
    return [line for line in said if line]


def splits_of(dataset: Version, stage: str) -> list[str]:
    """The splits a training reads: `train` where its rows suit, else all that suit. Invalid where none does."""
    if dataset.repository.kind != Kind.DATASET:
        raise Invalid(f"{dataset} is a {dataset.repository.kind}; give datasets.", field="datasets")
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


def estimate(recipe: Recipe, given: Sequence[Given], base: BaseModel | None, others: Others) -> dict[str, object]:
    """Rank and bytes of the result; seconds and bytes of memory to make it."""
    parameters = float((base and base.parameters) or 1e8)
    faster = GPU if queue_of(recipe.kind) == broker.GPU else 1.0
    if isinstance(recipe, TrainGeneratorRecipe):
        config = recipe.config_for(str(base), require_shapes(base))
        # Read once, then twice as many tokens learnt, forward and back; a teacher reads once more.
        passes = 14 + 2 * (recipe.distillation > 0)
        seconds = passes * parameters * recipe.batch_tokens * recipe.steps / TRAINED / faster
        memory = parameters * 4 * 1.3 + config.parameters * 16
        return {
            "rank": config.adapter_rank,
            "bytes": config.parameters * 2,
            "seconds": round(10 + seconds, 1),
            "memory": int(memory),
        }
    facts = others[GENERATOR].facts
    tokens = sum(file.facts["tokens_about"] for file in given if file.role == CONTEXT)
    seconds = SECONDS_TO_START + 2 * parameters * tokens / READ / faster
    return {
        "rank": facts["adapter_rank"],
        "bytes": facts["adapter_parameters"] * ITEMSIZE[recipe.dtype],
        "seconds": round(seconds, 1),
        "memory": int(parameters * 4 * 1.3 + facts["parameters"] * 4),
    }


def _check_training(
    recipe: TrainGeneratorRecipe, datasets: Sequence[Version], base: BaseModel, start: Version | None
) -> None:
    if not datasets:
        raise Invalid("Give datasets to learn from: rows of text, or of context, question, answer.", field="datasets")
    rows = sum(dataset.facts["splits"][split] for dataset in datasets for split in splits_of(dataset, recipe.stage))
    if recipe.stage == "text" and rows < recipe.holdout + 2:
        raise CompositionError(
            "train.few_documents",
            f"{rows} documents were given, and {recipe.holdout} are held out. Give more, or hold out less.",
            field="datasets",
        )
    if recipe.stage == "questions" and start is None:
        raise CompositionError(
            "train.no_start", "The stage questions begins from a generator trained on text. Give one.", field=GENERATOR
        )
    recipe.config_for(str(base), require_shapes(base))


def _check_state(version: Version, role: str, generator: Version | None) -> None:
    behind = generators.generator_behind(version)
    if behind is None:
        raise Invalid(f"{version} was not generated from a text; {role} takes a generated adapter.", field=role)
    if generator and behind.content_digest != generator.content_digest:
        raise Invalid(
            f"{version} was written by {behind}, not by {generator}. States add up within one generator only.",
            field=role,
            code="state.other_generator",
        )


def _behind(actor: User, version: Version) -> Version:
    behind = generators.generator_behind(version)
    if behind is None or not generators.seen(access.Viewer(user=actor), [behind]):
        raise Invalid(f"{version} was not generated by a generator that you can see.", field=ONTO)
    return behind


def _newest(actor: User, base: BaseModel | None) -> Version:
    if base is None:
        raise Invalid("Say for which base the adapter shall be.", field="base")
    found = generators.generators_of(access.Viewer(user=actor), base)
    if not found:
        raise Invalid(
            f"{base} has no generator yet, or none that you can see. Train one, once for the base: "
            f"hubctl generator train --base {base.name} --text FOLDER --to NAMESPACE/generator",
            field="base",
            code="generate.no_generator",
            base=str(base),
        )
    return found[0]
