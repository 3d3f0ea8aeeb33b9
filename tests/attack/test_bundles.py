"""Hostile bundles: whatever the file, nothing gets in that a push could not bring, and nothing is written on the way.

The fault to catch: an archive that is trusted to be what its manifest says, or a manifest that is trusted at all.
"""

import copy
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.conf import settings

from composition.errors import CompositionError
from hub.errors import HubError
from hub.models import BaseModel, Job, Membership, Namespace, Ref, Repository, Revision, Version
from hub.services import protections
from hub.services.content.manifest import Entry, revision_oid
from hub.services.upkeep.bundles import archive, signing
from hub.services.upkeep.bundles.exporting import export
from hub.services.upkeep.bundles.importing import import_bundle
from tests.hub import factories
from tests.hub.upkeep.a_hub import copied, made_once

pytestmark = pytest.mark.django_db


def make() -> SimpleNamespace:
    """A bundle of two versions in parts: manifest, blobs by digest, and the file; its name is free here."""
    owner = factories.make_user("owner")
    lab, base = factories.make_organisation("lab", admin=owner), factories.make_base()
    version = factories.make_version(owner, "first", base=base, namespace=lab, card="# One\n")
    factories.push(owner, version.repository, factories.adapter_files(seed=2))
    path = settings.HUB_DATA / "whole.bundle"
    export(["lab/first"], path)
    with tarfile.open(path) as tar:
        files = {name: tar.extractfile(name).read() for name in tar.getnames()}
    Repository.objects.filter(pk=version.repository_id).update(name="elsewhere")
    manifest = json.loads(files.pop("manifest.json"))
    return SimpleNamespace(path=path, manifest=manifest, files=files, data=path.read_bytes(), owner=owner, base=base)


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker, tmp_path_factory) -> Iterator[SimpleNamespace]:
    with django_db_blocker.unblock(), made_once(make, tmp_path_factory.mktemp("whole")) as made:
        yield made


@pytest.fixture
def whole(world, store, settings) -> Iterator[SimpleNamespace]:
    """The bundle, for one test alone, in the hub that made it."""
    settings.HUB_DATA = world.folder
    with copied(world, store):
        yield world


def packed(manifest: dict, files: dict[str, bytes], *, key: str | None = None, signature: str | None = None) -> bytes:
    """A bundle of these parts, signed by this hub unless another signature is given."""
    data = json.dumps(manifest).encode()
    said = {"key": key or signing.public_key(), "signature": signature or signing.sign(data)}
    blobs = [(name.removeprefix("blobs/"), body) for name, body in files.items() if name.startswith("blobs/")]
    out = io.BytesIO()
    archive.write(out, data, json.dumps(said).encode(), [(n, len(b), io.BytesIO(b)) for n, b in blobs])
    return out.getvalue()


def member(name: str, body: bytes = b"", **fields) -> bytes:
    """One tar member with its padding."""
    entry = tarfile.TarInfo(name)
    entry.size = len(body)
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry.tobuf(tarfile.GNU_FORMAT) + body + b"\0" * (-len(body) % 512)


def refused(whole, data: bytes, tmp_path, **how) -> str:
    """Import it; what the refusal says. Nothing may have been written."""
    path = tmp_path / "hostile.bundle"
    path.write_bytes(data)
    before = set(tmp_path.parent.rglob("*"))
    with pytest.raises((HubError, CompositionError)) as error:
        import_bundle(path, actor=whole.owner, **how)
    assert Repository.objects.count() == 1 and Revision.objects.count() == Version.objects.count() == 2
    outside = {one for one in set(tmp_path.parent.rglob("*")) - before if "/blobs/" not in f"{one}/"}
    assert not {one for one in outside if one.name not in ("blobs", "signing_key.pem", "incoming")}, outside
    return str(error.value)


def at_blob(whole, new: bytes) -> bytes:
    """The file with `new` in the place of its first blob."""
    first = next(name for name in whole.files if name.startswith("blobs/"))
    start = whole.data.index(first.encode())
    size = len(member(first, whole.files[first]))
    return whole.data[:start] + new + whole.data[start + size :]


def first_blob(whole) -> str:
    return next(name for name in whole.files if name.startswith("blobs/"))


def long_name(whole) -> bytes:
    return member("././@LongLink", b"x" * 600, type=tarfile.GNUTYPE_LONGNAME)


