"""Commits: operations on a branch's files become one revision, and a version where they are whole, valid and new.

The bytes lie in a folder of the commit's own, or came before it (`hub.services.arrivals`). They are checked before
anything is locked; then all is written or nothing. The same request twice, as a client sends it that missed the
answer, is answered as the first time.
"""

import contextlib
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.db import transaction

from composition.formats import FORMATS
from composition.formats.sources import LocalFile
from hub import disk
from hub.errors import Conflict, Invalid, NotFound
from hub.models import PullRequest, Ref, RefKind, Repository, Revision, User
from hub.names import PULL
from hub.services import arrivals, importing, protections, quotas
from hub.services.commits.becoming import as_its_files_say, become
from hub.services.commits.operations import Effect, Proposal, Put, effect_of
from hub.services.content import publishing
from hub.services.content.manifest import Entry, manifest_of, sources_of
from hub.services.content.publishing import MAIN, PublishResult
from hub.services.refs import lock
from hub.services.sharing import pulls
from hub.services.sharing.proposed import hold_author
from hub.storage import CHUNK, blobs, digest

HEADS = "refs/heads/"
STEP = 8 << 20  # bytes inside a commit, after each of which their user's quota is asked


class Moved(Conflict):
    """The branch has another head than the one that the commit was made for."""

    status, code = 412, "branch.moved"


@dataclass(slots=True)
class Bench:
    """The bytes that came inside a commit, in a folder that goes when it is over: `files` by their digest."""

    folder: Path
    actor: User
    files: dict[str, LocalFile] = field(default_factory=dict)
    asked: int = 0
    came: int = 0

    def keep(self, stream: BinaryIO) -> Entry:
        """Receive the bytes of one file. Errors: Invalid `upload.too_large`, and what `expect` raises."""
        place = self.folder / uuid.uuid4().hex
        with place.open("wb") as out:
            entry = Entry(*digest(_Watched(stream, self), out))
        self.files.setdefault(entry.sha256, LocalFile(place))
        return entry

    def expect(self, size: int) -> None:
        """Refuse now what can't be taken in, about `size` bytes; QuotaExceeded `quota.staged_bytes`, DiskFull."""
        disk.require_room(size)
        quotas.require("staged_bytes", self.actor, needed=size, hold=False)

    def count(self, size: int) -> None:
        """Note that so many bytes more have come; now and then all of them are asked about as `expect` does."""
        self.came += size
        if self.came >= self.asked + STEP:
            self.asked = self.came
            self.expect(self.came)


