"""Repositories carried from hub to hub in one file: the same ids, numbers and lineage, and nothing else."""

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from hub.models import BaseModel, Companion, Event, Job, Parentage, Ref, RefMove, Repository, Revision, Version
from hub.services import protections, refs, repositories
from hub.services.content.collection import collect_blobs, timedelta
from hub.services.upkeep import fsck
from hub.services.upkeep.bundles import signing
from hub.services.upkeep.purge import purge_repository
from tests.hub import factories

pytestmark = pytest.mark.django_db
ALL = ["lab/first", "lab/other", "lab/merged", "lab/sums", "owner/gen"]


@pytest.fixture(autouse=True)
def data(settings, tmp_path) -> None:
    """A data folder of its own, for the signing key."""
    settings.HUB_DATA = tmp_path / "data"
    settings.HUB_DATA.mkdir()


@pytest.fixture
def bundle(hub, tmp_path) -> Path:
    """All of the hub, exported."""
    path = tmp_path / "all.bundle"
    call_command("export", *ALL, str(path), "--private")
    return path


def forget_everything() -> None:
    """What was exported is gone for good, as in a hub that never had it."""
    Job.objects.all().delete()
    for repository in Repository.objects.order_by("-pk"):
        repositories.delete_repository(actor=None, repository=repository)
        purge_repository(actor=None, repository=repository)
    for repository in Repository.objects.all():
        Version.objects.filter(repository=repository).delete()
    Parentage.objects.all().delete()
    Version.objects.all().delete()
    Repository.objects.all().delete()
    collect_blobs(grace=timedelta(0))


def another_hub(settings, tmp_path) -> None:
    """The key of this hub is another one from now on."""
    settings.HUB_DATA = tmp_path / "another"
    settings.HUB_DATA.mkdir()


def picture() -> dict:
    """What has to be the same on both sides."""
    return {
        "revisions": sorted(Revision.objects.values_list("oid", "parent__oid", "message", "version__number")),
        "versions": sorted(
            Version.objects.values_list("repository__name", "number", "content_digest", "origin", "base__name")
        ),
        "facts": {str(row): (row.facts, row.recipe) for row in Version.objects.select_related("repository__namespace")},
        "refs": sorted(Ref.objects.values_list("repository__name", "kind", "name", "revision__oid")),
        "parents": sorted(map(str, Parentage.objects.all())),
        "repositories": sorted(
            Repository.objects.filter(deleted_at=None).values_list(
                "name", "kind", "visibility", "description", "rank", "size", "license", "peft_type"
            )
        ),
    }


def take(path: Path, *options: str) -> None:
    call_command("import", str(path), "--as", "owner", *options)


def test_everything_arrives_as_it_was(hub, bundle, settings, tmp_path, capsys):
    Repository.objects.filter(name="thrown").delete()
    before, key = picture(), signing.public_key()
    forget_everything()
    BaseModel.objects.all().delete()
    another_hub(settings, tmp_path)
    with pytest.raises(CommandError, match="does not trust") as refused:
        take(bundle)
    assert f"--trust {key}" in str(refused.value) and not Repository.objects.exists()
    take(bundle, "--trust", key)
    assert picture() == before
    assert "lab/first is new: 3 revisions" in capsys.readouterr().out
    assert not list(fsck.check(fsck.look()))
    assert not Companion.objects.exists(), "companions stay at home"
    assert Event.objects.filter(verb="repository.import", object="lab/merged").exists()
    found = Repository.objects.get(name="first")
    pushed = factories.push(hub.owner, found, factories.adapter_files(seed=99))
    assert pushed.version.number == 3
    assert not list(fsck.check(fsck.look()))


def test_a_trusted_key_is_a_setting_and_a_wrong_one_is_named(hub, bundle, settings, tmp_path, capsys):
    key = signing.public_key()
    forget_everything()
    another_hub(settings, tmp_path)
    call_command("export", "--show-key")
    assert capsys.readouterr().out.strip().startswith("ed25519:") and signing.public_key() != key
    settings.TRUSTED_KEYS = ["bogus"]
    with pytest.raises(CommandError, match="is not a key"):
        take(bundle)
    settings.TRUSTED_KEYS = [key]
    take(bundle)
    assert Repository.objects.count() == 5