FILES = {
    "empty": lambda w: b"",
    "no tar": lambda w: b"hello" * 1000,
    "gzip": lambda w: b"\x1f\x8b" + w.data,
    "cut in a header": lambda w: w.data[:700],
    "cut in a blob": lambda w: w.data[: w.data.index(first_blob(w).encode()) + 600],
    "cut before the last blob": lambda w: w.data[: w.data.rindex(b"blobs/")],
    "a path out of the folder": lambda w: at_blob(w, member("../../etc/passwd", b"x")),
    "an absolute path": lambda w: at_blob(w, member("/etc/passwd", b"x")),
    "a symlink": lambda w: at_blob(w, member(first_blob(w), type=tarfile.SYMTYPE, linkname="/etc/passwd")),
    "a hard link": lambda w: at_blob(w, member(first_blob(w), type=tarfile.LNKTYPE, linkname="manifest.json")),
    "a folder": lambda w: at_blob(w, member(first_blob(w), type=tarfile.DIRTYPE)),
    "a device": lambda w: at_blob(w, member(first_blob(w), type=tarfile.CHRTYPE)),
    "a sparse file": lambda w: at_blob(w, member(first_blob(w), type=tarfile.GNUTYPE_SPARSE)),
    "an extension header": lambda w: at_blob(w, member("pax", b"9 size=1\n", type=tarfile.XHDTYPE)),
    "a long name": lambda w: at_blob(w, long_name(w)),
    "a blob missing": lambda w: at_blob(w, b""),
    "a blob twice": lambda w: at_blob(w, member(first_blob(w), w.files[first_blob(w)]) * 2),
    "other bytes": lambda w: at_blob(w, member(first_blob(w), bytes(len(w.files[first_blob(w)])))),
    "more bytes": lambda w: at_blob(w, member(first_blob(w), w.files[first_blob(w)] + b"x")),
    "more after its end": lambda w: w.data + member("more", b"x"),
    "much after its end": lambda w: w.data + bytes(1_000_000),
    "the signature first": lambda w: member("signature.json", w.files["signature.json"]) + w.data,
}


@pytest.mark.parametrize("what", FILES)
def test_a_hostile_file_is_refused(what, whole, tmp_path):
    assert "bundle" in refused(whole, FILES[what](whole), tmp_path)


def test_a_header_of_terabytes_is_not_believed(whole, tmp_path):
    entry = tarfile.TarInfo("manifest.json")
    entry.size = 1 << 45
    assert "bytes, not up to" in refused(whole, entry.tobuf(tarfile.GNU_FORMAT) + bytes(4096), tmp_path)


def repository(manifest: dict) -> dict:
    return manifest["repositories"][0]


def oid_again(manifest: dict) -> None:
    """Compute all revision ids anew, as an attacker would who knows how."""
    new: dict[str, str] = {}
    for revision in repository(manifest)["revisions"]:
        old = revision["oid"]
        files = {path: Entry(*entry) for path, entry in sorted(revision["files"].items())}
        revision["parent"] = new.get(revision["parent"])
        revision["oid"] = new[old] = revision_oid(
            repository=repository(manifest)["oid_number"],
            parent=revision["parent"],
            manifest=files,
            message=revision["message"],
        )
    for ref in repository(manifest)["refs"]:
        ref[2] = new[ref[2]]


def rename_a_file(manifest: dict, name: str) -> None:
    for revision in repository(manifest)["revisions"]:
        if "README.md" in revision["files"]:
            revision["files"][name] = revision["files"].pop("README.md")
    oid_again(manifest)


def set_in(manifest: dict, *path, to) -> None:
    *way, last = path
    place = manifest
    for step in way:
        place = place[step]
    place[last] = to


