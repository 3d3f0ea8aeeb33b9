"""What an address of the protocol names: a repository by its type and id, a revision in it, a path.

`models` are adapters, mixtures and generators, `datasets` are a name space of their own. `ns/name.v2` names version 2
of `ns/name` as if it were a repository whose `main` it is, for servers that know no revisions; it can't be written to.
"""

from dataclasses import dataclass
from urllib.parse import unquote

from django.http import HttpRequest

from hub import access, queries
from hub.access import SEEING, Viewer
from hub.errors import NotFound, PermissionDenied
from hub.hf.refusals import IsBase, KeptElsewhere, RepositoryMissing
from hub.models import Ref, Repository, Revision
from hub.names import OID, PULL, VERSION, VERSION_SUFFIX
from hub.services import mirror

MODELS, DATASETS = "models", "datasets"
PREFIX = {MODELS: "", DATASETS: "datasets/"}
MAIN = "main"
LONGEST_REF = 12  # slashes and all, in parts of an address


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A repository as the protocol names it; `pinned` is `v2` where the id was `ns/name.v2`."""

    repository: Repository
    type: str
    pinned: str | None = None

    @property
    def id(self) -> str:
        """`ns/name`, with the pinned version's suffix."""
        return self.repository.full_name + (f".{self.pinned}" if self.pinned else "")

    @property
    def prefix(self) -> str:
        """What stands before the id in a page's address: "" or "datasets/"."""
        return PREFIX[self.type]

    def revision(self, name: str | None = None) -> Revision:
        """The revision that a name stands for; None is `main`. Errors: NotFound `revision_not_found`."""
        name = name or MAIN
        if self.pinned and name in (MAIN, f"refs/heads/{MAIN}"):
            name = self.pinned
        return access.resolve(self.repository, name)


def place(viewer: Viewer, type: str, namespace: str, name: str, need: str = "read", *, files: bool = False) -> Place:
    """The repository, where `viewer` may do `need` with it. Errors: RepositoryMissing, PermissionDenied.

    Where it is about `files` of a model that a library loads, KeptElsewhere for what can't be a repository of this hub;
    IsBase where the hub has the files of a base of this id.
    """
    pinned, given = None, name
    if VERSION_SUFFIX.fullmatch(name):
        name, _, pinned = name.rpartition(".")
        pinned = pinned.lower()
    try:
        if type not in PREFIX:
            raise NotFound(f"This hub has no {type}.")
        found = access.repository(viewer, PREFIX[type] + namespace, name, need, exact=True)
    except NotFound:
        called = f"{namespace}/{given}".strip("/")
        if type == MODELS and need in SEEING and (queries.served_bases(called) or mirror.bring(viewer.user, called)):
            raise IsBase(called, anonymous=viewer.user is None) from None
        if files and queries.is_kept_elsewhere(namespace, name):
            raise KeptElsewhere(f"{namespace}/{name}".strip("/")) from None
        raise RepositoryMissing(anonymous=viewer.user is None) from None
    if pinned and need not in SEEING:
        raise PermissionDenied(f"{namespace}/{name}.{pinned} is a version, and versions never change: use the adapter.")
    return Place(repository=found, type=type, pinned=pinned)


def proposing(viewer: Viewer, type: str, namespace: str, name: str, rev: str = "") -> Place:
    """The repository, where the viewer may propose changes to it; for `refs/pr/N`, where they may change that proposal.

    Errors: RepositoryMissing, PermissionDenied, NotFound `revision_not_found`.
    """
    found = place(viewer, type, namespace, name)
    if found.pinned:
        raise PermissionDenied(f"{found.id} is a version, and versions never change: propose changes to the adapter.")
    access.require_proposer(viewer, found.repository)
    if number := PULL.fullmatch(rev):
        access.pull(viewer, found.repository, int(number[1]), "change")
    return found


def raw_segments(request: HttpRequest, rest: str) -> list[str]:
    """The last part of the address, `rest` as Django has it, in the segments that the client quoted one by one.

    The client quotes a revision or a path as one segment (`refs%2Fpr%2F1`). Where the server keeps the address as it
    came, that tells them apart; else every slash divides.
    """
    raw = request.META.get("hub.raw_path", "")
    segments = [unquote(segment) for segment in raw.split("/")] if raw else []
    for first in range(len(segments)):
        if "/".join(segments[first:]) == rest:
            return segments[first:]
    return rest.split("/")


def split(place: Place, request: HttpRequest, rest: str) -> tuple[Revision, str]:
    """(revision, path) of `rest`, which is `REV` or `REV/PATH`: of the names that fit, the shortest that is there.

    The names in one part that only the hub gives come first. Errors: NotFound `revision_not_found`.
    """
    segments = raw_segments(request, rest)
    names = ["/".join(segments[: count + 1]) for count in range(min(len(segments), LONGEST_REF))]
    refs = Ref.objects.filter(repository=place.repository)
    there = set(refs.filter(name__in=[_plain(name) for name in names]).values_list("name", flat=True))
    given = VERSION.fullmatch(names[0]) or OID.fullmatch(names[0].lower()) or names[0] == "latest"
    named = [] if given else [n for n, name in enumerate(names, 1) if _plain(name) in there]
    tagged = [n for n, name in enumerate(names, 1) if name.startswith("refs/tags/") and VERSION.fullmatch(_plain(name))]
    count = min([*named, *tagged], default=1)
    return place.revision(names[count - 1]), "/".join(segments[count:])


def _plain(name: str) -> str:
    """A ref's own name, without `refs/heads/` or `refs/tags/`."""
    return name.removeprefix("refs/heads/").removeprefix("refs/tags/")
