"""Reading a bundle: nothing comes in that a push could not bring.

The signature is checked first, then the manifest, then whether anything here is in the way; then every byte's digest,
every file by the checks of an upload, every revision's id and every version's content digest. Only then are rows
written, all of them or none. Ids of revisions and numbers of versions stay what they were.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from django.db import transaction

from composition.errors import CompositionError
from composition.formats.strict_json import strict_loads
from hub.access.base_advice import how_to_register
from hub.errors import Conflict, HubError, Invalid
from hub.models import BaseModel, User
from hub.services import bases
from hub.services.content.checking import check_files
from hub.services.content.manifest import other_oid, revision_oid
from hub.services.upkeep.bundles import archive, signing
from hub.services.upkeep.bundles.claims import ClaimedBase, ClaimedRevision, Claims, read_claims
from hub.services.upkeep.bundles.plans import Plan, plan_for
from hub.services.upkeep.bundles.writing import write
from hub.storage import blobs


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
    Then no row is written, and with `dry_run` neither; the bytes are in the store already, where gc finds them.
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
        plans = [plan_for(actor, claim, into or claim.namespace) for claim in claims.repositories]
        _take_bytes(reader, claims, say)
    with transaction.atomic():  # Bases are tried first, and kept only with all the rest.
        tried = _bases(actor, claims, trusted)
        transaction.set_rollback(True)
    for plan in plans:
        _check_history(plan, tried)
    with transaction.atomic():
        _take_bases(plans, tried, _bases(actor, claims, trusted))
        write(actor, plans, trusted)
        transaction.set_rollback(dry_run)
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


def _bases(actor: User, claims: Claims, trusted: bool) -> dict[tuple[str, str], BaseModel]:
    return {(base.name, base.revision): _base(actor, base, trusted) for base in claims.bases}


def _take_bases(
    plans: list[Plan], tried: dict[tuple[str, str], BaseModel], kept: dict[tuple[str, str], BaseModel]
) -> None:
    """Put the bases that are kept in the place of those that the files were checked against."""
    of = {base.pk: kept[key] for key, base in tried.items()}
    for plan in plans:
        plan.checked = {oid: replace(one, base=one.base and of[one.base.pk]) for oid, one in plan.checked.items()}


def _base(actor: User, claim: ClaimedBase, trusted: bool) -> BaseModel:
    """The base here, registered where a trusted hub vouches for its shapes."""
    found = BaseModel.objects.filter(name__iexact=claim.name, revision=claim.revision).first()
    if found and found.shapes is not None and found.fingerprint != claim.fingerprint:
        raise Conflict(f"The base {found} has other shapes here than in the bundle.", code="import.base")
    if found and found.shapes is not None:
        return found
    if not trusted:
        advice = how_to_register(claim.name if claim.revision == "main" else f"{claim.name}@{claim.revision}")
        raise Invalid(
            f"The bundle needs the base {claim.name}, whose shapes aren't known here; no trusted hub has signed it. "
            f"{advice}, and import again.",
            code="base.unknown",
            **advice.facts,
        )
    shapes = {"shapes": claim.shapes, "fingerprint": claim.fingerprint, "parameters": claim.parameters}
    named = {"name": claim.name, "revision": claim.revision, "config": claim.config, "license": claim.license}
    return bases.register_base(actor=actor, **named, known=shapes)[0]


def _check_history(plan: Plan, known: dict[tuple[str, str], BaseModel]) -> None:
    """Every new revision's id, its files as an upload of them would be checked, and its version's digest."""
    claim = plan.claim
    for revision in plan.new:
        where = f"{plan.claim.path}@{revision.oid}"
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