@contextlib.contextmanager
def bench(*, actor: User, length: int = 0) -> Iterator[Bench]:
    """A place for a commit's own bytes. What a killed process leaves is swept with the strays of uploads.

    `length` is that of the body where it is known: most of a long one is base64 of files. Raises what `expect` does.
    """
    if length > STEP:
        Bench(Path(), actor).expect(length // 4 * 3)
    folder = Path(settings.UPLOAD_FOLDER) / str(uuid.uuid4())
    folder.mkdir(parents=True)
    try:
        yield Bench(folder, actor)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def branch_of(repository: Repository, name: str, *, pulls: bool = False) -> str:
    """The branch that a commit to `name` goes to: `x`, `refs/heads/x`; `main` of an empty repository too.

    With `pulls` also `refs/pr/N`, what a pull request proposes.
    Errors: NotFound `revision_not_found`, also for tags, versions and ids: they never change.
    """
    if pulls and PULL.fullmatch(name):
        return name
    branch = name.removeprefix(HEADS)
    heads = Ref.objects.filter(repository=repository, kind=RefKind.BRANCH)
    if heads.filter(name=branch).exists() or (branch == MAIN and not heads.filter(name=MAIN).exists()):
        return branch
    raise NotFound(
        f"{repository.path} has no branch {name[:200]!r}. Make it first, or commit to one that is there.",
        code="revision_not_found",
    )


def commit(
    *,
    actor: User,
    repository: Repository,
    branch: str,
    proposal: Proposal,
    inline: Bench,
    may_protected: bool = False,
    opening: bool = False,
) -> PublishResult:
    """Make `proposal` a revision of `branch`. The head's own files again: nothing is made, created False.

    `branch` may be `refs/pr/N`. With `opening` the commit is the first of a new pull request for the branch, which is
    in the result; the branch itself stays as it is.
    Raises Moved, NotFound `file_not_found`, `arrivals.Unknown`, Protected, QuotaExceeded, what checking raises, and
    Conflict where somebody else changed the same files while this was under way.
    """
    proposed = opening or PULL.fullmatch(branch)
    if not proposed:
        protections.require(repository.namespace, repository, [branch], may_protected=may_protected)
    head = publishing.head_of(repository, branch)
    before = manifest_of(head)
    entries = _entries(actor, repository, proposal, inline)
    try:
        _require_parent(head, proposal)
        effect = effect_of(proposal.operations, before, entries)
    except (Moved, NotFound):
        if done := _made_before(actor, head, proposal, entries):
            return done
        raise
    if not effect.files and not effect.deletions and head is not None:
        pull = _opened(actor, repository, branch, proposal) if opening else None
        return PublishResult(head, head.version, False, pull)
    if not proposed:
        quotas.expect(repository.namespace, effect.files.values())
    after = publishing.changed(before, effect.files, effect.deletions, False)
    if opening and (pull := pulls.opened_before(actor, repository, branch, proposal.message, head, after)):
        return PublishResult(pulls.head_of_pull(pull), None, False, pull)
    repository = as_its_files_say(repository, after)
    return _publish(actor, repository, branch, proposal, head, effect, inline, may_protected, opening)


def _opened(actor: User, repository: Repository, branch: str, proposal: Proposal) -> PullRequest:
    told = {"title": proposal.summary, "description": proposal.description}
    return pulls.open_pull(actor=actor, repository=repository, target=branch, bare=True, **told)


def _publish(
    actor: User,
    repository: Repository,
    branch: str,
    proposal: Proposal,
    head: Revision | None,
    effect: Effect,
    inline: Bench,
    may_protected: bool,
    opening: bool,
) -> PublishResult:
    files, named = effect.files, {entry.sha256 for entry in effect.files.values()}
    change = publishing.change_of(files=files, deletions=effect.deletions, branch=branch, since=head)
    sources = {path: inline.files[entry.sha256] for path, entry in files.items() if entry.sha256 in inline.files}
    made = importing.imported(repository, change, sources, base=None, folder=inline.folder)
    base = None
    if made:
        change, sources, base = made.change, made.sources, made.base
    change = importing.without_stale_originals(change, head)
    checked = publishing.check_change(repository=repository, change=change, base=base, sources=sources, partial=True)
    checked = made.told(checked) if made else checked
    for source in {source.path: source for source in sources.values()}.values():
        blobs.add(source.path, link=True)
    with transaction.atomic():
        hold_author(repository, branch, actor if opening else None)
        locked = lock(repository)
        if proposal.parent and publishing.head_of(locked, branch) != head:
            raise _moved()
        if opening:
            branch = _opened(actor, locked, branch, proposal).ref
        elif locked.kind != repository.kind and not PULL.fullmatch(branch):
            become(locked, repository.kind)
        result = publishing.publish(
            actor=actor,
            repository=locked,
            files=change.files,
            deletions=change.deletions,
            message=proposal.message,
            branch=branch,
            base=base,
            since=head,
            checked=checked,
            partial=True,
            may_protected=may_protected,
        )
        arrivals.let_go(actor=actor, repository=locked, digests=named)
    return result


def whats_missing(result: PublishResult) -> list[str]:
    """The files without which what was committed is no version yet; none where it is one, or has nothing of one."""
    if result.version is not None:
        return []
    kind, manifest = result.revision.repository.kind, manifest_of(result.revision)
    row = FORMATS.recognise(kind, sources_of(manifest), stored=True)
    return row.missing(manifest) if any(row.content(path) for path in manifest) else []


def _entries(actor: User, repository: Repository, proposal: Proposal, inline: Bench) -> dict[str, Entry]:
    """The bytes of what is put in, by digest: those inside the commit, and those this user may name here."""
    puts = [operation for operation in proposal.operations if isinstance(operation, Put)]
    own = {sha256: Entry(sha256, source.size) for sha256, source in inline.files.items()}
    named = [(put.path, put.sha256, put.size) for put in puts if put.sha256 not in own]
    found = arrivals.require(actor=actor, repository=repository, named=named)
    return own | {entry.sha256: entry for entry in found.values()}


def _require_parent(head: Revision | None, proposal: Proposal) -> None:
    if proposal.parent and not (head and head.oid.startswith(proposal.parent.lower())):
        raise _moved()


def _moved() -> Moved:
    return Moved("The branch was updated since you opened this page. Please refresh and try again.")


def _made_before(
    actor: User, head: Revision | None, proposal: Proposal, entries: Mapping[str, Entry]
) -> PublishResult | None:
    """The head, where it is what this very commit made of its parent a moment ago; only files that are put in tell."""
    if head is None or head.author_id != actor.pk or head.message != publishing.clean_message(proposal.message):
        return None
    if not any(isinstance(operation, Put) for operation in proposal.operations):
        return None
    before = manifest_of(head.parent)
    with contextlib.suppress(Moved, NotFound, Invalid):
        _require_parent(head.parent, proposal)
        effect = effect_of(proposal.operations, before, entries)
        if publishing.changed(before, effect.files, effect.deletions, False) == manifest_of(head):
            return PublishResult(head, head.version, False)
    return None


class _Watched:
    """A file on its way in: refused where it is too large, and where the disk becomes nearly full."""

    def __init__(self, stream: BinaryIO, bench: Bench) -> None:
        self.stream, self.bench, self.came = stream, bench, 0

    def read(self, size: int = CHUNK) -> bytes:
        """The next bytes."""
        disk.require_room()
        data = self.stream.read(size)
        self.came += len(data)
        self.bench.count(len(data))
        if self.came > settings.MAX_FILE_BYTES:
            raise Invalid(
                f"A file of the commit is larger than {settings.MAX_FILE_BYTES:,} bytes, the most this hub takes.",
                code="upload.too_large",
                limit=settings.MAX_FILE_BYTES,
            )
        return data
