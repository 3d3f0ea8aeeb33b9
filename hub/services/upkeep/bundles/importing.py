"""Reading a bundle: nothing comes in that a push could not bring.

The signature is checked first, then the manifest, then whether anything here is in the way; then every byte's digest,
every file by the checks of an upload, every revision's id and every version's content digest. Only then are rows
written, all of them or none. Ids of revisions and numbers of versions stay what they were.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from django.db import transaction

from composition.errors import CompositionError
from composition.formats.strict_json import strict_loads
from hub import access
from hub.errors import Conflict, HubError, Invalid
from hub.models import BaseModel, ManifestEntry, Origin, Ref, RefKind, Repository, Revision, User, Version
from hub.services import bases, known_bases, quotas
from hub.services.audit import record
from hub.services.content import facets
from hub.services.content.blob_claims import claim_blobs
from hub.services.content.cards import Card, read_card
from hub.services.content.checking import Checked, check_files
from hub.services.content.manifest import CARD, BlobSource, other_oid, read_whole, revision_oid
from hub.services.content.publishing import LATEST, MAIN, inherit, last_version, lock
from hub.services.repositories import create_repository
from hub.services.upkeep.bundles import archive, signing
from hub.services.upkeep.bundles.claims import ClaimedBase, ClaimedRepository, ClaimedRevision, Claims, read_claims
from hub.services.upkeep.checks.repositories import rebuild_ref
from hub.storage import blobs


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
    def full_name(self) -> str:
        """`namespace/name` here."""
        return f"{self.namespace}/{self.claim.name}"


def import_bundle(
    path: Path,
    *,
    actor: User,
    trust: Sequence[str] = (),
    unsigned_ok: bool = False,
    into: str | None = None,
    dry_run: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> list[Plan]:
    """Import the bundle at `path` as `actor`, into the namespaces it names or all `into` one; what was new.

    Raises Invalid for the file (`bundle.*`), Conflict for what is in the way here, and what an upload would raise.
    `trust` adds keys to the trusted ones; with `unsigned_ok` a stranger's bundle comes in as if it had been uploaded.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise Invalid(f"{path} can't be read: {error.strerror}.", code="bundle.file") from None
    with stream:
        reader = archive.Reader(stream)
        data = reader.small(archive.MANIFEST, archive.MOST_MANIFEST)
        trusted = _check_signature(reader, data, list(trust), unsigned_ok)
        claims = read_claims(data)
        plans = [_plan(actor, claim, into or claim.namespace) for claim in claims.repositories]
        _take_bytes(reader, claims, say)
    known = {(base.name, base.revision): _base(actor, base, trusted, dry_run) for base in claims.bases}
    for plan in plans:
        _check_history(plan, known)
    if not dry_run:
        with transaction.atomic():
            _write(actor, plans, known, trusted)
    return plans


def _check_signature(reader: archive.Reader, data: bytes, trust: list[str], unsigned_ok: bool) -> bool:
    """True for a trusted signature; False where the bundle is taken without. A wrong signature is never taken."""
    said = strict_loads(reader.small(archive.SIGNATURE, archive.MOST_SIGNATURE), area="bundle", what="signature.json")
    key, signature = (said.get(name) if isinstance(said, dict) else None for name in ("key", "signature"))
    if isinstance(key, str) and isinstance(signature, str) and key:
        signing.verify(key, signature, data)
        if signing.is_trusted(key, trust):
            return True
        if unsigned_ok:
            return False
        raise Invalid(
            f"The bundle is signed by {key}, which this hub does not trust. If that is the hub it came from, add "
            f"--trust {key}, or put the key into HUB_TRUSTED_KEYS.",
            code="bundle.key",
        )
    if unsigned_ok:
        return False
    raise Invalid(
        "The bundle is not signed. Export it from the hub again, or add --unsigned-ok: then it comes in as an upload "
        "would, without the recipes and parents that it claims.",
        code="bundle.unsigned",
    )


def _plan(actor: User, claim: ClaimedRepository, namespace: str) -> Plan:
    viewer = access.Viewer(user=actor)
    found = access.namespace(viewer, namespace, "write")
    existing = Repository.objects.select_related("namespace").filter(namespace=found, name__iexact=claim.name).first()
    plan = Plan(claim=claim, namespace=found.name, existing=existing, new=deque(claim.revisions))
    if existing is None:
        return plan
    refuse = f"{plan.full_name} can't be brought to the bundle's state: "
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
    if ours := sorted(here - set(there)):
        raise Conflict(
            f"{refuse}it has {len(ours)} revisions that the bundle lacks, such as {ours[0][:10]}: it was changed here, "
            f"or the bundle is older.{other}",
            code="import.diverged",
        )
    heads = Ref.objects.filter(repository=existing, kind=RefKind.BRANCH).values_list("name", "revision__oid")
    for name, oid in heads:
        kind, at = claim.refs.get(name, (RefKind.BRANCH, oid))
        while at is not None and at != oid:
            at = there[at].parent
        if at is None or kind != RefKind.BRANCH:
            raise Conflict(f"{refuse}its branch {name} is not behind the bundle's.{other}", code="import.diverged")
    plan.new = deque(revision for revision in claim.revisions if revision.oid not in here)
    for number, digest in Version.objects.filter(repository=existing).values_list("number", "content_digest"):
        if number not in claim.versions or claim.versions[number].content_digest != digest:
            raise Conflict(f"{refuse}its v{number} has other files.{other}", code="import.diverged")


