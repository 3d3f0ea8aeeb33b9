"""Damage of every kind, done to a real hub: it is found, what is safe is mended, and the hub is clean again."""

import io
import json
import os
import shutil
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from hub.models import (
    Blob,
    Companion,
    Evaluation,
    Job,
    JobFile,
    JobInput,
    ManifestEntry,
    Membership,
    Namespace,
    Outbox,
    Parentage,
    Ref,
    Repository,
    RepositoryTag,
    Revision,
    Version,
)
from hub.services import repositories
from hub.services.content import staging
from hub.services.jobs import lease
from hub.services.upkeep import fsck
from hub.services.upkeep.checks import stored
from hub.services.upkeep.purge import cut_loose, purge_repository
from hub.storage import blobs
from tests.hub import factories
from tests.hub.upkeep.a_hub import bytes_of

pytestmark = pytest.mark.django_db
CARD = b"---\nlicense: mit\ntags: [news]\n---\n# An adapter\n"


def weights(version: Version) -> str:
    entries = ManifestEntry.objects.filter(revision__version=version, path__endswith=".safetensors")
    return entries.first().blob_id


def change(path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def old(path) -> None:
    os.utime(path, (1, 1))


def bytes_gone(hub):
    bytes_of(hub.store, weights(hub.first)).unlink()


def bytes_damaged(hub):
    path = bytes_of(hub.store, weights(hub.first))
    data = path.read_bytes()
    change(path, data[:-1] + bytes([data[-1] ^ 1]))


def bytes_cut(hub):
    path = bytes_of(hub.store, weights(hub.first))
    change(path, path.read_bytes()[:-9])


def row_of_other_size(hub):
    Blob.objects.filter(pk=weights(hub.first)).update(size=7)


def orphan_row(hub):
    sha256, size = blobs.put(io.BytesIO(b"orphan"))
    Blob.objects.create(sha256=sha256, size=size)
    old(bytes_of(hub.store, sha256))


def orphan_row_without_bytes(hub):
    Blob.objects.create(sha256="0" * 64, size=3)


def orphan_bytes(hub):
    old(bytes_of(hub.store, blobs.put(io.BytesIO(b"orphan"))[0]))


def left_in_incoming(hub):
    path = hub.store / "blobs/incoming/left.part"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"half")
    old(path)


def stray_upload(hub):
    folder = staging.folder(hub.upload).with_name("00000000-stray")
    folder.mkdir(parents=True)
    old(folder)


def entry_gone(hub):
    ManifestEntry.objects.filter(revision__version=hub.first, path="README.md").delete()


def manifest_gone(hub):
    ManifestEntry.objects.filter(revision__version=hub.generator).delete()


def entry_swapped(hub):
    ManifestEntry.objects.filter(revision__version=hub.first, path="README.md").update(blob=weights(hub.second))


def path_out_of_the_folder(hub):
    ManifestEntry.objects.filter(revision__version=hub.first, path="README.md").update(path="../README.md")


def parent_of_another(hub):
    parent = hub.other.revisions.first()
    Revision.objects.filter(version=hub.second).update(parent=parent)


def circle_of_parents(hub):
    last = Revision.objects.filter(repository=hub.repository).order_by("-pk").first()
    Revision.objects.filter(pk=hub.first.revisions.first().pk).update(parent=last)


def version_of_another(hub):
    Revision.objects.filter(version=hub.second).update(version=hub.other)


def ref(hub, name):
    return Ref.objects.filter(repository=hub.repository, name=name)


def main_into_another(hub):
    ref(hub, "main").update(revision=hub.other.revisions.first())


def latest_into_another(hub):
    ref(hub, "latest").update(revision=hub.other.revisions.first())


def tag_into_another(hub):
    ref(hub, "best").update(revision=hub.other.revisions.first())


def latest_behind(hub):
    ref(hub, "latest").update(revision=hub.first.revisions.first())


def latest_with_its_card(hub):
    """Where an edit of the card, which makes no version, went."""
    edited = factories.push(hub.owner, hub.repository, {"README.md": CARD + b"Edited.\n"}).revision
    ref(hub, "latest").update(revision=edited)


def latest_gone(hub):
    ref(hub, "latest").delete()


def latest_a_branch(hub):
    ref(hub, "latest").update(kind="branch")


def no_branch(hub):
    Ref.objects.filter(repository=hub.repository, kind="branch").delete()


