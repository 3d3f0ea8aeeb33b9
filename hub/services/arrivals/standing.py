"""What a commit may name by its digest alone: bytes that the repository holds, and what this user sent to it.

Whether others hold the same bytes is never told and never used: a digest is no proof of having the file.
"""

from collections.abc import Collection

from hub.errors import Invalid
from hub.models import Arrival, Blob, Repository, User
from hub.services.content import reuse
from hub.services.content.manifest import Entry


class Unknown(Invalid):
    """A digest that a commit may not name, as its bytes did not come."""

    code = "arrival.unknown"


def have(*, actor: User, repository: Repository, entries: Collection[Entry]) -> set[Entry]:
    """Those that need not be sent: the repository holds them, or they came from this user and wait for a commit."""
    names = [entry.sha256 for entry in entries]
    mine = Arrival.objects.filter(repository=repository, user=actor, blob__in=names)
    came = {Entry(*row) for row in mine.values_list("blob__sha256", "blob__size")}
    return (reuse.held(repository, entries) | came) & set(entries)


def require(*, actor: User, repository: Repository, named: Collection[tuple[str, str, int | None]]) -> dict[str, Entry]:
    """Path → entry of `named` (path, SHA-256, size), the size None where the client doesn't know it.

    Raises Unknown for the first that this user may not name here.
    """
    digests = {sha256 for _, sha256, _ in named}
    sizes = dict(Blob.objects.filter(pk__in=digests).values_list("pk", "size"))
    known = have(actor=actor, repository=repository, entries=[Entry(*row) for row in sizes.items()])
    found = {}
    for path, sha256, size in named:
        entry = Entry(sha256, sizes.get(sha256, -1))
        if entry not in known or size not in (None, entry.size):
            raise Unknown(
                f"{path}: the bytes of {sha256[:12]}… have not come, or have another size. Send the file to this "
                "repository first, then commit.",
                path=path,
                oid=sha256,
            )
        found[path] = entry
    return found