def test_a_known_repository_goes_forward(hub, bundle, tmp_path, capsys):
    with_more = tmp_path / "more.bundle"
    factories.push(hub.owner, hub.repository, factories.adapter_files(seed=55))
    refs.set_tag(actor=hub.owner, repository=hub.repository, name="new", revision=hub.first.revisions.first())
    call_command("export", "lab/first", str(with_more))
    later = picture()
    forget_everything()
    take(bundle)
    capsys.readouterr()
    take(bundle)
    assert "lab/first exists and goes forward: 0 revisions" in capsys.readouterr().out
    take(with_more)
    assert "lab/first exists and goes forward: 1 revisions" in capsys.readouterr().out
    assert picture()["revisions"] == later["revisions"] and picture()["refs"] == later["refs"]
    with pytest.raises(CommandError, match="or the bundle is older"):
        take(bundle)
    assert not list(fsck.check(fsck.look()))


def test_latest_is_vn_after_an_import_whatever_was_edited_since(hub, tmp_path):
    factories.push(hub.owner, hub.repository, {"README.md": b"# Edited\n"})
    path = tmp_path / "edited.bundle"
    call_command("export", "lab/first", str(path))
    oid = hub.second.revision.oid
    forget_everything()
    take(path)
    (latest,) = Ref.objects.filter(name="latest")
    assert latest.revision.oid == oid and latest.revision == Version.objects.get(number=2).revision
    assert not list(fsck.check(fsck.look()))


def forward(hub, tmp_path) -> tuple[Path, Path]:
    """Two bundles of lab/first: as it is, and with one more version; the first is imported."""
    before, after = tmp_path / "before.bundle", tmp_path / "after.bundle"
    call_command("export", "lab/first", str(before))
    factories.push(hub.owner, hub.repository, factories.adapter_files(seed=55))
    call_command("export", "lab/first", str(after))
    forget_everything()
    take(before)
    return before, after


def test_a_protected_latest_is_moved_by_no_mere_writer(hub, tmp_path):
    before, after = forward(hub, tmp_path)
    row = Repository.objects.get(name="first")
    for pattern in ("latest", "main"):
        protections.protect(actor=hub.owner, place=row, pattern=pattern)
    call_command("import", str(before), "--as", "member")
    protections.unprotect(actor=hub.owner, place=row, pattern="main")
    there = picture()
    with pytest.raises(CommandError, match="'latest' is protected"):
        call_command("import", str(after), "--as", "member")
    assert picture() == there
    take(after)
    assert Ref.objects.get(name="latest").revision.version.number == 3
    assert RefMove.objects.filter(name="latest").latest("pk").actor == hub.owner


def propose(hub, row: Repository) -> str:
    """The id of a revision that nothing but a pull request leads to."""
    made = factories.push(hub.owner, row, {"notes.md": b"# Proposed\n"}, branch="proposed").revision
    Ref.objects.filter(repository=row, name="proposed").update(kind="pull", name="refs/pr/1")
    return made.oid


def test_what_is_only_proposed_neither_leaves_nor_is_in_the_way(hub, tmp_path, capsys):
    path, row = tmp_path / "first.bundle", hub.repository
    proposed = propose(hub, row)
    call_command("fsck")
    call_command("export", "lab/first", str(path))
    forget_everything()
    take(path)
    assert not Revision.objects.filter(oid=proposed).exists() and not Ref.objects.filter(kind="pull").exists()
    there = Repository.objects.get(name="first")
    propose(hub, there)
    call_command("fsck")
    capsys.readouterr()
    take(path)
    assert "goes forward: 0 revisions" in capsys.readouterr().out