def ref_like_a_version(hub):
    ref(hub, "best").update(name="v7")


def version_missing(hub):
    Version.objects.filter(pk=hub.second.pk).update(number=3)


def version_without_files(hub):
    Revision.objects.filter(version=hub.dataset).update(version=None)


def facts_changed(hub):
    Version.objects.filter(pk=hub.first.pk).update(facts={**hub.first.facts, "ranks": [1]})


def digest_changed(hub):
    Version.objects.filter(pk=hub.generator.pk).update(content_digest="0" * 64)


def version_of_its_neighbour(hub):
    Revision.objects.filter(version=hub.first).update(version=hub.second)


def base_of_another_shape(hub):
    base = factories.make_base("other/base", ready=False)
    base.shapes = {"model.layers.0.self_attn.q_proj": [3, 3]}
    base.save()
    Version.objects.filter(pk=hub.other.pk).update(base=base)
    Repository.objects.filter(pk=hub.other.repository_id).update(base=base)


def parent_made_later(hub):
    Parentage.objects.create(child=hub.first, parent=hub.second)


def facets_changed(hub):
    Repository.objects.filter(pk=hub.repository.pk).update(rank=99, size=1)


def tags_lost(hub):
    RepositoryTag.objects.all().delete()


def renamed_by_a_release_without_the_search(hub):
    Repository.objects.filter(pk=hub.repository.pk).update(name="elsewhere")


def hidden_by_a_release_without_the_search(hub):
    Repository.objects.filter(pk=hub.repository.pk).update(visibility="private")


def licence_changed(hub):
    Repository.objects.filter(pk=hub.repository.pk).update(license="gpl-3.0")


def job(hub, **values):
    Job.objects.filter(pk=hub.job.pk).update(**values)


def unknown_state(hub):
    job(hub, state="bogus")


def running_without_lease(hub):
    job(hub, state="running", attempt=1, worker="w", lease_until=None)


def put_off_for_ever(hub):
    job(hub, lease_until=timezone.now() + timedelta(days=1))


def done_with_lease(hub):
    Job.objects.filter(pk=hub.done.pk).update(lease_until=timezone.now())


def failed_without_end(hub):
    job(hub, state="failed")


def done_by_nobody(hub):
    Job.objects.filter(pk=hub.done.pk).update(attempt=0)


def result_elsewhere(hub):
    Job.objects.filter(pk=hub.done.pk).update(output=hub.repository)


def input_changed(hub):
    JobInput.objects.filter(job=hub.job, position=0).update(digest="0" * 64)


def file_held(hub):
    blob = Blob.objects.first()
    JobFile.objects.create(job=hub.done, role="seeds", name="s", blob=blob, digest=blob.pk)


def file_swapped(hub):
    JobFile.objects.create(job=hub.job, role="seeds", name="s", blob=Blob.objects.first(), digest="0" * 64)


def evaluated_on_other_rows(hub):
    Evaluation.objects.update(dataset_digest="0" * 64)


def companion_facts(hub):
    Companion.objects.update(facts={"rows": 17})


def companion_shown_to_nobody_known(hub):
    Companion.objects.update(visibility="odd")


def companion_of_other_bytes(hub):
    Companion.objects.update(kind="discriminator", facts={"sha256": {"s.jsonl": "0" * 64}})


def companion_not_rows(hub):
    Companion.objects.update(blob=weights(hub.first))


def row_never_sent(hub):
    later = timezone.now() + timedelta(days=400)
    Outbox.objects.create(topic="toy", next_at=later)


def owner_no_admin(hub):
    Membership.objects.filter(namespace=hub.owner.namespace).update(role="reader")


def organisation_without_admin(hub):
    Membership.objects.filter(namespace=hub.lab, role="admin").delete()


def user_without_namespace(hub):
    Namespace.objects.filter(owner=hub.member).update(owner=None)


