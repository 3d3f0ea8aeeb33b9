"""Companions: named bytes beside a repository (seed examples, a discriminator), private unless their owner says so.

`seeds/NAME.jsonl` are rows that are checked when they come. `discriminator/V/…` are the two files of a PEFT folder, and
`synthetic/V.jsonl` the rows a transfer invented: jobs make both, so that what they claim of themselves was measured.
`context/V/…` and `state/V.safetensors` are the texts of a generated adapter and what they left in the generator.
Files of one folder belong together: they are shown and removed together.
"""

import re
from collections.abc import Mapping
from typing import BinaryIO

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from composition.formats.content import check_path
from composition.formats.dataset.seed_rows import MOST_BYTES, read_seeds, seed_facts
from composition.formats.gate import check_file
from hub.errors import Invalid
from hub.models import FINAL, Blob, Companion, JobFile, Repository, User, Visibility
from hub.models.companions import CONTEXT, DISCRIMINATOR, SEEDS, STATE, SYNTHETIC
from hub.services import quotas
from hub.services.audit import record
from hub.services.content.blob_claims import claim_blobs
from hub.services.content.manifest import BlobSource, Entry, read_whole
from hub.services.refs import lock
from hub.storage import blobs

KIND = re.compile(r"[a-z][a-z0-9_-]{0,39}")
CHECKED = {SEEDS}
HOW_MADE = {
    DISCRIMINATOR: "a discriminator is trained and measured here: hubctl discriminator train",
    SYNTHETIC: "synthetic data comes from a transfer: hubctl transfer",
    CONTEXT: "the text an adapter was made from is kept on demand: hubctl generate --keep-text",
    STATE: "a text's state is kept on demand: hubctl generate --keep-state",
}


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
    """Keep the bytes of `stream` beside `repository` as `kind`/`name`, in place of an earlier one of that name.

    Raises Invalid for kind, name and visibility, CompositionError `seeds.*` for bytes that are not rows of seeds.
    """
    if not KIND.fullmatch(kind):
        raise Invalid(f"{kind!r} can't be a companion's kind: use a-z, 0-9, '_' and '-'.", field="kind")
    if kind in HOW_MADE:
        raise Invalid(
            f"A companion of the kind {kind} can't be added by hand: {HOW_MADE[kind]}.",
            field="kind",
            code="companion.made_here",
        )
    check_path(name)
    if len(name) > 200:
        raise Invalid("A companion's name has at most 200 characters.", field="name")
    _check_visibility(visibility)
    entry = Entry(*blobs.put(_Limited(stream, settings.MAX_FILE_BYTES)))
    check_file(name, BlobSource(entry))
    found = {**(facts or {}), **read_facts(kind, name, entry)}
    with transaction.atomic():
        repository = lock(repository)
        return keep(actor=actor, repository=repository, kind=kind, files={name: entry}, facts=found, shown=visibility)[
            0
        ]


@transaction.atomic
def keep(
    *,
    actor: User,
    repository: Repository,
    kind: str,
    files: Mapping[str, Entry],
    facts: Mapping[str, object],
    shown: str = Visibility.PRIVATE,
) -> list[Companion]:
    """Rows for stored bytes, in the caller's transaction if there is one; each replaces an earlier one of its name."""
    earlier = Companion.objects.filter(repository=repository, kind=kind, name__in=files)
    replaced = dict(earlier.values_list("name", "blob"))
    quotas.require("companions", repository.namespace, needed=len(set(files) - set(replaced)))
    quotas.charge(repository.namespace, set(files.values()))
    claim_blobs(set(files.values()))
    kept = []
    for name, entry in sorted(files.items()):
        values = {
            "blob": Blob.objects.get(pk=entry.sha256),
            "visibility": shown,
            "facts": dict(facts),
            "created_by": actor,
        }
        companion, _ = Companion.objects.update_or_create(repository=repository, kind=kind, name=name, defaults=values)
        kept.append(companion)
        record(actor, "companion.add", repository, companion=f"{kind}/{name}", visibility=shown)
    quotas.release(repository.namespace, set(replaced.values()))
    return kept


@transaction.atomic
def show_companion(*, actor: User, companion: Companion, visibility: str) -> Companion:
    """Set who may see a companion, with all of its folder: public as its repository is, or members only."""
    _check_visibility(visibility)
    companion.visibility = visibility
    folder(companion).update(visibility=visibility)
    record(actor, "companion.visibility", companion.repository, companion=str(companion), visibility=visibility)
    return companion


@transaction.atomic
def remove_companion(*, actor: User, companion: Companion) -> None:
    """Remove a companion, with all of its folder; its bytes go with the next collection.

    Jobs that are over let go of them too, and can't be tried again then; one under way keeps them to its end.
    """
    quotas.hold(companion.repository.namespace)
    record(actor, "companion.remove", companion.repository, companion=str(companion))
    rows = folder(companion)
    held = JobFile.objects.filter(
        blob__in=rows.values("blob"), job__state__in=FINAL, job__inputs__version__repository=companion.repository
    )
    JobFile.objects.filter(pk__in=list(held.values_list("pk", flat=True))).update(blob=None)
    digests = set(rows.values_list("blob", flat=True))
    rows.delete()
    quotas.release(companion.repository.namespace, digests)


def folder(companion: Companion) -> QuerySet[Companion]:
    """The companion with those that share its folder."""
    rows = Companion.objects.filter(repository=companion.repository, kind=companion.kind)
    top, slash, _ = companion.name.rpartition("/")
    return rows.filter(name__startswith=f"{top}/") if slash else rows.filter(pk=companion.pk)


def read_facts(kind: str, name: str, entry: Entry) -> dict[str, int]:
    """The facts read from the bytes of a known kind."""
    if kind in CHECKED:
        return seed_facts(read_seeds(read_whole(BlobSource(entry), MOST_BYTES), what=name))
    return {}


def _check_visibility(visibility: str) -> None:
    if visibility not in Visibility.values:
        raise Invalid(f"{visibility!r} is not a visibility; choose public or private.", field="visibility")


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