R = ("repositories", 0)
CLAIMS = {
    "another format": lambda m: set_in(m, "format", to=99),
    "no repositories": lambda m: set_in(m, "repositories", to=[]),
    "repositories of numbers": lambda m: set_in(m, "repositories", to=[1]),
    "the same twice": lambda m: m["repositories"].append(copy.deepcopy(repository(m))),
    "a name with a path": lambda m: set_in(m, *R, "name", to="lab/../first"),
    "a name without namespace": lambda m: set_in(m, *R, "name", to="first"),
    "a reserved name": lambda m: set_in(m, *R, "name", to="lab/x.v1"),
    "a kind unknown": lambda m: set_in(m, *R, "kind", to="model"),
    "another kind": lambda m: set_in(m, *R, "kind", to="generator"),
    "a visibility unknown": lambda m: set_in(m, *R, "visibility", to="secret"),
    "a negative number": lambda m: set_in(m, *R, "oid_number", to=-1),
    "another number": lambda m: set_in(m, *R, "oid_number", to=2**40),
    "a huge number": lambda m: set_in(m, *R, "oid_number", to=2**80),
    "a message of two lines": lambda m: set_in(m, *R, "revisions", 0, "message", to="a\nb"),
    "another message": lambda m: set_in(m, *R, "revisions", 0, "message", to="a"),
    "a file out of the folder": lambda m: rename_a_file(m, "../README.md"),
    "an absolute file": lambda m: rename_a_file(m, "/README.md"),
    "a file that is never accepted": lambda m: rename_a_file(m, "pytorch_model.bin"),
    "no files": lambda m: set_in(m, *R, "revisions", 0, "files", to={}),
    "a file of minus one byte": lambda m: set_in(m, *R, "revisions", 0, "files", "README.md", 1, to=-1),
    "a file of a terabyte": lambda m: set_in(m, *R, "revisions", 0, "files", "README.md", 1, to=10**12),
    "no digest": lambda m: set_in(m, *R, "revisions", 0, "files", "README.md", 0, to="x"),
    "another id": lambda m: set_in(m, *R, "revisions", 0, "oid", to="0" * 40),
    "a parent that isn't there": lambda m: set_in(m, *R, "revisions", 0, "parent", to="0" * 40),
    "no parent": lambda m: set_in(m, *R, "revisions", 1, "parent", to=None),
    "children first": lambda m: repository(m)["revisions"].reverse(),
    "a revision twice": lambda m: repository(m)["revisions"].append(repository(m)["revisions"][0]),
    "a version that isn't there": lambda m: set_in(m, *R, "revisions", 0, "version", to=7),
    "another version's number": lambda m: set_in(m, *R, "revisions", 0, "version", to=2),
    "no version for its weights": lambda m: set_in(m, *R, "revisions", 0, "version", to=None),
    "versions with a gap": lambda m: set_in(m, *R, "versions", 0, "number", to=3),
    "another content digest": lambda m: set_in(m, *R, "versions", 0, "content_digest", to="0" * 64),
    "another base": lambda m: set_in(m, *R, "versions", 0, "base", to=["other/base", "main"]),
    "no base": lambda m: set_in(m, *R, "versions", 0, "base", to=None),
    "a base of other shapes": lambda m: set_in(m, "bases", 0, "fingerprint", to="0" * 64),
    "a recipe of NUL": lambda m: set_in(m, *R, "versions", 0, "recipe", to={"a": "\0"}),
    "a recipe that is a list": lambda m: set_in(m, *R, "versions", 0, "recipe", to=[1]),
    "an origin unknown": lambda m: set_in(m, *R, "versions", 0, "origin", to="stolen"),
    "parents of odd shape": lambda m: set_in(m, *R, "versions", 0, "parents", to=[["lab/x", "1", "d"]]),
    "no refs": lambda m: set_in(m, *R, "refs", to=[]),
    "a ref like a version": lambda m: repository(m)["refs"].append(["tag", "v9", repository(m)["revisions"][0]["oid"]]),
    "a ref to nowhere": lambda m: set_in(m, *R, "refs", 0, 2, to="0" * 40),
    "main as a tag": lambda m: set_in(m, *R, "refs", to=[["tag", "main", repository(m)["revisions"][0]["oid"]]]),
    "a blob that nobody needs": lambda m: m["blobs"].append(["0" * 64, 3]),
    "a blob unlisted": lambda m: m["blobs"].pop(),
    "a blob twice": lambda m: m["blobs"].append(m["blobs"][0]),
}


@pytest.mark.parametrize("what", CLAIMS)
def test_a_false_claim_is_refused_even_with_a_good_signature(what, whole, tmp_path):
    manifest = copy.deepcopy(whole.manifest)
    CLAIMS[what](manifest)
    assert refused(whole, packed(manifest, whole.files), tmp_path)


def test_the_whole_one_is_taken_so_that_the_tables_prove_something(whole):
    import_bundle(whole.path, actor=whole.owner)
    assert Revision.objects.filter(repository__name="first").count() == 2
    manifest = copy.deepcopy(whole.manifest)
    oid_again(manifest)
    assert manifest == whole.manifest


def test_a_wrong_signature_is_never_taken(whole, tmp_path):
    manifest = {**whole.manifest, "made_at": "later"}
    old = json.loads(whole.files["signature.json"])["signature"]
    data = packed(manifest, whole.files, signature=old)
    for how in ({}, {"unsigned_ok": True}, {"trust": [signing.public_key()]}):
        assert "signature does not fit" in refused(whole, data, tmp_path, **how)
    for key in ("ed25519:AAAA", "rsa:x", "ed25519:" + "A" * 43 + "="):
        assert refused(whole, packed(manifest, whole.files, key=key), tmp_path, unsigned_ok=True)


