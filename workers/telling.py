"""What a worker says of a job, fit for all who may watch the job or read its result: the one place where it is made so.

They need not see what the result was made from: inputs that are private are called by their place ("private adapter
2"), and the hub puts the names in again for those who see them (`hub.queries.input_words`). They are no administrators
of the worker's machine: folders and host names are left out. What was left out of a failure is in the server's log,
with the job's id.
"""

import logging
import re
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings

from hub import queries
from hub.models import Job, Repository, Version, Visibility

HIDDEN = "private adapter"
ELSEWHERE = "a private repository"
LEFT_OUT = "…"
HERE = "the worker's machine"
# A path from the root with two parts or more, but not within an address or a word.
PATH = re.compile(r"(?<![\w/:.@<…-])(?:file:/)?/(?:[\w.@+=,%-]+/)+([\w.@+=,%-]*)")
SHORTEST_HOST = 4
"""Shorter host names are words of other meanings."""

log = logging.getLogger(__name__)


class Telling:
    """Texts about one job; who is private is looked up when it is made."""

    def __init__(self, job: Job) -> None:
        self.job = job
        rows = job.inputs.select_related("version__repository__namespace", "version__base")
        words = queries.input_words(rows)
        hidden = private_among({row.version.repository_id for row, _ in words})
        self._words = {row.version_id: word for row, word in words if row.version.repository_id in hidden}
        named = {row.version.repository.path: self._words.get(row.version_id) for row, _ in words}
        further = dict.fromkeys(queries.private_relatives(job), ELSEWHERE)
        bases = {base.name for base in (job.base, *(row.version.base for row, _ in words)) if base}
        self._names = {name: word for name, word in (further | named).items() if word and name not in bases}

    def name(self, version: Version) -> str:
        """`ns/name@v1`, or the place of a private input."""
        if version.pk in self._words:
            return self._words[version.pk]
        return HIDDEN if private_among({version.repository_id}) else str(version)

    def text(self, text: str) -> str:
        """The text without names of private repositories, and without folders and host names of this machine."""
        for name in sorted(self._names, key=len, reverse=True):
            if name in text:
                text = re.sub(rf"(?<![\w./-]){re.escape(name)}(?:@[\w.-]*\w)?(?![\w-])", self._names[name], text)
        return without_places(text)

    def json(self, value: Any) -> Any:
        """The same for texts anywhere in a value that JSON can hold."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key) if isinstance(key, str) else key: self.json(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.json(item) for item in value]
        return value

    def failure(self, error: dict[str, Any]) -> dict[str, Any]:
        """Why the job failed; the whole of it is logged where something was left out."""
        told = self.json(error)
        if told != error:
            log.warning("job %s: %s", self.job.pk, error)
        return told


def public_names(job: Job, parents: Sequence[Version]) -> list[str]:
    """What the result may call its parents: whoever sees the result need not see a private adapter."""
    telling = Telling(job)
    return [telling.name(parent) for parent in parents]


def private_among(repositories: set[int]) -> set[int]:
    """The ids of those that are not public now, whatever was loaded of them before."""
    rows = Repository.objects.filter(pk__in=repositories).exclude(visibility=Visibility.PUBLIC)
    return set(rows.values_list("pk", flat=True))


def without_places(text: str) -> str:
    """The text without folders and host names of this machine; of a path its last part remains."""
    for root in _roots():
        if root in text:
            text = re.sub(rf"{re.escape(root)}(?:/[\w.@+=,%-]+)*/?", _last_part, text)
    text = PATH.sub(_last_part, text)
    for host in _hosts():
        text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", HERE, text)
    return text


def _last_part(found: re.Match) -> str:
    return f"{LEFT_OUT}/{found[0].rstrip('/').rpartition('/')[2]}"


def _roots() -> list[str]:
    """Folders of this machine whose names may hold what no path of ours does, such as spaces; the longest first."""
    places = [settings.WORKER_CACHE, *str(settings.WORKER_BASES).split(":"), settings.HUB_DATA]
    places += [tempfile.gettempdir(), Path.home(), settings.ROOT]
    return sorted({str(place) for place in places if len(str(place)) > 1}, key=len, reverse=True)


def _hosts() -> list[str]:
    name = socket.gethostname()
    hosts = {name, name.partition(".")[0]} - {"localhost"}
    return sorted((host for host in hosts if len(host) >= SHORTEST_HOST), key=len, reverse=True)