# damage → (the codes that are found, whether a repair makes the hub clean again)
DAMAGES = {
    bytes_gone: ({"blob.missing"}, False),
    bytes_damaged: ({"blob.damaged"}, False),
    bytes_cut: ({"blob.damaged"}, False),
    row_of_other_size: ({"blob.size", "revision.oid", "usage.count"}, True),
    orphan_row: ({"blob.unreferenced"}, True),
    orphan_row_without_bytes: ({"blob.missing"}, True),
    orphan_bytes: ({"blob.no_row"}, True),
    left_in_incoming: ({"staged.temporary"}, True),
    stray_upload: ({"staged.stray"}, True),
    entry_gone: ({"revision.oid"}, False),
    manifest_gone: ({"revision.empty", "revision.oid", "usage.count"}, False),
    entry_swapped: ({"revision.oid"}, False),
    path_out_of_the_folder: ({"revision.oid", "revision.path"}, False),
    parent_of_another: ({"revision.oid", "revision.parent", "revision.order"}, False),
    circle_of_parents: ({"revision.oid", "revision.order"}, False),
    version_of_another: ({"revision.version", "version.no_revision", "ref.latest"}, False),
    main_into_another: ({"ref.foreign"}, True),
    latest_into_another: ({"ref.foreign"}, True),
    tag_into_another: ({"ref.foreign"}, True),
    latest_behind: ({"ref.latest"}, True),
    latest_with_its_card: ({"ref.latest"}, True),
    latest_gone: ({"ref.latest"}, True),
    latest_a_branch: ({"ref.kind"}, True),
    no_branch: ({"ref.lost"}, True),
    ref_like_a_version: ({"ref.name"}, False),
    version_missing: ({"version.gap"}, False),
    version_without_files: ({"version.no_revision", "ref.latest"}, False),
    facts_changed: ({"version.facts"}, True),
    digest_changed: ({"version.content_digest"}, True),
    version_of_its_neighbour: ({"version.no_revision", "version.files", "ref.latest"}, False),
    base_of_another_shape: ({"version.invalid", "repository.entry"}, False),
    parent_made_later: ({"lineage.order"}, False),
    facets_changed: ({"repository.facets"}, True),
    tags_lost: ({"repository.card"}, True),
    licence_changed: ({"repository.card"}, True),
    renamed_by_a_release_without_the_search: ({"repository.entry"}, True),
    hidden_by_a_release_without_the_search: ({"repository.entry"}, True),
    unknown_state: ({"job.state"}, True),
    running_without_lease: ({"job.lease"}, True),
    put_off_for_ever: ({"job.lease"}, True),
    done_with_lease: ({"job.lease"}, True),
    failed_without_end: ({"job.end"}, True),
    done_by_nobody: ({"job.attempt"}, False),
    result_elsewhere: ({"job.result"}, False),
    input_changed: ({"job.input"}, False),
    file_held: ({"job.file"}, True),
    file_swapped: ({"job.file"}, False),
    evaluated_on_other_rows: ({"evaluation.dataset"}, False),
    companion_facts: ({"companion.facts"}, True),
    companion_shown_to_nobody_known: ({"companion.visibility"}, True),
    companion_of_other_bytes: ({"companion.digest"}, False),
    companion_not_rows: ({"companion.invalid", "usage.count"}, False),
    row_never_sent: ({"outbox.delay", "outbox.topic"}, False),
    owner_no_admin: ({"namespace.admin"}, True),
    organisation_without_admin: ({"namespace.admin"}, False),
    user_without_namespace: ({"user.namespace"}, False),
}


def codes(**how) -> set[str]:
    return {finding.code for finding in fsck.check(fsck.look(**how))}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_found_and_what_is_safe_is_mended(damage, hub, capsys):
    expected, mended = DAMAGES[damage]
    damage(hub)
    try:
        call_command("fsck", "--repair", "--yes")
        left = 0
    except CommandError as refused:
        left = refused.returncode
    before, _, after = capsys.readouterr().out.partition("After the repair:")
    assert {
        line.split()[0] for line in before.splitlines() if line[:1].isalpha() and "." in line.split()[0]
    } == expected
    assert left == (0 if mended else 1), "nothing is invented, and what can be read again is"
    assert ("No findings" in after) is mended


def test_looking_changes_nothing_and_findings_are_the_exit_code(hub):
    facts_changed(hub)
    assert codes() == codes() == {"version.facts"}
    with pytest.raises(CommandError, match="1 findings") as refused:
        call_command("fsck")
    assert refused.value.returncode == 1 and codes()


def test_a_whole_hub_is_clean(hub, capsys):
    call_command("fsck")
    call_command("fsck", "--quick", "--json")
    said = capsys.readouterr().out.strip().splitlines()
    assert said[0].startswith("No findings. Checked ")
    answer = json.loads(said[-1])
    assert (answer["count"], answer["findings"]) == (0, []) and answer["checked"][
        "revisions"
    ] == Revision.objects.count()


