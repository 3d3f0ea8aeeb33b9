"""Counting downloads: one for each time the weights (or a dataset's rows) are asked for from their first byte on."""

from django.db.models import F

from composition.formats import FORMATS
from hub import faults
from hub.models import Repository


def count_download(*, repository: Repository, path: str, start: int, counts: bool = False) -> None:
    """Count a GET of `path` that begins at byte `start`; cards, configs and resumed pieces count nothing.

    `counts` says that the path is the weights of a form, which no stored file is called.
    """
    counts = counts or any(row.weights_in([path]) for row in FORMATS.holding(repository.kind))
    if start == 0 and counts:
        with faults.spared(f"a download of {repository.path}"):
            Repository.objects.filter(pk=repository.pk).update(downloads=F("downloads") + 1)
