"""A transfer by invented data (Trans-LoRA): an adapter on one base becomes an adapter on another.

The stages are in the worker's cache under the job's number. After a kill, the worker or another one on the same machine
resumes from there. Source and target are loaded when the method needs them, within the worker's memory budget.
The invented rows are kept with the result for its owners; the public report has none of their text.
"""

import io
import json
import shutil
from pathlib import Path
from typing import Any

from composition.recipes import TransLoraRecipe, check_memory
from composition.registry import METHODS, recipe_from_dict
from hub.models import JobInput, State
from hub.models.companions import DISCRIMINATOR, SEEDS, SYNTHETIC
from hub.services.content.manifest import Entry
from hub.services.jobs import files as job_files
from hub.services.jobs.kinds.transfer import memory_of
from hub.services.jobs.results import Beside
from hub.storage import blobs
from workers import devices
from workers.attempt import Attempt
from workers.inputs import inputs_of, loader, private_rows, replaces, with_task
from workers.kinds import WorkerKind, work_folder
from workers.models import checked_folder
from workers.moved import publish_moved, read_source
from workers.publishing import result_folder
from workers.worker import Worker


def transfer(attempt: Attempt, worker: Worker) -> None:
    """Move the job's adapter. Raises what the method refuses, and LostLease when the attempt is over."""
    from composition.formats.peft.save import lay_out

    job, recipe = attempt.job, recipe_from_dict(attempt.job.recipe)
    (row,) = inputs_of(job)
    source = read_source(attempt, worker, row)
    work = work_folder(worker, job)
    with result_folder(worker) as folder:
        made, rows, report = _by_data(attempt, worker, recipe, row, source, work)
        shutil.copytree(made, folder, dirs_exist_ok=True)
        lay_out(folder, recipe.layout, job.base.shapes)
        facts = {"rows": len(rows), "source": attempt.telling.name(row.version), "job": job.pk}
        beside = lambda: [Beside(kind=SYNTHETIC, entry=_store(rows), facts=facts)]  # noqa: E731
        publish_moved(attempt, worker, row, folder, report, beside)
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
        seeds=private_rows(attempt, SEEDS),
        discriminator=_discriminator(attempt, worker),
        discriminator_facts=job_files.facts_of(job, DISCRIMINATOR),
    )
    attempt.advance(State.RUNNING)
    try:
        result = METHODS[job.kind].load()(parties, with_task(recipe, row), work=work, progress=attempt.progress)
    except BaseException:
        # It is unknown what is attached in the middle of a stage; loading again is cheap.
        worker.models.drop(row.version.base)
        worker.models.drop(job.base)
        raise
    if fresh:
        worker.models.drop(row.version.base)
    return result.folder, result.rows, result.report


def _store(rows: list[dict[str, Any]]) -> Entry:
    """Rows as JSONL in the blob store."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return Entry(*blobs.put(io.BytesIO(text.encode())))


def _discriminator(attempt: Attempt, worker: Worker) -> Path | None:
    files = job_files.files_of(attempt.job, DISCRIMINATOR)
    return worker.folder_of(files) if files else None


HOME = WorkerKind(recipe=TransLoraRecipe, run=transfer, work="transfer")
