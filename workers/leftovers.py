"""Removes the folders in the worker's cache from which jobs resume, once no job will: they may hold private text.

A folder is `<name>-<job>`, with the name that the job's kind gives. A job that is done needs none; one that failed or
was cancelled can resume from its own as long as its files are kept (HUB_KEEP_JOB_FILES_DAYS).
"""

import logging
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from hub.models import FINAL, Job, State
from hub.services.jobs.files import kept_since

log = logging.getLogger(__name__)


def sweep(root: Path, names: Collection[str]) -> None:
    """Remove the folders of these names whose jobs won't resume."""
    folder = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(names)))})-(\d{{1,18}})")
    found = {int(match[1]): path for path in root.glob("*-*") if (match := folder.fullmatch(path.name))}
    known = dict.fromkeys(found)
    known |= {
        pk: (state, end)
        for pk, state, end in Job.objects.filter(pk__in=found).values_list("pk", "state", "finished_at")
    }
    before = kept_since()
    for pk, row in known.items():
        over = row and before and row[0] in FINAL and row[1] and row[1] < before
        if row is None or row[0] == State.DONE or over:
            log.info("removing %s", found[pk])
            shutil.rmtree(found[pk], ignore_errors=True)