def test_a_strangers_bundle_comes_in_as_an_upload(whole, settings, tmp_path):
    """Without trust: its recipe, parents and base are words of nobody."""
    manifest = copy.deepcopy(whole.manifest)
    repository(manifest)["versions"][0] |= {"recipe": {"kind": "lego"}, "origin": "merged"}
    data = packed(manifest, whole.files)
    (tmp_path / "new").mkdir()
    settings.HUB_DATA = tmp_path / "new"
    assert "does not trust" in refused(whole, data, tmp_path)
    path = Path(tmp_path / "hostile.bundle")
    import_bundle(path, actor=whole.owner, unsigned_ok=True)
    row = Version.objects.get(repository__name="first", number=1)
    assert (row.origin, row.recipe) == ("uploaded", None)


def test_a_strangers_bundle_registers_no_base(whole, settings, tmp_path):
    manifest = copy.deepcopy(whole.manifest)
    manifest["bases"][0]["name"] = repository(manifest)["versions"][0]["base"][0] = "evil/base"
    data = packed(manifest, whole.files)
    (tmp_path / "new").mkdir()
    settings.HUB_DATA = tmp_path / "new"
    assert "Register it: hubctl base add evil/base" in refused(whole, data, tmp_path, unsigned_ok=True)
    assert not BaseModel.objects.filter(name="evil/base").exists()


def another_base(manifest: dict) -> None:
    manifest["bases"][0]["name"] = "lab/new"
    for version in repository(manifest)["versions"]:
        version["base"][0] = "lab/new"


def test_what_is_refused_late_leaves_no_base_and_no_job(whole, tmp_path):
    """A base that a trusted hub vouches for comes with all the rest or not at all, and its shapes need no worker."""
    bad = copy.deepcopy(whole.manifest)
    another_base(bad)
    repository(bad)["versions"][1]["content_digest"] = "0" * 64
    refused(whole, packed(bad, whole.files), tmp_path)
    assert not BaseModel.objects.filter(name="lab/new").exists() and not Job.objects.exists()
    good = copy.deepcopy(whole.manifest)
    another_base(good)
    path = tmp_path / "good.bundle"
    path.write_bytes(packed(good, whole.files))
    import_bundle(path, actor=whole.owner, dry_run=True)
    assert not BaseModel.objects.filter(name="lab/new").exists() and Repository.objects.count() == 1
    import_bundle(path, actor=whole.owner)
    base = BaseModel.objects.get(name="lab/new")
    assert base.shapes == whole.base.shapes and not Job.objects.exists()
    assert set(Version.objects.filter(repository__name="first").values_list("base", flat=True)) == {base.pk}


def test_a_dry_run_refuses_what_the_import_would(whole, tmp_path):
    """Also what is only found as rows are written: a limit, a protected name."""
    protections.protect(actor=whole.owner, place=Namespace.objects.get(name="lab"), pattern="latest")
    writer = factories.make_user("writer")
    Membership.objects.create(namespace=Namespace.objects.get(name="lab"), user=writer, role="writer")
    for dry_run in (True, False):
        with pytest.raises(HubError, match="'latest' is protected"):
            import_bundle(whole.path, actor=writer, dry_run=dry_run)
    assert Repository.objects.count() == 1


def test_a_link_of_lineage_needs_sight(whole, tmp_path):
    """A bundle can't claim a private adapter that its importer may not see as a parent, and learn of it."""
    stranger = factories.make_user("other")
    secret = factories.make_version(stranger, "secret", base=whole.base, visibility="private")
    manifest = copy.deepcopy(whole.manifest)
    repository(manifest)["versions"][0]["parents"] = [["other/secret", 1, secret.content_digest]]
    path = tmp_path / "x.bundle"
    path.write_bytes(packed(manifest, whole.files))
    import_bundle(path, actor=whole.owner)
    row = Version.objects.get(repository__name="first", number=1)
    assert not row.parentage.exists()


def test_bytes_of_others_are_not_reached_by_their_digest(whole, tmp_path):
    """A manifest that names a digest which the store holds, without the bytes, gets nothing."""
    stranger = factories.make_user("stranger")
    other = factories.make_repository(stranger, "theirs", visibility="private")
    factories.push(stranger, other, {"README.md": b"# Secret\n"})
    stolen = hashlib.sha256(b"# Secret\n").hexdigest()
    manifest = copy.deepcopy(whole.manifest)
    for revision in repository(manifest)["revisions"]:
        revision["files"]["README.md"] = [stolen, 9]
    oid_again(manifest)
    needed = {tuple(entry) for one in repository(manifest)["revisions"] for entry in one["files"].values()}
    manifest["blobs"] = sorted(needed)
    files = {f"blobs/{sha256}": whole.files.get(f"blobs/{sha256}", b"# Wrong!\n") for sha256, _ in manifest["blobs"]}
    path = tmp_path / "x.bundle"
    path.write_bytes(packed(manifest, files))
    with pytest.raises(HubError, match="has the digest"):
        import_bundle(path, actor=whole.owner)
    assert not Ref.objects.filter(repository__name="first").exists()