def test_a_branch_and_a_tag_of_one_name_both_arrive(hub, tmp_path):
    asked = {"actor": hub.owner, "repository": hub.repository, "name": "same"}
    refs.set_tag(**asked, revision=hub.repository.revisions.order_by("pk").first())
    refs.create_branch(**asked, revision=hub.repository.revisions.order_by("-pk").first())
    path, before = tmp_path / "same.bundle", [row for row in picture()["refs"] if row[0] == "first"]
    call_command("export", "lab/first", str(path))
    forget_everything()
    take(path)
    assert picture()["refs"] == before
    call_command("fsck")


def test_a_tag_of_here_is_no_branch_of_there(hub, tmp_path):
    factories.push(hub.owner, hub.repository, factories.adapter_files(seed=56), branch="stable")
    path = tmp_path / "stable.bundle"
    call_command("export", "lab/first", str(path))
    forget_everything()
    take(path)
    row, asked = Repository.objects.get(name="first"), {"actor": hub.owner, "name": "stable"}
    Ref.objects.filter(name="stable").delete()
    refs.set_tag(**asked, repository=row, revision=row.revisions.first())
    before = picture()
    with pytest.raises(CommandError, match="its tag stable is a branch in the bundle"):
        take(path)
    assert picture() == before
    refs.delete_tag(**asked, repository=row)
    take(path)
    assert Ref.objects.get(name="stable").kind == "branch"


CONFLICTS = {
    "changed here": lambda hub, row: factories.push(hub.owner, row, {"README.md": b"# Mine\n"}),
    "in the trash": lambda hub, row: repositories.delete_repository(actor=hub.owner, repository=row),
    "another of its name": lambda hub, row: Repository.objects.filter(pk=row.pk).update(oid_key=123456),
}


@pytest.mark.parametrize("what", CONFLICTS)
def test_what_is_in_the_way_is_said_and_the_advice_works(what, hub, bundle):
    row = hub.repository
    CONFLICTS[what](hub, row)
    before = picture()
    with pytest.raises(CommandError, match=r"lab/first can't be brought to the bundle's state") as refused:
        take(bundle)
    assert picture() == before
    if "--into" in str(refused.value):
        take(bundle, "--into", "owner")
        assert Version.objects.filter(repository__namespace__name="owner", repository__name="first").count() == 2
    else:
        repositories.restore_repository(actor=hub.owner, repository=row)
        take(bundle)


def test_a_dry_run_checks_everything_and_writes_nothing(hub, bundle, capsys):
    forget_everything()
    take(bundle, "--dry-run")
    assert "lab/first is new: 3 revisions, checked" in capsys.readouterr().out
    assert not Repository.objects.exists()


def test_private_things_leave_only_when_that_is_said(hub, tmp_path):
    path = tmp_path / "x.bundle"
    with pytest.raises(CommandError, match="Add --private"):
        call_command("export", "lab/merged", str(path))
    assert not path.exists()
    call_command("export", "lab/merged", str(path), "--private")
    assert b"lab/other" not in path.read_bytes(), "a private parent's name stands nowhere"
    assert b"lab/first" in path.read_bytes()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["lab/none"], "no repository"),
        (["lab/thrown"], "no repository"),
        ([], "Name repositories"),
        (["lab"], "no rep"),
    ],
)
def test_what_can_not_be_exported_says_so(names, said, hub, tmp_path):
    with pytest.raises(CommandError, match=said):
        call_command("export", *names, str(tmp_path / "x"))
    empty = factories.make_repository(hub.owner, "empty", namespace=hub.lab)
    with pytest.raises(CommandError, match="is empty"):
        call_command("export", empty.full_name, str(tmp_path / "x"))


def test_only_a_writer_imports(hub, bundle):
    factories.make_user("stranger")
    forget_everything()
    for user, said in (("stranger", "needs the role writer"), ("nobody", "no user")):
        with pytest.raises(CommandError, match=said):
            call_command("import", str(bundle), "--as", user)
    assert not Repository.objects.exists()
