"""What a pull request proposes: revisions that its ref leads to. They make no version and change nothing else.

Their bytes count for who proposed them, so that no stranger fills a namespace; from the merge on they count for the
namespace, whose branch then has them. So they do from the moment a writer gives them a branch or a tag, see
`hub.services.refs.move`.
"""

from collections.abc import Collection

from hub.errors import Conflict, NotFound
from hub.models import Namespace, PullRequest, PullState, RefKind, Repository, Revision, Stored, User
from hub.names import PULL
from hub.services import quotas
from hub.services.audit import record
from hub.services.content.checking import Checked
from hub.services.content.manifest import Entry
from hub.services.quotas.limits import lock as lock_user
from hub.services.refs import move


def pull_of(repository: Repository, branch: str) -> PullRequest | None:
    """The open pull request whose ref `branch` is; None for a branch. The repository is locked by the caller.

    Errors: NotFound `revision_not_found`, Conflict `pull.not_open`.
    """
    if not (named := PULL.fullmatch(branch)):
        return None
    pull = PullRequest.objects.filter(repository=repository, number=int(named[1])).select_related("author").first()
    if pull is None:
        raise NotFound(f"{repository.path} has no proposal {named[1]}.", code="revision_not_found")
    require_open(pull)
    return pull


def require_open(pull: PullRequest) -> None:
    """Conflict `pull.not_open` where it was merged or closed."""
    if pull.state != PullState.OPEN:
        do = "open a new one" if pull.state == PullState.MERGED else "reopen it first, or open a new one"
        raise Conflict(
            f"Proposal {pull.number} is {pull.state}, so that it can't be changed: {do}.", code="pull.not_open"
        )


def hold_author(repository: Repository, branch: str, opener: User | None = None) -> None:
    """Lock the row of who answers for a proposal's bytes; before the repository's, as by all who lock both."""
    named = PULL.fullmatch(branch)
    number = int(named[1]) if named else 0
    pulls = PullRequest.objects.filter(repository=repository, number=number)
    author = opener or User.objects.filter(pk__in=pulls.values("author")).first()
    if author:
        lock_user(author)


def charge(pull: PullRequest, namespace: Namespace, entries: Collection[Entry]) -> None:
    """Count bytes that the namespace doesn't hold for the author. Raises QuotaExceeded `quota.proposed_bytes`."""
    names = {entry.sha256 for entry in entries}
    held = set(Stored.objects.filter(namespace=namespace, sha256__in=names).values_list("sha256", flat=True))
    needed = sum(entry.size for entry in set(entries) if entry.sha256 not in held)
    if pull.author:
        quotas.require("proposed_bytes", pull.author, needed=needed)


def put(actor: User, repository: Repository, pull: PullRequest, revision: Revision, checked: Checked) -> None:
    """Let the pull request propose this revision, and keep what its check found."""
    move(
        actor=actor,
        repository=repository,
        moves=[(RefKind.PULL, pull.ref)],
        revision=revision,
        may_protected=True,  # Rules are for branches and tags; whoever merges needs to be allowed by them.
    )
    facts = checked.facts or {}
    pull.found = {
        "whole": bool(checked.digest),
        "same_as": checked.same_as and checked.same_as.label,
        "base": checked.base and checked.base.name,
        "warnings": list(facts.get("warnings") or ()),
    }
    pull.save(update_fields=["found"])
    record(actor, "pull.push", repository, number=pull.number, revision=revision.oid, message=revision.message)
