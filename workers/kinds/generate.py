"""A generation: the base reads each text once, the states add up, and the generator writes a LoRA from the sum.

If the job names kept states, the texts are added to the state `onto`, and the state `without` is subtracted; the texts
of those states are not read again. The text itself is kept with the job, and with the result only if its owner asked
for it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from composition.chunking import cut
from composition.recipes import GenerateRecipe
from composition.registry import METHODS, recipe_from_dict
from hub.models import BaseModel, Job, Origin, State
from hub.models.companions import CONTEXT, STATE
from hub.services.content.manifest import Entry
from hub.services.jobs import files as job_files
from hub.services.jobs.kinds.generate import GENERATOR, ONTO, WITHOUT
from hub.services.jobs.results import Beside
from hub.storage import blobs
from workers.attempt import Attempt
from workers.generative_cards import generated_card
from workers.inputs import inputs_of
from workers.kinds import WorkerKind
from workers.publishing import publish_folder, result_folder
from workers.worker import Worker


def generate(attempt: Attempt, worker: Worker) -> None:
    """Make the job's adapter. Raises what the method refuses, and LostLease when the attempt is over."""
    from composition.generative import load_generator

    job, recipe = attempt.job, recipe_from_dict(attempt.job.recipe)
    (row,) = inputs_of(job, GENERATOR)
    attempt.say(f"Reading {row.version}")
    generator = load_generator(worker.input_folder(row))
    kept = {name: _load(worker, name, entry) for name, entry in job_files.files_of(job, STATE).items()}
    model, tokenizer = worker.models.get(job.base, attempt.say)

    attempt.advance(State.RUNNING)
    state, documents = _read(attempt, (model, tokenizer, generator), recipe, kept)
    parents = [row.version, *(one.version for role in (ONTO, WITHOUT) for one in inputs_of(job, role))]
    report = _report(generator, state, documents, {role: one.tokens for role, one in kept.items()})
    with result_folder(worker) as folder, result_folder(worker) as aside:
        _write(folder, generator, state, model, recipe, job.base)
        publish_folder(
            attempt,
            worker,
            folder,
            card=generated_card(job, METHODS[job.kind], parents, report),
            parents=parents,
            origin=Origin.GENERATED,
            message=_message(documents, report),
            report=report,
            beside=lambda: _beside(job, aside, state, report),
        )


def _message(documents: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> str:
    """What the version says of itself."""
    if not documents:
        return "Texts were removed"
    texts = "1 text" if len(documents) == 1 else f"{len(documents)} texts"
    return f"Generated from {texts}, {report['summary']['tokens']:,} tokens"


def _read(attempt: Attempt, made: tuple, recipe: GenerateRecipe, kept: dict[str, Any]) -> tuple[Any, list[dict]]:
    """(state, [{"sha256", "tokens", "chunks", "boundaries"}]) of the job's texts and the kept states."""
    from composition.generative import State as Sum
    from composition.generative.encode import read
    from composition.generative.generate import check_generator

    model, tokenizer, generator = made
    check_generator(model, generator)
    generator.to(next(model.parameters()).device)
    state = kept[ONTO] + Sum.zero(generator) if ONTO in kept else Sum.zero(generator)
    texts, documents = attempt.write(_texts, attempt.job), []
    longest = getattr(model.config, "max_position_embeddings", None)
    for number, (sha256, text) in enumerate(texts):
        recipe.check_text(text)
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        recipe.check_length(len(ids), longest)

        def progress(fraction: float, message: str = "", before: int = number, **figures: float) -> None:
            said = f"Text {before + 1} of {len(texts)}: {message}" if len(texts) > 1 else message
            attempt.progress((before + fraction) / len(texts), said, **figures)

        state = state + read(model, generator, ids, recipe, progress=progress)
        parts = cut(len(ids), recipe.mode, recipe.window)
        documents.append(
            {"sha256": sha256, "tokens": len(ids), "chunks": len(parts), "boundaries": [list(pair) for pair in parts]}
        )
        attempt.say(f"Text {number + 1}: {len(ids):,} tokens in {len(parts)} chunks")
    if WITHOUT in kept:
        state = state - kept[WITHOUT]
    return state, documents


def _write(folder: Path, generator: Any, state: Any, model: Any, recipe: GenerateRecipe, base: BaseModel) -> None:
    """The PEFT folder of a state."""
    import torch

    from composition.generative import adapter_of
    from composition.weights import save_peft

    weights = adapter_of(generator.cpu(), state, model, dtype=getattr(torch, recipe.dtype), strength=recipe.strength)
    save_peft(weights, folder, base_model=base.name, layout=recipe.layout, base_shapes=base.shapes)


def _texts(job: Job) -> list[tuple[str, str]]:
    """[(digest, text)] in the order of their names."""
    found = []
    for _, entry in sorted(job_files.files_of(job, CONTEXT).items()):
        with blobs.open(entry.sha256) as stream:
            found.append((entry.sha256, stream.read().decode("utf-8")))
    return found


def _load(worker: Worker, name: str, entry: Entry) -> Any:
    from composition.generative import State as Sum

    path = f"{name}.safetensors"
    return Sum.load(worker.folder_of({path: entry}) / path)


def _report(generator: Any, state: Any, documents: list[dict], states: dict[str, int]) -> dict[str, Any]:
    """What the page shows: digests, tokens and chunks of the texts; never their names or words."""
    config = generator.config
    return {
        "method": "generate",
        "summary": {
            "texts": len(documents),
            "tokens": sum(one["tokens"] for one in documents),
            "chunks": sum(one["chunks"] for one in documents),
            "tokens_in_all": state.tokens,
            "rank": config.adapter_rank,
        },
        "documents": documents,
        "states": states,
        "generator": {"sha256": state.generator, "parameters": config.parameters, "norm": config.norm},
        "warnings": [],
    }


def _beside(job: Job, folder: Path, state: Any, report: dict[str, Any]) -> list[Beside]:
    """What the owner asked to keep with the result: the texts under their names, the state."""
    texts = Counter(one["sha256"] for one in report["documents"])
    before = {file.name: file.facts.get("texts", []) for file in job.files.filter(role=STATE)}
    texts.update(before.get(ONTO, []))
    texts.subtract(before.get(WITHOUT, []))
    facts = {"tokens": state.tokens, "generator": state.generator, "job": job.pk}
    beside = []
    if CONTEXT in job.keep:
        for name, entry in job_files.files_of(job, CONTEXT).items():
            stem = name if name.lower().endswith((".txt", ".md")) else f"{name}.txt"
            beside.append(Beside(kind=CONTEXT, entry=entry, facts={"sha256": entry.sha256}, suffix=f"/{stem}"))
    if STATE in job.keep:
        path = folder / "state.safetensors"
        state.save(path)
        entry = Entry(*blobs.add(path))
        beside.append(
            Beside(kind=STATE, entry=entry, facts={**facts, "texts": sorted(texts.elements())}, suffix=".safetensors")
        )
    return beside


HOME = WorkerKind(recipe=GenerateRecipe, run=generate)
