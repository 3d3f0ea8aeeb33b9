"""What all transfers share on a worker: reading the source adapter, and publishing the result."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from composition.registry import METHODS
from hub.models import JobInput, Origin
from hub.services.jobs.results import Beside
from workers.attempt import Attempt
from workers.cards import transfer_card
from workers.publishing import publish_folder
from workers.telling import public_names
from workers.worker import Worker


def read_source(attempt: Attempt, worker: Worker, row: JobInput) -> Path:
    """The folder of the adapter to move."""
    attempt.say(f"Reading {row.version}, to be moved from {row.version.base} to {attempt.job.base}")
    return worker.input_folder(row)


def publish_moved(
    attempt: Attempt,
    worker: Worker,
    row: JobInput,
    folder: Path,
    report: dict[str, Any],
    beside: Callable[[], Sequence[Beside]] = tuple,
) -> None:
    """Publish the adapter in `folder`, with its source and the method in the report and the card."""
    job, method = attempt.job, METHODS[attempt.job.kind]
    names = public_names(job, [row.version])
    for warning in report.get("warnings", []):
        attempt.say(f"Warning: {warning}")
    # Without their names, which whoever sees the result need not know.
    files = [{"role": file.role, "sha256": file.digest} for file in job.files.order_by("role", "name")]
    report = {
        **report,
        "method": method.kind,
        "source": {"base": str(row.version.base), "adapter": names[0]},
        "target": {"base": str(job.base)},
        "files": files,
    }
    publish_folder(
        attempt,
        worker,
        folder,
        card=transfer_card(job, method, [row.version], names, report),
        parents=[row.version],
        origin=Origin.TRANSFERRED,
        message=f"{method.label} of {names[0]} to {job.base}",
        report=report,
        beside=beside,
    )
