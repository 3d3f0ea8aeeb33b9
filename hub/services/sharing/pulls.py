"""Pull requests, called proposals on the pages: opened, pushed to, retitled, closed, reopened and merged.

One is opened against a branch, by anyone who may have the files. What it proposes lies under the ref `refs/pr/N`, see
`hub.services.sharing.proposed`. The merge makes one revision of it on the branch, by the same rules and checks as any
push, and only then a version. Who may do what is asked in `hub.access.pulls`.
"""

from collections.abc import Collection, Mapping

from django.db import transaction
from django.utils import timezone

from hub.errors import Conflict, Invalid, NotFound
from hub.models import PullRequest, PullState, Ref, RefKind, Repository, Revision, User
from hub.services import quotas
from hub.services.audit import record
from hub.services.commits.becoming import as_its_files_say, become
from hub.services.content.change import MAIN, Change, change_of, refuse_conflict
from hub.services.content.manifest import Manifest, changed, manifest_of
from hub.services.content.publishing import PublishResult, check_change, clean_message, publish
from hub.services.refs import lock, move
from hub.services.sharing.proposed import require_open

OPEN_HERE = 20
"""Open proposals of one user in one repository."""
LONGEST_DESCRIPTION = 20_000


@transaction.atomic
def open_pull(
    *, actor: User, repository: Repository, title: str, description: str = "", target: str = MAIN, bare: bool = False
) -> PullRequest:
    """A proposal that changes nothing yet; push to its `ref`. Its number is the repository's next, from 1.

    `bare`: the first push comes in the same transaction, so that the repository may be empty.
    Errors: NotFound `revision_not_found` for a target that is no branch, Invalid for the title, Conflict
    `pull.too_many`, `pull.empty_repository`, QuotaExceeded `quota.open_proposals`.
    """
    quotas.require("open_proposals", actor)
    repository = lock(repository)
    head = _head(repository, target)
    if head is None and not bare:
        raise Conflict(
            f"{repository.path} is empty, so that there is nothing to change; propose files.",
            code="pull.empty_repository",
        )
    _require_few(repository, actor)
    here = PullRequest.objects.filter(repository=repository)
    newest = here.order_by("-number").values_list("number", flat=True).first() or 0
    pull = PullRequest.objects.create(
        repository=repository,
        number=newest + 1,
        title=_title(title),
        description=description.strip()[:LONGEST_DESCRIPTION],
        author=actor,
        target=target,
        started_from=head,
    )
    if head:
        moves = [(RefKind.PULL, pull.ref)]
        move(actor=actor, repository=repository, moves=moves, revision=head, may_protected=True)
    record(actor, "pull.open", repository, number=pull.number, target=target)
    return pull


def propose(
    *,
    actor: User,
    repository: Repository,
    title: str,
    files: Mapping[str, tuple[str, int]],
    deletions: Collection[str] = (),
    description: str = "",
    message: str = "",
    target: str = MAIN,
) -> tuple[PullRequest, PublishResult]:
    """Open a proposal with its first push, bytes already in the blob store; both or neither.

    Raises what `open_pull` and `publish` raise.
    """
    head = _head(repository, target)
    change = change_of(files=files, deletions=deletions, branch=target)
    checked = check_change(repository=repository, change=change, partial=True)
    with transaction.atomic():
        told = {"title": title, "description": description}
        pull = open_pull(actor=actor, repository=repository, target=target, bare=True, **told)
        put = {"files": files, "deletions": deletions, "message": message or title, "since": head}
        result = publish(actor=actor, repository=repository, branch=pull.ref, checked=checked, partial=True, **put)
    return result.pull or pull, result


@transaction.atomic
def retitle(*, actor: User, pull: PullRequest, title: str) -> PullRequest:
    """Give it another title. Invalid for an empty one."""
    pull, before = _locked(pull), pull.title
    pull.title = _title(title)
    pull.save(update_fields=["title"])
    record(actor, "pull.title", pull.repository, number=pull.number, before=before, after=pull.title)
    return pull


@transaction.atomic
def set_state(*, actor: User, pull: PullRequest, state: str) -> PullRequest:
    """Close it, or open it again; where it is so already, nothing happens. Conflict `pull.merged` after the merge,
    `pull.forgotten` long after the closing.

    Reopening counts like opening: Conflict `pull.too_many`, QuotaExceeded `quota.open_proposals`.
    """
    if state not in (PullState.OPEN, PullState.CLOSED):
        raise Invalid(f"{state!r} is not a state to set; choose open or closed.", field="state")
    if state == PullState.OPEN and pull.author:
        quotas.require("open_proposals", pull.author, needed=int(pull.state != PullState.OPEN))
    pull = _locked(pull)
    if pull.state == PullState.MERGED:
        raise Conflict(f"Proposal {pull.number} is merged; open a new one.", code="pull.merged")
    if pull.state == state:
        return pull
    if state == PullState.OPEN and head_of_pull(pull) is None:
        raise Conflict(
            f"What proposal {pull.number} proposed was let go of, as it was closed long ago; open a new one.",
            code="pull.forgotten",
        )
    if state == PullState.OPEN and pull.author:
        _require_few(pull.repository, pull.author)
    pull.state = state
    pull.closed_by, pull.closed_at = (actor, timezone.now()) if state == PullState.CLOSED else (None, None)
    pull.save(update_fields=["state", "closed_by", "closed_at"])
    verb = "pull.close" if state == PullState.CLOSED else "pull.reopen"
    record(actor, verb, pull.repository, number=pull.number)
    return pull


