"""A transfer: an adapter on one base becomes an adapter on another, by invented data or by a shorter way between kin.

The stages lie in the worker's cache under the job's number: a worker that is killed, or another on the same machine,
goes on from there. Source and target come into memory when the method asks for them, within the worker's budget.
The invented rows are kept beside the result for its owners; the public report holds none of their text.
"""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from composition.formats import read_adapter
from composition.formats.dataset.seed_rows import read_seeds
from composition.recipes import TransLoraRecipe, check_memory, recipe_from_dict
from composition.registry import METHODS
from hub.models import BaseModel, JobInput, Origin, State
from hub.services.content.companions import DISCRIMINATOR, SEEDS, SYNTHETIC
from hub.services.content.manifest import Entry
from hub.services.jobs import files as job_files
from hub.services.jobs.check import named
from hub.services.jobs.results import Beside, publish_result
from hub.services.transfer_check import memory_of
from hub.storage import blobs
from workers import devices
from workers.attempt import Attempt
from workers.cache import PART
from workers.cards import public_names, transfer_card
from workers.evaluating import replaces
from workers.leftovers import work_folder
from workers.models import checked_folder
from workers.worker import Worker, inputs_of

# What a report may not tell the public: text that was invented after private examples.
PRIVATE = frozenset({"examples", "kept_examples", "rejected_examples", "rows", "seeds"})


def transfer(attempt: Attempt, worker: Worker) -> None:
    """Move the job's adapter. Raises what the method refuses, and LostLease when the attempt is over."""
    job, method = attempt.job, METHODS[attempt.job.kind]
    recipe = recipe_from_dict(job.recipe)
    (row,) = inputs_of(job, "adapter")
    attempt.say(f"Reading {named(row.version)}, to be moved from {row.version.base} to {job.base}")
    source = worker.input_folder(row)
    work = work_folder(worker.cache.root, "transfer", job)
    with tempfile.TemporaryDirectory(prefix=PART, dir=worker.cache.root) as name:
        folder, rows = Path(name), None
        if isinstance(recipe, TransLoraRecipe):
            made, rows, report = _by_data(attempt, worker, recipe, row, source, work)
            shutil.copytree(made, folder, dirs_exist_ok=True)
        else:
            report = _by_weights(attempt, worker, recipe, row, source, folder)
        for warning in report.get("warnings", []):
            attempt.say(f"Warning: {warning}")
        attempt.advance(State.SAVING)
        _publish(attempt, worker, row, folder, {**_public(report), "method": method.kind}, rows)
    shutil.rmtree(work, ignore_errors=True)


def _by_data(
    attempt: Attempt, worker: Worker, recipe: TransLoraRecipe, row: JobInput, source: Path, work: Path
) -> tuple[Path, list[dict[str, Any]], dict[str, Any]]:
    """(PEFT folder, invented rows, report) of the four stages."""
    import composition.moe.lora_moe_peft  # noqa: F401 - mixtures are adapters that peft knows by this import
    from transfer.parties import Parties

    job, fresh = attempt.job, replaces(row.version)
    check_memory(memory_of(recipe, job.base), worker.models.budget, str(job.base))
    parties = Parties(
        source=loader(attempt, worker, row.version.base, recipe.precision, fresh=fresh),
        source_adapter=source,
        source_name=str(row.version.base),
        target=loader(attempt, worker, job.base, recipe.precision),
        target_name=str(job.base),
        target_id=job.base.name,
        target_folder=checked_folder(job.base, attempt.say) if devices.processes() > 1 else None,
        processes=devices.processes(),
        seeds=rows_of(attempt, SEEDS),
        discriminator=_discriminator(attempt, worker),
        discriminator_facts=job_files.facts_of(job, DISCRIMINATOR),
    )
    attempt.advance(State.RUNNING)
    try:
        result = METHODS[job.kind].load()(parties, with_task(recipe, row), work=work, progress=attempt.progress)
    except BaseException:
        # Nobody knows what is attached in the middle of a stage; loading again is cheap.
        worker.models.drop(row.version.base)
        worker.models.drop(job.base)
        raise
    if fresh:
        worker.models.drop(row.version.base)
    return result.folder, result.rows, result.report


