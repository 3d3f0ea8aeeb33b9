"""What jobs left in the worker's cache to go on from, taken away once nobody will: it may hold private text.

A folder is `<kind>-<job>`. A job that is done needs none; one that failed or was cancelled finds its own for a day.
"""

import logging
import re
import shutil
from pathlib import Path

from django.utils import timezone

from hub.models import FINAL, Job, State
from hub.services.jobs.files import KEPT

FOLDER = re.compile(r"(?:assembly|transfer|discriminator)-(\d{1,18})")

log = logging.getLogger(__name__)


def work_folder(root: Path, kind: str, job: Job) -> Path:
    """The folder in which this job's stages lie, made if it is missing; those of jobs that are over go."""
    sweep(root)
    folder = root / f"{kind}-{job.pk}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sweep(root: Path) -> None:
    """Remove the folders of jobs that won't go on."""
    found = {int(match[1]): path for path in root.glob("*-*") if (match := FOLDER.fullmatch(path.name))}
    known = dict.fromkeys(found)
    known |= {
        pk: (state, end)
        for pk, state, end in Job.objects.filter(pk__in=found).values_list("pk", "state", "finished_at")
    }
    for pk, row in known.items():
        if row is None or row[0] == State.DONE or (row[0] in FINAL and row[1] and row[1] < timezone.now() - KEPT):
            log.info("removing %s", found[pk])
            shutil.rmtree(found[pk], ignore_errors=True)
