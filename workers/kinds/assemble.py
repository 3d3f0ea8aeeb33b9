"""An assembly: stack the adapters, train their router on the base, measure where tokens go, write the folder, publish.

If the first input is a mixture, the others join it and its router goes on from what it learnt.

The training's state is in the worker's cache under the job's number. After a kill, the worker or another one on the
same machine resumes from there; on another machine the job starts again, and ends with the same bytes.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from composition.formats.mixture.config import read_assembly_config
from composition.recipes import AssembleRecipe
from composition.registry import METHODS, recipe_from_dict
from hub.models import DATASET, JobInput, Origin, State
from hub.services.content.manifest import format_of, manifest_of
from workers.attempt import Attempt
from workers.cards import assembly_card
from workers.inputs import adapter_of, dataset_rows, inputs_of, versions
from workers.kinds import WorkerKind, work_folder
from workers.publishing import publish_folder, result_folder
from workers.telling import HIDDEN, public_names
from workers.worker import Worker


def assemble(attempt: Attempt, worker: Worker) -> None:
    """Make one mixture of the job's adapters. Raises what the method refuses, and LostLease if the attempt is over."""
    job, method = attempt.job, METHODS[attempt.job.kind]
    recipe, rows = recipe_from_dict(job.recipe), inputs_of(job)
    parents = versions(rows)
    mixture = worker.input_folder(rows[0]) if parents[0].is_mixture else None
    there = read_assembly_config(mixture).names if mixture else []
    joining = rows[1:] if mixture else rows
    own = _own_names(public_names(job, parents)[-len(joining) :], there)
    adapters = [adapter_of(attempt, worker, row, name) for row, name in zip(joining, own, strict=True)]
    names = [*there, *own]
    data = _data(attempt, worker, recipe, names)
    model, tokenizer = worker.models.get(job.base, attempt.say)

    attempt.advance(State.RUNNING)
    work = work_folder(worker, job)
    sources = [_source(row) for row in joining]
    if mixture:
        from composition.moe.grow import add_experts

        assembly = add_experts(mixture, adapters, recipe, sources=sources)
    else:
        assembly = method.load()(adapters, recipe, sources=sources)
    if recipe.trains:
        from composition.moe.train import train_assembly

        try:
            assembly = train_assembly(model, tokenizer, assembly, recipe, data, work=work, progress=attempt.progress)
        except Exception:
            worker.models.drop(job.base)
            raise
    from composition.moe.save import save_assembly

    with result_folder(worker) as folder:
        save_assembly(assembly, folder)
        report = _report(assembly, _routing(attempt, folder, model, tokenizer, data))
        publish_folder(
            attempt,
            worker,
            folder,
            card=assembly_card(job, method, parents, report, experts=len(names)),
            parents=parents,
            origin=Origin.ASSEMBLED,
            message=f"{method.label} of {', '.join(names)}",
            report=report,
        )
    shutil.rmtree(work, ignore_errors=True)


def _own_names(names: Sequence[str], there: Sequence[str]) -> list[str]:
    """The names of the joining adapters; a hidden one gets a number that no expert has yet."""
    own: list[str] = []
    for name in names:
        stem, _, number = name.rpartition(" ")
        while stem == HIDDEN and name in (*there, *own):
            number = str(int(number) + 1)
            name = f"{stem} {number}"
        own.append(name)
    return own


def _data(attempt: Attempt, worker: Worker, recipe: AssembleRecipe, names: Sequence[str]) -> dict[str, list[dict]]:
    """{expert's name, or text's number: rows}: labels that name no dataset, because others may not see it."""
    datasets = inputs_of(attempt.job, DATASET)
    labels = names if recipe.needs_labels else [f"text {number}" for number in range(1, len(datasets) + 1)]
    pairs = zip(datasets, labels, strict=False)
    return {label: dataset_rows(attempt, worker, row, recipe.split) for row, label in pairs}


def _source(row: JobInput) -> dict[str, Any]:
    """What the assembly's config records of an expert's origin: the digest of its weights, its licence."""
    manifest = manifest_of(row.version.revision)
    weights = format_of(row.version.repository.kind, manifest).weights_in(manifest)[0]
    return {"sha256": manifest[weights].sha256, "license": row.version.repository.license or None}


def _report(assembly: Any, routing: dict[str, Any] | None) -> dict[str, Any]:
    """What the page shows: figures under `summary`, the router's training, and where tokens go."""
    summary = {key: value for key, value in assembly.report.items() if isinstance(value, int | float)}
    told = {key: assembly.report.get(key) for key in ("method", "stage", "warnings")}
    return {**told, "summary": summary, "training": assembly.router, "routing": routing}


def _routing(
    attempt: Attempt, folder: Path, model: Any, tokenizer: Any, data: Mapping[str, list[dict]]
) -> dict[str, Any] | None:
    """Shares of the experts by task and layer; None if there is no data to measure them on."""
    if not data:
        return None
    from composition.moe.routing import routing_report
    from composition.running.base_models import adapter_attached

    with adapter_attached(model, folder) as mixture:
        return routing_report(mixture, tokenizer, data, progress=attempt.progress)


HOME = WorkerKind(recipe=AssembleRecipe, run=assemble, work="assembly")