def _by_weights(
    attempt: Attempt, worker: Worker, recipe: Any, row: JobInput, source: Path, folder: Path
) -> dict[str, Any]:
    """Write the PEFT folder of a way without data; its report."""
    job = attempt.job
    adapter = read_adapter(source)
    adapter.name = public_names(job, [row.version])[0]
    needs: dict[str, Any] = {"base_name": job.base.name}
    if job.kind in ("portllm", "loram"):
        needs["shapes"] = job.base.shapes
    if job.kind == "loram":
        needs["index"] = json.loads(_only(attempt, job_files.INDEX))
    if job.kind == "cross-lora":
        needs["source"], needs["target"] = (checked_folder(one, attempt.say) for one in (row.version.base, job.base))
    attempt.advance(State.RUNNING)
    result = METHODS[job.kind].load()([adapter], recipe, **needs, progress=attempt.progress)
    from composition.weights import save_peft

    save_peft(result.weights, folder, base_model=job.base.name)
    return result.report


def _publish(
    attempt: Attempt,
    worker: Worker,
    row: JobInput,
    folder: Path,
    report: dict[str, Any],
    rows: list[dict[str, Any]] | None,
) -> None:
    job, method = attempt.job, METHODS[attempt.job.kind]
    names = public_names(job, [row.version])
    report["source"] = {"base": str(row.version.base), "adapter": names[0]}
    report["target"] = {"base": str(job.base)}
    report["files"] = [
        {"role": file.role, "name": file.name, "sha256": file.digest} for file in job.files.order_by("role", "name")
    ]
    card = transfer_card(job, method, [row.version], names, report)
    (folder / "README.md").write_text(card, encoding="utf-8")
    files = {path.name: blobs.add(path, link=True) for path in sorted(folder.iterdir()) if path.is_file()}
    beside = []
    if rows is not None:
        facts = {"rows": len(rows), "source": named(row.version), "job": job.pk}
        beside.append(Beside(kind=SYNTHETIC, entry=store_rows(folder, rows), facts=facts))
    publish_result(
        job=job,
        files=files,
        parents=[row.version],
        origin=Origin.TRANSFERRED,
        message=f"{method.label} of {names[0]} to {job.base}",
        report=report,
        environment=worker.environment,
        beside=beside,
    )


def loader(
    attempt: Attempt, worker: Worker, base: BaseModel, precision: str = "float32", *, fresh: bool = False
) -> Callable[[], tuple[Any, Any]]:
    """Gives (model, tokenizer) of a base when called, from memory or from disk; `fresh`: always from disk."""

    def load() -> tuple[Any, Any]:
        if fresh:
            worker.models.drop(base)
        return worker.models.get(base, attempt.say, precision=precision)

    return load


def rows_of(attempt: Attempt, role: str) -> list[dict[str, Any]]:
    """The rows of one of the job's files."""
    rows = read_seeds(_only(attempt, role), what=role)
    attempt.say(f"{len(rows)} rows of {role}")
    return rows


def with_task(recipe: Any, row: JobInput) -> Any:
    """The recipe with the adapter's name for its task where it names none."""
    if recipe.task.strip():
        return recipe
    return dataclasses.replace(recipe, task=row.version.repository.name.replace("-", " ").replace("_", " "))


def store_rows(folder: Path, rows: list[dict[str, Any]]) -> Entry:
    """Rows as JSONL in the blob store."""
    path = folder / ".rows"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return Entry(*blobs.add(path))


def _only(attempt: Attempt, role: str) -> bytes:
    (entry,) = job_files.files_of(attempt.job, role).values()
    with blobs.open(entry.sha256) as stream:
        return stream.read()


def _discriminator(attempt: Attempt, worker: Worker) -> Path | None:
    files = job_files.files_of(attempt.job, DISCRIMINATOR)
    return worker.cache.folder(files) if files else None


def _public(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report without invented text."""
    told = {}
    for key, value in report.items():
        if key not in PRIVATE or isinstance(value, int | float):
            told[key] = _public(value) if isinstance(value, dict) else value
    return told
