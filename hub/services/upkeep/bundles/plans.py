"""Where each repository of a bundle goes, and what here is in its way."""

from collections import deque
from dataclasses import dataclass, field, replace

from hub import access
from hub.errors import Conflict
from hub.models import Ref, RefKind, Repository, Revision, User, Version, sharing_names
from hub.services.content.checking import Checked
from hub.services.upkeep.bundles.claims import ClaimedRepository, ClaimedRevision
from hub.services.upkeep.bundles.history import own_history


@dataclass(slots=True, kw_only=True)
class Plan:
    """Where one repository of the bundle goes, and what of it is new here."""

    claim: ClaimedRepository
    namespace: str
    existing: Repository | None
    new: deque[ClaimedRevision]
    checked: dict[str, Checked] = field(default_factory=dict)
    repository: Repository | None = None

    @property
    def path(self) -> str:
        """The repository's path here."""
        return replace(self.claim, namespace=self.namespace).path


def plan_for(actor: User, claim: ClaimedRepository, namespace: str) -> Plan:
    """The plan for one repository; Conflict `import.*` says what is in the way. NotFound, PermissionDenied by role."""
    viewer = access.Viewer(user=actor)
    found = access.namespace(viewer, namespace, "write")
    rows = Repository.objects.select_related("namespace").filter(sharing_names(claim.kind), namespace=found)
    existing = rows.filter(name__iexact=claim.name).first()
    if existing and existing.deleted_at and existing.oid_number != claim.oid_number:
        existing = None  # Another one, which gives way.
    plan = Plan(claim=claim, namespace=found.name, existing=existing, new=deque(claim.revisions))
    if existing is None:
        return plan
    refuse = f"{plan.path} can't be brought to the bundle's state: "
    other = " Import it elsewhere with --into NAMESPACE, or delete this one for good first."
    if existing.deleted_at:
        raise Conflict(f"{refuse}it is in the trash. Restore it, or delete it for good.", code="import.deleted")
    if existing.kind != claim.kind or existing.oid_number != claim.oid_number:
        raise Conflict(f"{refuse}it is another repository of the same name.{other}", code="import.other")
    _plan_forward(plan, refuse, other)
    return plan


def _plan_forward(plan: Plan, refuse: str, other: str) -> None:
    """A repository that was imported before goes forward; what was done here since is never lost."""
    claim, existing = plan.claim, plan.existing
    there = {revision.oid: revision for revision in claim.revisions}
    here = set(Revision.objects.filter(repository=existing).values_list("oid", flat=True))
    if ours := sorted(set(own_history(existing).values_list("oid", flat=True)) - set(there)):
        raise Conflict(
            f"{refuse}it has {len(ours)} revisions that the bundle lacks, such as {ours[0][:10]}: it was changed here, "
            f"or the bundle is older.{other}",
            code="import.diverged",
        )
    named = set(Ref.objects.filter(repository=existing).values_list("kind", "name"))
    for name in sorted({name for _, name in named}):
        new = (RefKind.BRANCH, name) in claim.refs and (RefKind.BRANCH, name) not in named
        if (RefKind.TAG, name) in named and new and (RefKind.TAG, name) not in claim.refs:
            raise Conflict(
                f"{refuse}its tag {name} is a branch in the bundle, and would be hidden by it. Delete the tag here, or "
                "give it another name, then import again.",
                code="import.diverged",
            )
    branches = Ref.objects.filter(repository=existing, kind=RefKind.BRANCH)
    for ref in branches.select_related("revision"):
        at = claim.refs.get((RefKind.BRANCH, ref.name), ref.revision.oid)
        while at is not None and at != ref.revision.oid:
            at = there[at].parent
        if at is None:
            raise Conflict(f"{refuse}its branch {ref.name} is not behind the bundle's.{other}", code="import.diverged")
    plan.new = deque(revision for revision in claim.revisions if revision.oid not in here)
    for number, digest in Version.objects.filter(repository=existing).values_list("number", "content_digest"):
        if number not in claim.versions or claim.versions[number].content_digest != digest:
            raise Conflict(f"{refuse}its v{number} has other files.{other}", code="import.diverged")