def test_tombstones_are_no_damage_wherever_they_are(hub):
    repositories.delete_repository(actor=hub.owner, repository=hub.repository)
    purge_repository(actor=hub.owner, repository=hub.repository)
    assert codes() == set() and Version.objects.filter(repository=hub.repository).exists()
    cut_loose(hub.lab)
    assert codes() == set()


def test_a_job_that_was_put_off_is_no_damage_and_waits_on(hub):
    lease.claim(hub.job.pk, worker="w")
    for times in (1, 99):
        Job.objects.filter(pk=hub.job.pk).update(state="running", worker="w", error={"times": times - 1})
        lease.put_off(job_id=hub.job.pk, attempt=1, fault="The store is away")
        assert codes() == set()


def test_latest_is_the_newest_version_after_a_repair(hub):
    """In every answer `@latest` and `@vN` are one revision, whatever was edited on main since."""
    factories.push(hub.owner, hub.repository, {"README.md": CARD + b"Edited.\n"})
    for damage in (latest_gone, latest_behind, latest_into_another):
        damage(hub)
        call_command("fsck", "--repair", "--yes")
        assert ref(hub, "latest").get().revision == hub.second.revision, damage
    right = hub.second.revision
    version_of_its_neighbour(hub)
    with pytest.raises(CommandError):
        call_command("fsck", "--repair", "--yes")
    assert ref(hub, "latest").get().revision == right, "nothing is read from damage"


@pytest.mark.parametrize("damage", [bytes_gone, bytes_damaged, bytes_cut])
def test_lost_bytes_come_back_from_a_backup_and_from_nowhere_else(damage, hub, tmp_path, capsys):
    kept = tmp_path / "backup"
    shutil.copytree(hub.store / "blobs", kept / "blobs")
    damage(hub)
    good = kept / "blobs" / blobs.name(weights(hub.first))
    whole = good.read_bytes()
    change(good, b"not these")
    with pytest.raises(CommandError, match="findings"):
        call_command("fsck", "--repair", "--yes", "--blobs-from", str(kept))
    change(good, whole)
    call_command("fsck", "--repair", "--yes", "--blobs-from", str(kept))
    assert "No findings" in capsys.readouterr().out


def test_a_quick_look_reads_no_bytes_and_sees_a_wrong_size(hub, monkeypatch):
    bytes_cut(hub)
    assert codes(quick=True) == {"blob.damaged"}
    monkeypatch.setattr(stored, "_digest", lambda sha256: pytest.fail(f"read {sha256}"))
    bytes_gone(hub)
    assert codes(quick=True) == {"blob.missing"}


def test_the_plan_is_shown_and_nothing_is_done_without_a_yes(hub, capsys, monkeypatch):
    latest_gone(hub)
    for answer, left in (("n", True), ("", True), ("y", False)):
        monkeypatch.setattr("builtins.input", lambda question, answer=answer: answer)
        if left:
            with pytest.raises(CommandError):
                call_command("fsck", "--repair")
        else:
            call_command("fsck", "--repair")
        assert "The plan:\n  lab/first latest (ref.latest): point it where" in capsys.readouterr().out
        assert ref(hub, "latest").exists() is not left


def test_it_says_when_it_can_not_run(hub, capsys):
    for options in (["--json", "--repair"], ["--blobs-from", "/nowhere"]):
        with pytest.raises(CommandError) as refused:
            call_command("fsck", *options)
        assert refused.value.returncode == 2
    (hub.store / "blobs").rename(hub.store / "unmounted")
    with pytest.raises(CommandError, match="is its disk mounted") as refused:
        call_command("fsck")
    assert refused.value.returncode == 2


def test_rows_that_point_nowhere_are_found(hub):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL refuses such rows")
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA defer_foreign_keys=ON")
        cursor.execute("UPDATE hub_repositorytag SET repository_id = 123456")
    assert "database.key" in codes()
    RepositoryTag.objects.all().delete()


def test_memory_is_bounded_by_batches(hub, monkeypatch, django_assert_max_num_queries):
    """A batch of one finds the same as a batch of many: nothing is lost at the edges."""
    monkeypatch.setattr("hub.services.upkeep.batches.rows.__defaults__", (1,))
    monkeypatch.setattr("hub.services.upkeep.batches.pks.__defaults__", (1,))
    assert codes() == set()
    latest_gone(hub)
    assert codes() == {"ref.latest"}
