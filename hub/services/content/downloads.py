"""Counting downloads: one for each time the weights (or a dataset's rows) are asked for from their first byte on."""

from django.db.models import F

from hub.models import Repository

COUNTED = (".safetensors", ".jsonl")


def count_download(*, repository: Repository, path: str, start: int) -> None:
    """Count a GET of `path` that begins at byte `start`; cards, configs and resumed pieces count nothing."""
    if start == 0 and path.endswith(COUNTED):
        Repository.objects.filter(pk=repository.pk).update(downloads=F("downloads") + 1)