def merge(*, actor: User, pull: PullRequest, may_protected: bool = False) -> PublishResult:
    """Make what it proposes one revision of its target, and a version where the weights are whole, valid and new.

    Errors: Conflict `pull.nothing` where it changes nothing, `pull.moved` where it was pushed to meanwhile,
    `branch.moved` with `paths` where others changed the same since it was opened, and what `publish` raises; then it
    stays open.
    """
    require_open(pull)
    proposed = head_of_pull(pull)
    change = change_to_merge(pull, proposed)
    if proposed is None or not (change.files or change.deletions):
        raise Conflict(f"Proposal {pull.number} changes nothing yet; push to {pull.ref}.", code="pull.nothing")
    head = _head(pull.repository, pull.target)
    refuse_conflict(pull.repository, change, head)
    after = changed(manifest_of(head), change.files, change.deletions, False)
    repository = as_its_files_say(pull.repository, after)
    checked = check_change(repository=repository, change=change, partial=True)
    with transaction.atomic():
        pull = _locked(pull)
        require_open(pull)
        if pull.repository.kind != repository.kind:
            become(pull.repository, repository.kind)
        if head_of_pull(pull) != proposed:
            raise Conflict(f"Proposal {pull.number} was pushed to at this moment; look at it.", code="pull.moved")
        result = publish(
            actor=actor,
            repository=pull.repository,
            files=change.files,
            deletions=change.deletions,
            message=f"{pull.title[:480]} (#{pull.number})",
            branch=pull.target,
            since=pull.started_from,
            checked=checked,
            partial=True,
            may_protected=may_protected,
        )
        pull.state, pull.merged_as = PullState.MERGED, result.revision
        pull.closed_by, pull.closed_at = actor, timezone.now()
        pull.save(update_fields=["state", "merged_as", "closed_by", "closed_at"])
        version = result.version and result.version.label
        record(actor, "pull.merge", pull.repository, number=pull.number, revision=result.revision.oid, version=version)
    return result


def head_of_pull(pull: PullRequest) -> Revision | None:
    """The revision that it proposes."""
    ref = Ref.objects.filter(repository=pull.repository, kind=RefKind.PULL, name=pull.ref)
    found = ref.select_related("revision__version__base", "revision__author").first()
    return found.revision if found else None


def opened_before(
    actor: User, repository: Repository, target: str, message: str, head: Revision | None, after: Manifest
) -> PullRequest | None:
    """The open proposal that is this very commit, sent by a client that missed the answer: same words, same files."""
    mine = PullRequest.objects.filter(repository=repository, author=actor, target=target, state=PullState.OPEN)
    for pull in mine.filter(started_from=head).order_by("-number"):
        found = head_of_pull(pull)
        if found and found.parent == head and found.message == clean_message(message) and manifest_of(found) == after:
            return pull
    return None


def change_to_merge(pull: PullRequest, proposed: Revision | None) -> Change:
    """What a merge does to the target: the difference between what it was opened for and what it proposes."""
    before, after = manifest_of(pull.started_from), manifest_of(proposed)
    files = {path: entry for path, entry in after.items() if before.get(path) != entry}
    return change_of(files=files, deletions=set(before) - set(after), branch=pull.target, since=pull.started_from)


def _locked(pull: PullRequest) -> PullRequest:
    """The row as it is now, with its repository, both held for this transaction."""
    repository = lock(pull.repository)
    found = PullRequest.objects.select_for_update(of=("self",)).select_related("author", "started_from")
    pull = found.get(pk=pull.pk)
    pull.repository = repository
    return pull


def _require_few(repository: Repository, author: User) -> None:
    count = PullRequest.objects.filter(repository=repository, author=author, state=PullState.OPEN).count()
    if count >= OPEN_HERE:
        raise Conflict(
            f"{author.username} has {count} open proposals in {repository.path}, the most there may be; "
            "close one of them.",
            code="pull.too_many",
        )


def _head(repository: Repository, target: str) -> Revision | None:
    """The head of the branch that a proposal is for; None for main of an empty repository."""
    branches = Ref.objects.filter(repository=repository, kind=RefKind.BRANCH).select_related("revision")
    ref = branches.filter(name=target).first()
    if ref is None and (target != MAIN or branches.exists()):
        raise NotFound(
            f"{repository.path} has no branch {target[:200]!r}; a proposal is for a branch.", code="revision_not_found"
        )
    return ref.revision if ref else None


def _title(text: str) -> str:
    line = clean_message(text)
    if not line:
        raise Invalid("A proposal needs a title; say what it changes.", field="title")
    return line
