"""What a transfer asks of its two bases and its private files, what it costs, and which shorter way there may be."""

from collections.abc import Sequence

from composition.facts import AdapterFacts
from composition.formats.dataset.seed_rows import MOST_ROWS
from composition.recipes import DiscriminatorRecipe, Recipe, ShortcutRecipe, TransLoraRecipe
from composition.recipes.memory import check_memory, memory_estimate
from composition.registry import METHODS
from hub import broker
from hub.errors import Invalid
from hub.models import BaseModel, Version
from hub.services.bases import require_shapes
from hub.services.content.companions import DISCRIMINATOR, SEEDS
from hub.services.content.dataset_rows import prompt_rows
from hub.services.jobs import files
from hub.services.jobs.scheduling import able_workers, bases_for, queue_of

# Rough, for one core and fp32, measured on 135M and 268M bases; good to a factor of 3. A GPU is some 50 times faster.
TRAINED, WRITTEN, GPU = 1.5e11, 2.5e10, 50.0
TOKENS = 48  # of a row
TRIED = 3  # candidates for each sample that is kept
PROMPT, ITEM = 200, 40  # tokens read and written for a candidate


def check_parties(
    kind: str, recipe: Recipe, inputs: Sequence[Version], datasets: Sequence[Version], base: BaseModel | None
) -> None:
    """Refuse a target that is missing, the adapter's own, unread, or of other shapes than a shortcut needs."""
    recipe.check([(str(version), AdapterFacts.from_dict(version.facts)) for version in inputs])
    if METHODS[kind].verb == "discriminator":
        if base and base.pk != inputs[0].base_id:
            raise Invalid(f"A discriminator stands on the adapter's own base, {inputs[0].base}.", field="base")
        if len(datasets) > 1:
            raise Invalid(f"Give one dataset of real inputs, not {len(datasets)}.", field="datasets")
        return
    if datasets:
        raise Invalid("A transfer reads no dataset: its data are invented from the seeds.", field="datasets")
    if base is None:
        raise Invalid("Say which base the adapter shall move to.", field="base", code="transfer.no_target")
    if base.pk == inputs[0].base_id:
        raise Invalid(
            f"{inputs[0]} belongs to {base} already; choose another base.", field="base", code="transfer.same"
        )
    require_shapes(base)
    if isinstance(recipe, ShortcutRecipe) and (reason := _misfit(kind, inputs[0], base)):
        raise Invalid(reason, field="base", code="transfer.shapes")
    if isinstance(recipe, TransLoraRecipe):
        _check_room(kind, recipe, inputs, base)


def check_files(recipe: Recipe, given: Sequence[files.Given], datasets: Sequence[Version]) -> None:
    """Refuse a transfer without seeds or without the discriminator it filters by; a training without real inputs."""
    seeds = files.rows(given, SEEDS)
    if recipe.kind == "loram" and not given:
        raise Invalid(
            "Send the index map that pruning left, as files.index: which rows and columns of each full weight remain.",
            field="files",
            code="transfer.no_index",
        )
    if isinstance(recipe, TransLoraRecipe):
        recipe.check_parties(seeds, any(file.role == DISCRIMINATOR for file in given))
    if isinstance(recipe, DiscriminatorRecipe):
        real = files.rows(given, files.REAL)
        if real and datasets:
            raise Invalid("Real inputs came as a file and as a dataset; give one of them.", field="datasets")
        recipe.check_data(real or sum(_real_rows(dataset, recipe.split) for dataset in datasets), seeds)


def _real_rows(dataset: Version, split: str) -> int:
    """Rows of the split, as many as a discriminator reads."""
    count = prompt_rows(dataset, split, "a discriminator")
    if count > MOST_ROWS:
        raise Invalid(f"{dataset} has {count:,} rows; a discriminator reads {MOST_ROWS:,}.", field="datasets")
    return count


def output_of(kind: str, inputs: Sequence[Version]) -> tuple[str, str] | None:
    """Where a result goes that has its place already: a discriminator is kept beside its adapter."""
    if METHODS[kind].verb != "discriminator" or not inputs:
        return None
    repository = inputs[0].repository
    return repository.namespace.name, repository.name


def notes(recipe: Recipe | None, given: Sequence[files.Given]) -> list[str]:
    """What one should know before the start: few seeds, a weak discriminator."""
    if not isinstance(recipe, TransLoraRecipe):
        return []
    said = recipe.warnings(files.rows(given, SEEDS)) if files.rows(given, SEEDS) else []
    facts = next((file.facts for file in given if file.role == DISCRIMINATOR), {})
    if isinstance(facts.get("recall"), int | float):
        refuses = facts.get("specificity")
        rest = f", and refuses {100 * refuses:.0f} % of invented ones" if isinstance(refuses, int | float) else ""
        said.append(f"The discriminator knows {100 * facts['recall']:.0f} % of held-out real inputs{rest}.")
    return said