def _take_bytes(reader: archive.Reader, claims: Claims, say: Callable[[str], None]) -> None:
    """Every blob into the store, if it is what its digest says."""
    for count, entry in enumerate(claims.blobs, 1):
        with reader.file(archive.BLOBS + entry.sha256, entry.size) as part:
            given = blobs.put(part)
        if given != entry:
            raise Invalid(
                f"The bundle's blob {entry.sha256} has the digest {given[0]}: it was damaged or changed. Get the "
                "bundle again.",
                code="bundle.digest",
            )
        if count % 1000 == 0:
            say(f"  {count:,} of {len(claims.blobs):,} blobs")
    reader.end()


def _base(actor: User, claim: ClaimedBase, trusted: bool, dry_run: bool) -> BaseModel | None:
    """The base here, registered where a trusted hub vouches for its shapes; None where a dry run would do that."""
    found = BaseModel.objects.filter(name__iexact=claim.name, revision=claim.revision).first()
    if found and found.shapes is not None and found.fingerprint != claim.fingerprint:
        raise Conflict(f"The base {found} has other shapes here than in the bundle.", code="import.base")
    if found and found.shapes is not None:
        return found
    if not trusted:
        raise Invalid(
            f"The bundle needs the base {claim.name}, whose shapes aren't known here; no trusted hub has signed it. "
            f"Register the base first: hubctl base add {claim.name} --config config.json",
            code="base.unknown",
        )
    if dry_run:
        return None
    with transaction.atomic():
        base, _ = bases.register_base(
            actor=actor, name=claim.name, revision=claim.revision, config=claim.config, license=claim.license
        )
        return known_bases.set_shapes(
            base=base, shapes=claim.shapes, fingerprint=claim.fingerprint, parameters=claim.parameters
        )


def _check_history(plan: Plan, known: dict[tuple[str, str], BaseModel | None]) -> None:
    """Every new revision's id, its files as an upload of them would be checked, and its version's digest."""
    claim = plan.claim
    for revision in plan.new:
        where = f"{plan.claim.full_name}@{revision.oid}"
        made_of = {
            "repository": claim.oid_number,
            "parent": revision.parent,
            "manifest": revision.files,
            "message": revision.message,
        }
        oid, number = revision_oid(**made_of), revision.version
        if revision.oid != oid and (number is None or revision.oid != other_oid(**made_of, version=number)):
            raise Invalid(f"{where}: its files, message and parent give the id {oid}.", code="bundle.oid")
        version = claim.versions.get(revision.version) if revision.version else None
        if version and version.base and version.base not in known:
            raise Invalid(f"{where}: its base {version.base[0]} is not in the bundle.", code="bundle.base")
        base = known[version.base] if version and version.base else None
        if version and version.base and base is None:
            continue  # A dry run has registered no base to check it against.
        try:
            checked = check_files(claim.kind, revision.files, base=base)
        except (CompositionError, HubError) as error:
            raise Invalid(f"{where}: an upload of it would be refused: {error}", code="bundle.files") from None
        if checked.digest != (version.content_digest if version else ""):
            raise Invalid(f"{where}: its files are not those of {_label(revision)}.", code="bundle.version")
        if checked.base != base:
            raise Invalid(f"{where}: its files name another base than its version.", code="bundle.base")
        plan.checked[revision.oid] = checked


def _label(revision: ClaimedRevision) -> str:
    return f"v{revision.version}" if revision.version else "a revision without a version"


def _write(actor: User, plans: list[Plan], known: dict, trusted: bool) -> None:
    """All rows: revisions of each repository in order, and no version before those that it was made from."""
    numbers = {plan.claim.full_name.lower(): plan for plan in plans}
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
        _finish(plan)
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
        raise Invalid(f"{plan.claim.full_name}: v{number} comes out of its order.", code="bundle.manifest")
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
    if of := numbers.get(name.lower()):
        found = _version_of(of.repository, number)
    else:
        try:
            found = access.version(access.Viewer(user=actor), *name.partition("/")[::2], f"v{number}")
        except HubError:
            return None
    return found if found and found.content_digest == digest else None


def _finish(plan: Plan) -> None:
    """Refs and facets: branches as in the bundle, tags that aren't here, the rest as publishing sets it."""
    repository = plan.repository
    at = {revision.oid: revision for revision in Revision.objects.filter(repository=repository)}
    for name, (kind, oid) in plan.claim.refs.items():
        if kind == RefKind.BRANCH:
            values = {"kind": kind, "revision": at[oid]}
            Ref.objects.update_or_create(repository=repository, name=name, defaults=values)
        elif name != LATEST:
            Ref.objects.get_or_create(repository=repository, name=name, defaults={"kind": kind, "revision": at[oid]})
    newest = last_version(repository)
    if newest:
        rebuild_ref(repository, LATEST)
        last = Revision.objects.filter(repository=repository, version=newest).order_by("-pk").first()
        values = {**facets.of_version(repository, newest), "size": facets.size_of(last)}
        Repository.objects.filter(pk=repository.pk).update(**values)
    main = plan.claim.refs.get(MAIN)
    files = next((revision.files for revision in plan.claim.revisions if main and revision.oid == main[1]), {})
    card: Card = read_card(read_whole(BlobSource(files[CARD]))) if CARD in files else Card()
    facets.apply_words(repository, card)
