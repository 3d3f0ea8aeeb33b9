"""What a bundle's manifest claims, read strictly: every field of its type, every name one that may be given here.

These are claims only. Digests, revision ids, content digests and facts are computed again by the import.
"""

from dataclasses import dataclass
from typing import Any

from composition.errors import CompositionError
from composition.formats.strict_json import strict_loads
from hub.errors import HubError, Invalid
from hub.models import Kind, Origin, RefKind, Visibility, path_of
from hub.names import OID, check_ref, check_repository
from hub.services.content.declared_files import read_promise
from hub.services.content.manifest import Entry, Manifest, canonical_json
from hub.services.content.publishing import LATEST, MAIN, clean_message
from hub.storage import DIGEST

FORMAT = 1
MOST_REVISIONS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedBase:
    """A base that versions name; `shapes` and `parameters` as the exporting hub read them."""

    name: str
    revision: str
    config: dict
    shapes: dict
    fingerprint: str
    parameters: int
    license: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedVersion:
    """vN, how it was made, and its parents as (path, number, content digest)."""

    number: int
    base: tuple[str, str] | None
    content_digest: str
    origin: str
    recipe: dict | None
    report: dict | None
    environment: dict | None
    parents: list[tuple[str, int, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRevision:
    """A manifest with its id; `version` is the number of its version."""

    oid: str
    parent: str | None
    message: str
    version: int | None
    files: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRepository:
    """A repository with its whole history, parents before children."""

    namespace: str
    name: str
    kind: str
    visibility: str
    description: str
    oid_number: int
    revisions: list[ClaimedRevision]
    versions: dict[int, ClaimedVersion]
    refs: dict[tuple[str, str], str]
    """(branch or tag, name) → the id of its revision."""

    @property
    def path(self) -> str:
        """`namespace/name` as the bundle has it, `datasets/namespace/name` of a dataset."""
        return path_of(self.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """All of a manifest."""

    bases: list[ClaimedBase]
    repositories: list[ClaimedRepository]
    blobs: list[Entry]


def read_claims(data: bytes) -> Claims:
    """The claims of a manifest; Invalid `bundle.manifest` names the first that can't be."""
    try:
        value = strict_loads(data, area="bundle", what="manifest.json")
        if _of(value, "format", int) != FORMAT:
            raise _Wrong(f"its format is {value['format']}, and this release reads {FORMAT}; upgrade the hub")
        claims = Claims(
            bases=[_base(one) for one in _list(value, "bases")],
            repositories=[_repository(one) for one in _list(value, "repositories")],
            blobs=[Entry(*_pair(one)) for one in _list(value, "blobs")],
        )
        _check_whole(claims)
    except (_Wrong, CompositionError, HubError) as error:
        text = getattr(error, "message", None) or str(error)
        raise Invalid(f"The bundle's manifest can't be used: {text}", code="bundle.manifest") from None
    return claims


class _Wrong(Exception):
    """What is wrong with the manifest."""


def _check_whole(claims: Claims) -> None:
    """Nothing twice, nothing missing, nothing that no revision needs."""
    names = [one.path.lower() for one in claims.repositories]
    if not names or len(set(names)) < len(names):
        raise _Wrong("it lists no repository, or one twice")
    if sum(len(one.revisions) for one in claims.repositories) > MOST_REVISIONS:
        raise _Wrong(f"it has more than {MOST_REVISIONS:,} revisions; export fewer repositories at once")
    listed = dict(claims.blobs)
    needed = {entry for one in claims.repositories for revision in one.revisions for entry in revision.files.values()}
    if len(listed) < len(claims.blobs) or set(claims.blobs) != needed:
        raise _Wrong("its list of blobs is not what its revisions need")


def _base(value: Any) -> ClaimedBase:
    return ClaimedBase(
        name=_of(value, "name", str),
        revision=_of(value, "revision", str),
        config=_of(value, "config", dict),
        shapes=_shapes(_of(value, "shapes", dict)),
        fingerprint=_match(value, "fingerprint", DIGEST),
        parameters=_number(value, "parameters"),
        license=_of(value, "license", str)[:100],
    )


def _shapes(value: dict) -> dict:
    for name, shape in value.items():
        whole = isinstance(shape, list) and all(type(n) is int and 0 < n < 2**31 for n in shape)
        if not whole or not name:
            raise _Wrong(f"the shape of {name[:100]!r} is not a list of lengths")
    return value


def _repository(value: Any) -> ClaimedRepository:
    namespace, slash, name = _of(value, "name", str).partition("/")
    if not slash or not namespace:
        raise _Wrong(f"{value['name']!r} is not namespace/name")
    versions = {one.number: one for one in map(_version, _list(value, "versions"))}
    if sorted(versions) != list(range(1, len(versions) + 1)) or len(versions) != len(value["versions"]):
        raise _Wrong(f"{value['name']}: its versions are not v1 to v{len(versions)}")
    revisions, seen = [], set()
    for one in map(_revision, _list(value, "revisions")):
        if one.oid in seen or (one.parent and one.parent not in seen) or (one.version and one.version not in versions):
            raise _Wrong(f"{value['name']}@{one.oid}: it comes twice, before its parent, or names no version")
        seen.add(one.oid)
        revisions.append(one)
    refs = {}
    for sort, ref, oid in (_triple(one) for one in _list(value, "refs")):
        _check_ref(sort, ref)
        if (sort, ref) in refs or oid not in seen:
            raise _Wrong(f"{value['name']}: the ref {ref!r} comes twice, or points at none of its revisions")
        refs[sort, ref] = oid
    if not any(sort == RefKind.BRANCH for sort, _ in refs):
        raise _Wrong(f"{value['name']} has no branch")
    return ClaimedRepository(
        namespace=namespace,
        name=check_repository(name),
        kind=_choice(value, "kind", Kind.values),
        visibility=_choice(value, "visibility", Visibility.values),
        description=_of(value, "description", str)[:300].replace("\0", ""),
        oid_number=_number(value, "oid_number"),
        revisions=revisions,
        versions=versions,
        refs=refs,
    )


def _check_ref(sort: str, name: str) -> None:
    if sort != {MAIN: RefKind.BRANCH, LATEST: RefKind.TAG}.get(name, sort) or sort not in (RefKind.BRANCH, RefKind.TAG):
        raise _Wrong(f"{name!r} can't be a {sort}")
    if name not in (MAIN, LATEST):
        check_ref(name)


def _revision(value: Any) -> ClaimedRevision:
    files = _of(value, "files", dict)
    promised = [{"path": path, **dict(zip(("sha256", "size"), _pair(entry)))} for path, entry in files.items()]  # noqa: B905
    message = _of(value, "message", str)
    if message != clean_message(message) or not files:
        raise _Wrong("a revision has no files, or a message that no push could leave")
    number = value.get("version")
    return ClaimedRevision(
        oid=_match(value, "oid", OID),
        parent=None if value.get("parent") is None else _match(value, "parent", OID),
        message=message,
        version=None if number is None else _number(value, "version"),
        files=dict(sorted(read_promise(promised).items())),
    )


def _version(value: Any) -> ClaimedVersion:
    base = value.get("base") if isinstance(value, dict) else None
    return ClaimedVersion(
        number=_number(value, "number"),
        base=None if base is None else _strings(base, 2),
        content_digest=_match(value, "content_digest", DIGEST),
        origin=_choice(value, "origin", Origin.values),
        recipe=_json(value, "recipe"),
        report=_json(value, "report"),
        environment=_json(value, "environment"),
        parents=[_parent(one) for one in _list(value, "parents")],
    )


def _parent(value: Any) -> tuple[str, int, str]:
    if not (isinstance(value, list) and list(map(type, value)) == [str, int, str]):
        raise _Wrong("a parent is not [name, number, digest]")
    return tuple(value)


def _json(value: dict, key: str) -> dict | None:
    if value.get(key) is None:
        return None
    found = _of(value, key, dict)
    try:
        text = canonical_json(found)
    except (ValueError, RecursionError):
        raise _Wrong(f"{key} holds what JSON has no number for") from None
    if b"\\u0000" in text:
        raise _Wrong(f"{key} holds a NUL character")
    return found


def _of(value: Any, key: str, wanted: type) -> Any:
    found = value.get(key) if isinstance(value, dict) else None
    if type(found) is not wanted:
        raise _Wrong(f"{key} should be a {wanted.__name__}, and is {str(found)[:60]!r}")
    return found


def _list(value: Any, key: str) -> list:
    return _of(value, key, list)


def _number(value: Any, key: str) -> int:
    found = _of(value, key, int)
    if not 0 < found < 2**53:
        raise _Wrong(f"{key} should be a number from 1 on, and is {found}")
    return found


def _choice(value: Any, key: str, choices: list[str]) -> str:
    found = _of(value, key, str)
    if found not in choices:
        raise _Wrong(f"{key} should be one of {', '.join(choices)}, and is {found[:60]!r}")
    return found


def _match(value: Any, key: str, pattern: Any) -> str:
    found = _of(value, key, str)
    if not pattern.fullmatch(found):
        raise _Wrong(f"{key} is {found[:60]!r}")
    return found


def _pair(value: Any) -> tuple[str, int]:
    if not (isinstance(value, list) and list(map(type, value)) == [str, int] and DIGEST.fullmatch(value[0])):
        raise _Wrong(f"{str(value)[:60]!r} is not [sha256, size]")
    return value[0], value[1]


def _triple(value: Any) -> tuple[str, str, str]:
    return _strings(value, 3)


def _strings(value: Any, count: int) -> tuple:
    if not (isinstance(value, list) and list(map(type, value)) == [str] * count):
        raise _Wrong(f"{str(value)[:60]!r} is not a list of {count} words")
    return tuple(value)