def shortcuts(kind: str, inputs: Sequence[Version], base: BaseModel | None) -> list[dict]:
    """Ways without data that fit these bases, the surest first: [{"kind", "label", "reason"}]."""
    if len(inputs) != 1 or base is None or base.shapes is None or inputs[0].base_id in (None, base.pk):
        return []
    if kind in METHODS and METHODS[kind].verb != "transfer":
        return []
    source, found = inputs[0].base, []
    near = _relation(source, base)
    for method in (row for row in METHODS.values() if row.verb == "transfer"):
        if issubclass(method.recipe, ShortcutRecipe) and not _misfit(method.kind, inputs[0], base):
            if method.kind == "loram" and not (near and BaseModel.Relation.PRUNED in (source.relation, base.relation)):
                continue
            found.append({"kind": method.kind, "label": method.label, "reason": f"{method.summary} {near}".strip()})
    return found


def estimate(recipe: Recipe, inputs: Sequence[Version], base: BaseModel | None) -> dict:
    """Ranks and bytes of the result; seconds and bytes of memory to make it."""
    facts = AdapterFacts.from_dict(inputs[0].facts)
    source = inputs[0].base
    ranks = recipe.output_ranks([(str(inputs[0]), facts)])
    made = {"ranks": ranks, "rank": max(ranks.values(), default=getattr(recipe, "rank", None))}
    if isinstance(recipe, ShortcutRecipe):
        both = sum(_parameters(one) * 4 for one in (source, base)) if METHODS[recipe.kind].needs.base_model else 0
        return {**made, "bytes": facts.bytes, "seconds": 5.0 + both / 1e8, "memory": int(both or facts.bytes * 3)}
    samples = getattr(recipe, "samples", None) or getattr(recipe, "negatives", None) or 250
    trained = base or source
    steps = getattr(recipe, "steps", None)
    rows = steps * recipe.batch_size if steps else samples * recipe.epochs
    writer = source if getattr(recipe, "synthesiser", "source") == "source" else trained
    seconds = samples * TRIED * 2 * _parameters(writer) * (ITEM / WRITTEN + PROMPT / TRAINED)
    seconds += samples * TRIED * 2 * _parameters(source) * ITEM / WRITTEN
    seconds += rows * TOKENS * 6 * _parameters(trained) / TRAINED
    seconds /= GPU if queue_of(recipe.kind) == broker.GPU else 1.0
    parts = _memory(recipe, source, base) if isinstance(recipe, TransLoraRecipe) else [_parameters(source) * 6]
    return {**made, "bytes": None, "seconds": round(10.0 + seconds, 1), "memory": int(max(parts))}


def _check_room(kind: str, recipe: TransLoraRecipe, inputs: Sequence[Version], base: BaseModel) -> None:
    """`transfer.memory` where workers hold both bases and none has room to train on the target."""
    workers = able_workers(kind, bases_for(kind, inputs, base))
    told = [worker.model_bytes for worker in workers if worker.model_bytes]
    if told and len(told) == len(workers):
        check_memory(memory_of(recipe, base), max(told), str(base))


def memory_of(recipe: TransLoraRecipe, base: BaseModel) -> dict[str, int]:
    """Bytes to train on `base`, by part and in all; see `memory_estimate`."""
    config = base.config.get("text_config") or base.config
    shape = {
        "layers": int(config.get("num_hidden_layers") or config.get("n_layer") or 24),
        "width": int(config.get("hidden_size") or config.get("n_embd") or 1024),
        "vocabulary": int(config.get("vocab_size") or 50_000),
    }
    return memory_estimate(int(_parameters(base)), recipe, **shape)


def _memory(recipe: TransLoraRecipe, source: BaseModel, base: BaseModel | None) -> list[float]:
    """Source and target need not be loaded together; the larger counts."""
    return [_parameters(source) * 4 * 1.3, *([memory_of(recipe, base)["total"]] if base else [])]


def _parameters(base: BaseModel | None) -> float:
    return float((base and base.parameters) or 1e8)


def _misfit(kind: str, version: Version, base: BaseModel) -> str:
    """Why a shortcut can't put this adapter on `base`; "" where it can."""
    shapes, facts = base.shapes or {}, AdapterFacts.from_dict(version.facts)
    for name, module in facts.modules.items():
        there = shapes.get(name)
        if there is None and kind == "portllm":
            return f"{base} has no module {name}, which {version} adapts. A transfer by data (trans-lora) needs none."
        here = [module.out_features, module.in_features]
        if kind == "portllm" and list(there or ()) != here:
            return (
                f"{name} is {here} in {version} and {list(there or ())} in {base}; this way needs equal shapes. "
                "Use trans-lora, or cross-lora."
            )
        if kind == "loram" and there and any(full < part for full, part in zip(there, here, strict=False)):
            return (
                f"{name} is {here} in {version} and only {list(there or ())} in {base}; recovery goes to the full base."
            )
    return ""


def _relation(source: BaseModel, target: BaseModel) -> str:
    """How two bases are related in the hub's tree, as a sentence; "" where they aren't."""
    for younger, elder, words in ((target, source, "derived from"), (source, target, "the origin of")):
        seen, at = set(), younger
        while at.derived_from_id and at.pk not in seen:
            seen.add(at.pk)
            at = at.derived_from
            if at.pk == elder.pk:
                how = f" ({younger.relation})" if younger.relation else ""
                return f"{target} is {words} {source}{how}."
    if source.derived_from_id and source.derived_from_id == target.derived_from_id:
        return f"Both are derived from {source.derived_from}."
    return ""
