"""Publishing: a branch gets a new revision, and where its weights or rows are new and valid, the next version.

Files are checked first, outside any transaction. Then, under the repository's lock, everything is written or nothing:
blob rows, revision, manifest, version, refs, facets. What nobody has committed, nobody sees.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from django.db import transaction

from hub.errors import Conflict, Invalid, NotFound
from hub.models import (
    BaseModel,
    Gate,
    Job,
    ManifestEntry,
    Origin,
    Parentage,
    PullRequest,
    Ref,
    RefKind,
    Repository,
    Revision,
    User,
    Version,
    Visibility,
)
from hub.names import PULL
from hub.services import quotas
from hub.services.audit import record
from hub.services.content import facets
from hub.services.content.blob_claims import claim_blobs, gone
from hub.services.content.change import ANY, MAIN, Change, change_of, kind_of_ref, refuse_conflict
from hub.services.content.checking import Checked, check_files
from hub.services.content.manifest import Manifest, Source, changed, manifest_of, other_oid, revision_oid
from hub.services.known_bases import hold
from hub.services.refs import lock, move
from hub.services.sharing import proposed

LATEST = "latest"


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The branch's revision after publishing, its version if it is one, and whether anything was new.

    `pull` is the pull request that it was put into, where it was.
    """

    revision: Revision
    version: Version | None
    created: bool
    pull: PullRequest | None = None

    @property
    def warnings(self) -> list[str]:
        """What the check found and did not refuse; none where there is neither a version nor a proposal."""
        facts = self.pull.found if self.pull else (self.version and self.version.facts) or {}
        return list(facts.get("warnings", ()))


def publish(
    *,
    actor: User,
    repository: Repository,
    files: Mapping[str, tuple[str, int]],
    deletions: Collection[str] = (),
    replace: bool = False,
    message: str = "",
    branch: str = MAIN,
    base: BaseModel | None = None,
    origin: str = Origin.UPLOADED,
    recipe: dict | None = None,
    report: dict | None = None,
    environment: dict | None = None,
    parents: Sequence[Version] = (),
    job: Job | None = None,
    since: Revision | object | None = ANY,
    checked: Checked | None = None,
    partial: bool = False,
    may_protected: bool = False,
) -> PublishResult:
    """Put `files` (path → (sha256, size), bytes already in the blob store) onto `branch`.

    `branch` may be `refs/pr/N` of an open pull request: that gets a revision, and never a version.
    `since` is the head the change was made for: what others changed since must not be touched by it (Conflict).
    `checked`, from `check_change`, spares the check here; call that first where this runs inside a transaction.
    With `partial`, files that are not whole yet make a revision without a version.
    The same files as the head's: created False. Raises what `check_files` raises, and Protected where it would move a
    protected ref without `may_protected`; then nothing is written.
    """
    change = change_of(files=files, deletions=deletions, replace=replace, branch=branch, since=since)
    if checked is None:
        checked = check_change(repository=repository, change=change, base=base, partial=partial)
    made = {"origin": origin, "recipe": recipe, "report": report, "environment": environment, "job": job}
    with transaction.atomic():
        proposed.hold_author(repository, branch)
        repository = lock(repository)
        pull = proposed.pull_of(repository, branch)
        head = head_of(repository, branch)
        refuse_conflict(repository, change, head)
        before = manifest_of(head)
        after = changed(before, change.files, change.deletions, replace)
        if after != checked.manifest:
            checked = check_change(repository=repository, change=change, base=base, partial=partial)
        if checked.base and checked.base.pk != repository.base_id:
            hold(checked.base)
        message = clean_message(message, after, before)
        same = _same(repository, head, after, message)
        version, is_new = (head and before == after and head.version) or None, False
        if pull is None:
            version, is_new = _version(repository, checked, (same, head), base, actor, made)
        if head and before == after and head.version_id == (version and version.pk):
            if not Ref.objects.filter(repository=repository, name=branch, kind=kind_of_ref(branch)).exists():
                begun = {"moves": [(RefKind.BRANCH, branch)], "revision": head, "may_protected": may_protected}
                move(actor=actor, repository=repository, **begun)
            return PublishResult(head, version, False, pull)
        quotas.refuse_many_files(repository.namespace, len(after), before=len(before))
        fresh = set(after.values()) - set(before.values())
        if pull:
            proposed.charge(pull, repository.namespace, fresh)
        else:
            quotas.charge(repository.namespace, fresh)
        claim_blobs(fresh)
        if same and (pull or same.version_id == (version and version.pk)):
            revision = same
        else:
            revision = _revision(repository, head, after, message, version, actor, pull)
        if pull:
            proposed.put(actor, repository, pull, revision, checked)
            return PublishResult(revision, None, True, pull)
        if is_new:
            inherit(repository, version, parents)
        moves = [(RefKind.BRANCH, branch)] + ([(RefKind.TAG, LATEST)] if is_new else [])
        move(actor=actor, repository=repository, moves=moves, revision=revision, may_protected=may_protected)
        facets.refresh(repository, revision=revision, checked=checked, version=version, main=branch == MAIN)
        record(actor, "publish", repository, revision=revision.oid, branch=branch, version=version and version.label)
    return PublishResult(revision, version, True)


