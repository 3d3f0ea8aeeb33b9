"""A base as the protocol names it: its registered revisions are branches, and each has one commit, that of its files.

A repository of the same id comes first, for those who may see it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.http import HttpRequest

from hub import queries
from hub.errors import NotFound
from hub.hf.places import MAIN, raw_segments
from hub.models import BaseModel
from hub.services.base_files import manifest_of_base
from hub.services.content.manifest import Manifest

HEADS = "refs/heads/"
SHORTEST_OID = 5
MESSAGE = "The files of the base"


class Edition:
    """One revision of a base with its files; `oid`, `message`, `author` and `created_at` are those of its commit."""

    message, author = MESSAGE, None

    def __init__(self, base: BaseModel) -> None:
        self.base = base

    @cached_property
    def manifest(self) -> Manifest:
        """Path → entry."""
        return manifest_of_base(self.base)

    @cached_property
    def oid(self) -> str:
        """40 hex digits, derived from the files."""
        return queries.base_commit(self.manifest)

    @cached_property
    def created_at(self) -> datetime:
        """When the newest of the files came."""
        return queries.base_changed_at(self.base)


@dataclass(frozen=True, slots=True)
class BasePlace:
    """A base of which the hub has files; `editions` begins with what `main` is."""

    editions: Sequence[Edition]

    @property
    def id(self) -> str:
        """`org/name`, as it is registered."""
        return self.editions[0].base.name

    def branch(self, edition: Edition) -> str:
        """The name of its branch; without a `main` the first one stands for it."""
        return MAIN if edition is self.editions[0] else edition.base.revision

    def edition(self, name: str | None = None) -> Edition:
        """What a branch or a commit's id, also a shortened one, stands for. NotFound `revision_not_found`."""
        plain = (name or MAIN).removeprefix(HEADS)
        for edition in self.editions:
            if plain in (self.branch(edition), edition.base.revision):
                return edition
        given = plain.lower()
        found = [one for one in self.editions if len(given) >= SHORTEST_OID and one.oid.startswith(given)]
        if not found:
            raise NotFound(f"Invalid rev id: {name}", code="revision_not_found")
        return found[0]

    def split(self, request: HttpRequest, rest: str) -> tuple[Edition, str]:
        """(edition, path) of `rest`, which is `REV` or `REV/PATH`."""
        segments = raw_segments(request, rest)
        count = 3 if segments[0] == "refs" else 1  # refs/heads/NAME, where the server has unquoted it
        return self.edition("/".join(segments[:count])), "/".join(segments[count:])


def find(name: str) -> BasePlace | None:
    """The base of this id or alias, whatever its case; None where there is none, or the hub has no files of it."""
    rows = queries.served_bases(name)
    return BasePlace([Edition(row) for row in rows]) if rows else None
