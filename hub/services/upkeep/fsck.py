"""The check of a whole hub, and the repairs that are safe: what can be read again from what is whole.

Nothing is locked, so it runs beside the hub. Whatever is found is looked at once more before it is reported. Memory is
bounded by the batches of each check. A repair never invents bytes and never changes a revision.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from django.conf import settings

from hub.models import clock
from hub.services.upkeep.checks import beside, database, history, repositories, stored, versions, work
from hub.services.upkeep.checks.finding import Finding, Look

CHECKS = (database, stored, history, repositories, versions, work, beside)


def look(*, quick: bool = False, source: Path | None = None, say: Callable[[str], None] = lambda text: None) -> Look:
    """How a run looks; garbage counts once it is as old as gc would take it."""
    before = clock.read() - timedelta(hours=settings.KEEP_UNUSED_HOURS)
    return Look(quick=quick, before=before, source=source, say=say)


def check(how: Look) -> Iterator[Finding]:
    """Everything that is wrong, as it is found."""
    for module in CHECKS:
        yield from module.check(how)


def repair(finding: Finding) -> str:
    """Do what the finding's plan says; "" or why it could not be done."""
    if finding.mend is None:
        return "nothing safe can be done"
    try:
        finding.mend()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