def check_change(
    *,
    repository: Repository,
    change: Change,
    base: BaseModel | None = None,
    sources: Mapping[str, Source] | None = None,
    partial: bool = False,
) -> Checked:
    """Check what the branch would hold after `change`; nothing is locked or written. `partial`: see `check_files`."""
    head = head_of(repository, change.branch)
    before = manifest_of(head)
    after = changed(before, change.files, change.deletions, change.replace)
    if not after:
        raise Invalid("This would leave the branch without files; push at least one.", field="files")
    fresh = [path for path, entry in after.items() if before.get(path) != entry]
    near = [head.version] if head and head.version else []
    last = last_version(repository)
    versions = near + ([last] if last else [])
    try:
        found = {"sources": sources, "fresh": fresh, "base": base, "versions": versions, "partial": partial}
        return check_files(repository.kind, after, **found)
    except FileNotFoundError:
        raise gone("of a file") from None


def head_of(repository: Repository, branch: str) -> Revision | None:
    """The revision `branch` points at; a branch not yet there begins at main's head."""
    if repository.pk is None:
        return None
    rows = Ref.objects.filter(repository=repository, name__in={branch, MAIN}).select_related("revision__version__base")
    heads = {(ref.kind, ref.name): ref for ref in rows}
    if (RefKind.TAG, branch) in heads and (RefKind.BRANCH, branch) not in heads:
        raise Conflict(f"{branch!r} is a tag of {repository.path}; push to a branch.", field="branch")
    ref = heads.get((kind_of_ref(branch), branch)) or heads.get((RefKind.BRANCH, MAIN))
    return ref.revision if ref else None


def require_head(repository: Repository, branch: str) -> Revision:
    """The revision that this very branch, or `refs/pr/N`, points at. Errors: NotFound `revision_not_found`."""
    kind = RefKind.PULL if PULL.fullmatch(branch) else RefKind.BRANCH
    refs = Ref.objects.filter(repository=repository, kind=kind, name=branch)
    ref = refs.select_related("revision__version__base").first()
    if ref is None:
        raise NotFound(f"{repository.path} has no branch {branch[:200]!r}.", code="revision_not_found")
    return ref.revision


def root_revision(
    repository: Repository, head: Revision, message: str, actor: User | None, pull: PullRequest | None = None
) -> Revision:
    """A revision of the head's files without a parent; the one that is there already where it is the same."""
    manifest, version = manifest_of(head), None if pull else head.version
    same = _same(repository, None, manifest, message)
    if same and (pull or version is None or same.version_id == version.pk):
        return same
    return _revision(repository, None, manifest, message, version, actor, pull)


def last_version(repository: Repository) -> Version | None:
    """The version with the highest number."""
    if repository.pk is None:
        return None
    return Version.objects.filter(repository=repository).select_related("base").order_by("-number").first()


def clean_message(message: str, after: Manifest = {}, before: Manifest = {}) -> str:  # noqa: B006
    """One printable line, and after an empty one what else is said in another; at most 500 characters.

    Where nothing is said, which files changed.
    """
    said = [_line(part) for part in message.split("\n\n", 1)]
    line = "\n\n".join(part for part in said if part)[:500].strip()
    if line or not after:
        return line
    names = sorted(path for path in {*after, *before} if after.get(path) != before.get(path))
    return ("Change " + ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else ""))[:500]


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _same(repository: Repository, head: Revision | None, after: Manifest, message: str) -> Revision | None:
    """The revision that has these files on this parent with this message already, pushed to another branch."""
    parent = head.oid if head else None
    oid = revision_oid(repository=repository.oid_number, parent=parent, manifest=after, message=message)
    return Revision.objects.filter(repository=repository, oid=oid).select_related("version__base").first()


def _version(
    repository: Repository,
    checked: Checked,
    near: Sequence[Revision | None],
    base: BaseModel | None,
    actor: User,
    made: dict,
) -> tuple[Version | None, bool]:
    """The version of this content, and whether it had to be made: it equals one of `near`, or the last, or is next."""
    if not checked.digest:
        return None, False
    last = last_version(repository)
    for known in (*(revision.version for revision in near if revision), last):
        if known and known.content_digest == checked.digest and base in (None, known.base):
            return known, False
    version = Version.objects.create(
        repository=repository,
        number=last.number + 1 if last else 1,
        base=checked.base,
        content_digest=checked.digest,
        facts=checked.facts,
        created_by=actor,
        **made,
    )
    return version, True


def _revision(
    repository: Repository,
    head: Revision | None,
    after: Manifest,
    message: str,
    version: Version | None,
    actor: User | None,
    pull: PullRequest | None = None,
) -> Revision:
    parent = head.oid if head else None
    made_of = {"repository": repository.oid_number, "parent": parent, "manifest": after, "message": message}
    oid = revision_oid(**made_of)
    if Revision.objects.filter(repository=repository, oid=oid).exists():
        # The same files were pushed for another base, which is another version: it needs a revision of its own.
        oid = other_oid(**made_of, version=version.number)
    revision = Revision.objects.create(
        repository=repository, oid=oid, parent=head, version=version, pull=pull, message=message, author=actor
    )
    ManifestEntry.objects.bulk_create(
        ManifestEntry(revision=revision, path=path, blob_id=entry.sha256) for path, entry in after.items()
    )
    return revision


def inherit(repository: Repository, version: Version, parents: Sequence[Version]) -> None:
    """Note the parents in the order of the inputs; one private or gated parent makes all of it private."""
    Parentage.objects.bulk_create(
        Parentage(child=version, parent=parent, position=position) for position, parent in enumerate(parents)
    )
    made_of = Repository.objects.filter(versions__in=parents)
    restricted = made_of.exclude(visibility=Visibility.PUBLIC, gate=Gate.OPEN)
    if repository.visibility != Visibility.PRIVATE and restricted.exists():
        repository.visibility = Visibility.PRIVATE
        repository.save(update_fields=["visibility"])
