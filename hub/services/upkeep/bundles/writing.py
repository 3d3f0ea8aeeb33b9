"""Writing what was checked: all rows of a bundle, in the caller's transaction."""

from hub import access
from hub.errors import HubError, Invalid
from hub.models import ManifestEntry, Origin, Ref, RefKind, Repository, Revision, User, Version
from hub.names import DATASETS, split_path
from hub.services import quotas
from hub.services.audit import record
from hub.services.content import facets
from hub.services.content.blob_claims import claim_blobs
from hub.services.content.cards import Card, read_card
from hub.services.content.checking import Checked
from hub.services.content.manifest import CARD, BlobSource, read_whole
from hub.services.content.publishing import LATEST, MAIN, inherit, last_version
from hub.services.refs import lock, move
from hub.services.repositories import create_repository
from hub.services.upkeep.bundles.claims import ClaimedRevision
from hub.services.upkeep.bundles.plans import Plan


def write(actor: User, plans: list[Plan], trusted: bool) -> None:
    """All rows: revisions of each repository in order, and no version before those that it was made from."""
    # Older bundles call a dataset among the parents by its bare name.
    numbers = {plan.claim.path.removeprefix(DATASETS).lower(): plan for plan in plans}
    numbers |= {plan.claim.path.lower(): plan for plan in plans}
    for plan in plans:
        plan.repository = lock(plan.existing) if plan.existing else _create(actor, plan)
    totals = {id(plan): len(plan.new) for plan in plans}
    moving = True
    while moving:
        moving = False
        for plan in plans:
            while plan.new and (not trusted or _ready(plan, plan.new[0], numbers)):
                _write_revision(actor, plan, plan.new.popleft(), numbers, trusted)
                moving = True
    if any(plan.new for plan in plans):
        raise Invalid("The bundle's versions were made from each other in a circle.", code="bundle.manifest")
    for plan in plans:
        _finish(actor, plan)
        record(actor, "repository.import", plan.repository, revisions=totals[id(plan)], signed=trusted)


def _create(actor: User, plan: Plan) -> Repository:
    claim = plan.claim
    namespace = access.namespace(access.Viewer(user=actor), plan.namespace, "write")
    made = create_repository(
        actor=actor,
        namespace=namespace,
        name=claim.name,
        kind=claim.kind,
        visibility=claim.visibility,
        description=claim.description,
    )
    Repository.objects.filter(pk=made.pk).update(oid_key=claim.oid_number)
    return lock(made)


def _ready(plan: Plan, revision: ClaimedRevision, numbers: dict[str, Plan]) -> bool:
    """True where every parent that comes with the bundle is written."""
    claimed = plan.claim.versions.get(revision.version or 0)
    for name, number, _ in claimed.parents if claimed else ():
        of = numbers.get(name.lower())
        if of and number in of.claim.versions and not _version_of(of.repository, number) and of is not plan:
            return False
    return True


def _version_of(repository: Repository, number: int) -> Version | None:
    return Version.objects.filter(repository=repository, number=number).first()


def _write_revision(
    actor: User, plan: Plan, revision: ClaimedRevision, numbers: dict[str, Plan], trusted: bool
) -> None:
    repository, checked = plan.repository, plan.checked[revision.oid]
    quotas.refuse_many_files(repository.namespace, len(revision.files))
    quotas.charge(repository.namespace, set(revision.files.values()))
    claim_blobs(set(revision.files.values()))
    version = _version_of(repository, revision.version) if revision.version else None
    if revision.version and version is None:
        version = _write_version(actor, plan, revision.version, checked, numbers, trusted)
    parent = Revision.objects.filter(repository=repository, oid=revision.parent).first() if revision.parent else None
    row = Revision.objects.create(
        repository=repository,
        oid=revision.oid,
        parent=parent,
        version=version,
        message=revision.message,
        author=actor,
    )
    ManifestEntry.objects.bulk_create(
        ManifestEntry(revision=row, path=path, blob_id=entry.sha256) for path, entry in revision.files.items()
    )


def _write_version(
    actor: User, plan: Plan, number: int, checked: Checked, numbers: dict[str, Plan], trusted: bool
) -> Version:
    claim, last = plan.claim.versions[number], last_version(plan.repository)
    if number != (last.number if last else 0) + 1:
        raise Invalid(f"{plan.claim.path}: v{number} comes out of its order.", code="bundle.manifest")
    made = {"origin": Origin.UPLOADED}
    if trusted:
        made = {name: getattr(claim, name) for name in ("origin", "recipe", "report", "environment")}
    version = Version.objects.create(
        repository=plan.repository,
        number=number,
        base=checked.base,
        content_digest=checked.digest,
        facts=checked.facts,
        created_by=actor,
        **made,
    )
    if trusted:
        parents = [_parent(actor, *parent, numbers) for parent in claim.parents]
        inherit(plan.repository, version, [parent for parent in parents if parent])
    return version


def _parent(actor: User, name: str, number: int, digest: str, numbers: dict[str, Plan]) -> Version | None:
    """The version here that is meant: of the bundle, or one of that name, number and content that the actor may see."""
    of = numbers.get(name.lower())
    found = _version_of(of.repository, number) if of else None
    if found is None or found.content_digest != digest:
        try:
            found = access.version(access.Viewer(user=actor), *split_path(name), f"v{number}")
        except HubError:
            return None
    return found if found.content_digest == digest else None


def _finish(actor: User, plan: Plan) -> None:
    """Refs and facets: branches as in the bundle, tags that aren't here, the rest as publishing sets it. What is there
    already is not moved.

    Raises Protected for a ref that only admins of the repository move.
    """
    repository = plan.repository
    rows = Ref.objects.filter(repository=repository).values_list("kind", "name", "revision__oid")
    here = {(kind, name): oid for kind, name, oid in rows}
    asked = {"actor": actor, "repository": repository}
    asked["may_protected"] = access.may(access.Viewer(user=actor), repository, "admin")
    at = {revision.oid: revision for revision in Revision.objects.filter(repository=repository)}
    refs = {key: oid for key, oid in plan.claim.refs.items() if key[0] == RefKind.BRANCH or key not in here}
    newest = last_version(repository)
    if newest:
        refs[RefKind.TAG, LATEST] = newest.revision.oid
    for key, oid in refs.items():
        if here.get(key) != oid:
            move(**asked, moves=[key], revision=at[oid])
    if newest:
        values = {**facets.of_version(repository, newest), "size": facets.size_of(newest.revision)}
        Repository.objects.filter(pk=repository.pk).update(**values)
    main = plan.claim.refs.get((RefKind.BRANCH, MAIN))
    files = next((revision.files for revision in plan.claim.revisions if revision.oid == main), {})
    card: Card = read_card(read_whole(BlobSource(files[CARD]))) if CARD in files else Card()
    facets.apply_words(repository, card)
