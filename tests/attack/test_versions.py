"""`vN` is one revision in every answer: the one that made it, whatever came after.

The fault: `files/v1` and `pull @v1` took the newest revision with v1's content, so an edit of the card changed what
they delivered, while `versions/v1` went on naming the old one.
"""

import hashlib
from importlib import import_module

import pytest
from django.apps import apps
from django.test import Client

from hub import access
from hub.models import JobInput, Ref, Repository, Revision, Version
from hub.services.content.manifest import manifest_of
from hub.services.refs import set_tag
from tests.hub import factories
from tests.hub.api_client import Api

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
AT = "/repositories/lab/sentiment"
OLD, NEW = "# As it was\n\nOld words.\n", "# As it is\n\nNew words.\n"


def answers(label: str) -> dict[str, object]:
    """What every door says of one version: revision ids and bytes of its card, by where they were read."""
    api, page = Api(), Client()
    files = api.get(f"{AT}/files/{label}").json()
    listed = {row["version"]: row["revision"] for row in api.get(f"{AT}/versions").json()["results"]}
    card = api.get(f"{AT}/files/{label}/README.md")
    raw = page.get(f"/lab/sentiment/raw/{label}/README.md")
    shown = page.get(f"/lab/sentiment/at/{label}")
    head = api("HEAD", f"{AT}/files/{label}/README.md")
    return {
        "files": files["revision"],
        "manifest": {row["path"]: row["sha256"] for row in files["files"]},
        "version of the files": files["version"],
        "one version": api.get(f"{AT}/versions/{label}").json()["revision"],
        "versions": listed[label],
        "card": b"".join(card.streaming_content),
        "etags": (card["ETag"], head["ETag"], raw["ETag"]),
        "raw": b"".join(raw.streaming_content),
        "page": shown.context["page"].revision.oid,
        "page's files": page.get(f"/lab/sentiment/files/{label}").context["page"].revision.oid,
        "words of the page": "Old words" in shown.content.decode(),
    }


def card_is(text: str) -> Revision:
    """Put a card on main of the repository."""
    repository = Repository.objects.select_related("namespace").get(name="sentiment")
    return factories.publish(repository.created_by, repository, {"README.md": text.encode()}).revision


@pytest.fixture
def first(owner, base, repository):
    """v1 with the old card."""
    return factories.publish(owner, repository, factories.adapter_files(card=OLD)).revision


def edited(owner, repository):
    card_is(NEW)


def pushed(owner, repository):
    card_is(NEW)
    factories.publish(owner, repository, factories.adapter_files(seed=1))


def returned(owner, repository):
    pushed(owner, repository)
    factories.publish(owner, repository, factories.adapter_files(card="# Back"))


def branched(owner, repository):
    factories.publish(owner, repository, factories.adapter_files(), branch="trial")
    factories.publish(owner, repository, {"README.md": NEW.encode()}, branch="trial")
    factories.publish(owner, repository, factories.adapter_files(seed=3), branch="trial")


@pytest.mark.parametrize("later", [edited, pushed, returned, branched], ids=lambda one: one.__name__)
def test_every_answer_for_v1_stays_the_same(owner, repository, first, later):
    before = answers("v1")
    assert {before[name] for name in ("files", "one version", "versions", "page", "page's files")} == {first.oid}
    assert before["card"] == before["raw"] == OLD.encode()
    assert before["words of the page"]
    later(owner, repository)
    assert answers("v1") == before


def test_old_bytes_pushed_again_are_a_version_of_their_own(owner, repository, first):
    returned(owner, repository)
    made = {row.label: row.revision for row in Version.objects.all()}
    assert list(made) == ["v1", "v2", "v3"] and len({row.pk for row in made.values()}) == 3
    assert made["v1"] == first
    assert answers("v3")["files"] == made["v3"].oid


def test_every_version_has_a_revision_when_branches_push_the_same(owner, repository, first):
    """The same files with the same message on the same parent are one revision, and so one version."""
    factories.publish(owner, repository, factories.adapter_files(), branch="one")
    factories.publish(owner, repository, factories.adapter_files(), branch="two")
    new = factories.adapter_files(seed=5)
    made = factories.publish(owner, repository, new, branch="one", message="m")
    factories.publish(owner, repository, factories.adapter_files(seed=6))
    again = factories.publish(owner, repository, new, branch="two", message="m")
    assert (again.revision, again.version) == (made.revision, made.version)
    assert access.resolve(repository, "latest").version.number == 3
    other = factories.make_base("pico/other")
    based = factories.publish(owner, repository, new, branch="main", base=other, message="m")
    assert based.version.number == 4
    for version in Version.objects.all():
        assert access.resolve(repository, version.label).version == version


def test_the_same_files_for_another_base_have_a_revision_of_their_own(owner, repository, first):
    for branch in ("one", "two"):
        factories.publish(owner, repository, factories.adapter_files(), branch=branch)
    new, other = factories.adapter_files(seed=5), factories.make_base("pico/other")
    one = factories.publish(owner, repository, new, branch="one", message="m")
    two = factories.publish(owner, repository, new, branch="two", message="m", base=other)
    assert [one.version.number, two.version.number] == [2, 3]
    assert access.resolve(repository, "v2") == one.revision != two.revision == access.resolve(repository, "v3")


def test_latest_and_no_ref_are_the_newest_versions_own_revision_and_main_has_the_card(owner, repository, first):
    newer = card_is(NEW)
    api = Api()
    for ref, revision in (("latest", first), ("v1", first), ("main", newer), (newer.oid, newer)):
        assert api.get(f"{AT}/files/{ref}").json()["revision"] == revision.oid, ref
    assert access.resolve(repository) == access.resolve(repository, "latest") == first
    assert api.put(f"{AT}/tags/x", {"ref": "latest"}).status_code in (401, 403)
    page = Client().get("/lab/sentiment")
    assert page.context["page"].revision == first
    assert "New words" in page.content.decode() and "newest card is here" not in page.content.decode()
    old = Client().get("/lab/sentiment/at/v1").content.decode()
    assert "Old words" in old and "newest card is here" in old
    assert "main has changed since" in Client().get("/lab/sentiment/files/latest").content.decode()


def test_a_tag_stays_where_it_was_set(owner, repository, first):
    set_tag(actor=owner, repository=repository, name="best", revision=access.resolve(repository, "v1"))
    card_is(NEW)
    assert Api().get(f"{AT}/files/best").json()["revision"] == first.oid


def test_a_worker_reads_the_files_of_the_version(owner, base, repository, first, worker):
    version = first.version
    before = manifest_of(first)
    card_is(NEW)
    row = JobInput(version=version, digest=version.content_digest)
    folder = worker.input_folder(row)
    for path in folder.iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == before[path.name].sha256


def test_the_migration_settles_latest(owner, repository, first):
    moved = card_is(NEW)
    Ref.objects.filter(repository=repository, name="latest").update(revision=moved)
    import_module("hub.migrations.0008_quotas").settle_latest(apps, None)
    assert Ref.objects.get(repository=repository, name="latest").revision == first
