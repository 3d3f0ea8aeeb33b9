"""Companions: named bytes beside a repository (seed examples, a discriminator), private unless their owner says so."""

import re
from collections.abc import Mapping
from typing import BinaryIO

from django.conf import settings
from django.db import transaction

from composition.formats.content import check_path
from hub.errors import Invalid
from hub.models import Blob, Companion, Repository, User, Visibility
from hub.services.audit import record
from hub.services.checking import check_content
from hub.services.claims import claim_blobs
from hub.services.manifest import BlobSource, Entry
from hub.services.publishing import lock
from hub.storage import blobs

KIND = re.compile(r"[a-z][a-z0-9_-]{0,39}")


def add_companion(
    *,
    actor: User,
    repository: Repository,
    kind: str,
    name: str,
    stream: BinaryIO,
    visibility: str = Visibility.PRIVATE,
    facts: Mapping[str, object] | None = None,
) -> Companion:
    """Keep the bytes of `stream` beside `repository` as `kind`/`name`, in place of what bore that name before."""
    if not KIND.fullmatch(kind):
        raise Invalid(f"{kind!r} can't be a companion's kind: use a-z, 0-9, '_' and '-'.", field="kind")
    check_path(name)
    if len(name) > 200:
        raise Invalid("A companion's name has at most 200 characters.", field="name")
    _check_visibility(visibility)
    entry = Entry(*blobs.put(_Limited(stream, settings.MAX_FILE_BYTES)))
    check_content(name, BlobSource(entry))
    with transaction.atomic():
        repository = lock(repository)
        claim_blobs({entry})
        companion, _ = Companion.objects.update_or_create(
            repository=repository,
            kind=kind,
            name=name,
            defaults={
                "blob": Blob.objects.get(pk=entry.sha256),
                "visibility": visibility,
                "facts": dict(facts or {}),
                "created_by": actor,
            },
        )
        record(actor, "companion.add", repository, companion=f"{kind}/{name}", visibility=visibility)
    return companion


@transaction.atomic
def show_companion(*, actor: User, companion: Companion, visibility: str) -> Companion:
    """Say who may see a companion: public as its repository is, or members only."""
    _check_visibility(visibility)
    companion.visibility = visibility
    companion.save(update_fields=["visibility"])
    record(actor, "companion.visibility", companion.repository, companion=str(companion), visibility=visibility)
    return companion


@transaction.atomic
def remove_companion(*, actor: User, companion: Companion) -> None:
    """Take a companion away; its bytes go with the next collection if nothing else holds them."""
    record(actor, "companion.remove", companion.repository, companion=str(companion))
    companion.delete()


def _check_visibility(visibility: str) -> None:
    if visibility not in Visibility.values:
        raise Invalid(f"{visibility!r} is no visibility; choose public or private.", field="visibility")


class _Limited:
    """A stream that refuses to be longer than `limit` bytes."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self.stream, self.limit, self.left = stream, limit, limit

    def read(self, count: int) -> bytes:
        chunk = self.stream.read(count)
        self.left -= len(chunk)
        if self.left < 0:
            raise Invalid(f"This hub takes files of at most {self.limit:,} bytes.", code="upload.too_large")
        return chunk
