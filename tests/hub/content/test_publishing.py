"""Publishing: what becomes a version, what moves, who may see the result, and what may never be overwritten."""

import json

import pytest

from composition.errors import CompositionError
from hub import access
from hub.errors import Conflict, Invalid
from hub.models import Blob, Event, Parentage, Ref, Repository, Revision, Version, Visibility
from hub.services import refs
from hub.services.content.manifest import manifest_of
from tests.hub import factories
from tests.hub.factories import adapter_files, dataset_files, publish

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store", "base")]
CARD = {"README.md": b"# Sentiment\n"}


def ref(repository, name):
    return Ref.objects.get(repository=repository, name=name).revision


def fresh(repository) -> Repository:
    return Repository.objects.get(pk=repository.pk)


class TestVersions:
    def test_valid_weights_are_v1_with_their_facts_and_base(self, owner, repository, base):
        result = publish(owner, repository, adapter_files(rank=4), message="First")
        assert (result.version.label, result.version.base, result.created) == ("v1", base, True)
        assert result.version.facts["ranks"] == [4, 4]
        assert (result.revision.message, result.revision.author, result.revision.parent) == ("First", owner, None)
        assert ref(repository, "main") == ref(repository, "latest") == result.revision

    def test_the_same_files_again_are_nothing_new(self, owner, repository):
        first = publish(owner, repository, adapter_files(), message="First")
        again = publish(owner, repository, adapter_files(), message="Again")
        assert (again.revision, again.version, again.created) == (first.revision, first.version, False)
        assert Revision.objects.count() == Version.objects.count() == 1

    def test_a_new_card_is_a_new_revision_of_the_same_version(self, owner, repository):
        first = publish(owner, repository, adapter_files())
        second = publish(owner, repository, CARD)
        assert second.created
        assert second.revision != first.revision
        assert second.revision.parent == first.revision
        assert second.version == first.version
        assert (ref(repository, "main"), ref(repository, "latest")) == (second.revision, first.revision)
        assert set(manifest_of(second.revision)) == {"README.md", *adapter_files()}

    def test_a_new_indentation_of_the_config_is_no_new_version(self, owner, repository):
        files = adapter_files()
        publish(owner, repository, files)
        compact = json.dumps(json.loads(files["adapter_config.json"]), separators=(",", ":")).encode()
        result = publish(owner, repository, {"adapter_config.json": compact})
        assert (result.created, result.version.number) == (True, 1)

    @pytest.mark.parametrize("change", [{"seed": 1}, {"config": {"lora_alpha": 99}}], ids=["weights", "alpha"])
    def test_new_weights_or_config_values_are_the_next_version(self, owner, repository, change):
        publish(owner, repository, adapter_files())
        assert publish(owner, repository, adapter_files(**change)).version.number == 2

    def test_going_back_to_older_weights_is_a_new_version_too(self, owner, repository):
        numbers = [publish(owner, repository, adapter_files(seed=seed)).version.number for seed in (0, 1, 0)]
        assert numbers == [1, 2, 3]

    def test_a_card_first_makes_no_version_and_weights_then_make_v1(self, owner, repository):
        first = publish(owner, repository, CARD)
        assert first.version is None
        assert not Ref.objects.filter(name="latest").exists()
        assert publish(owner, repository, adapter_files()).version.number == 1

    def test_half_an_adapter_is_refused(self, owner, repository):
        for path, data in adapter_files().items():
            with pytest.raises(CompositionError):
                publish(owner, repository, {path: data})
        assert not Revision.objects.exists()

    def test_deleting_the_weights_leaves_a_revision_without_version(self, owner, repository):
        publish(owner, repository, {**adapter_files(), **CARD})
        result = publish(owner, repository, {}, deletions=list(adapter_files()))
        assert result.version is None
        assert set(manifest_of(result.revision)) == {"README.md"}
        assert ref(repository, "latest").version.number == 1

    def test_deleting_everything_is_refused(self, owner, repository):
        publish(owner, repository, CARD)
        with pytest.raises(Invalid, match="leave the branch without files"):
            publish(owner, repository, {}, deletions=["README.md"])

    def test_replacing_keeps_nothing_of_what_was(self, owner, repository):
        publish(owner, repository, {**adapter_files(), "notes.md": b"old"})
        result = publish(owner, repository, adapter_files(seed=1), replace=True)
        assert set(manifest_of(result.revision)) == set(adapter_files())

    def test_rows_make_a_datasets_versions(self, owner, dataset):
        first = publish(owner, dataset, dataset_files(4))
        assert (first.version.label, first.version.base, first.version.facts["splits"]) == ("v1", None, {"test": 4})
        assert publish(owner, dataset, CARD).version == first.version
        assert publish(owner, dataset, dataset_files(5)).version.number == 2

    def test_an_extra_file_beside_unchanged_rows_is_checked_all_the_same(self, owner, dataset):
        publish(owner, dataset, dataset_files())
        with pytest.raises(CompositionError, match=r"rows\.csv"):
            publish(owner, dataset, {"rows.csv": b"prompt,completion\n"})

    def test_what_is_no_generator_is_not_stored_as_one(self, people):
        generator = factories.make_repository(people.owner, "gen", kind="generator")
        assert publish(people.owner, generator, CARD).version is None
        with pytest.raises(CompositionError, match=r"generator_config\.json and generator"):
            publish(people.owner, generator, {"model.safetensors": adapter_files(seed=0)["adapter_model.safetensors"]})

    def test_a_version_never_changes(self, owner, repository):
        first = publish(owner, repository, adapter_files(seed=0))
        before = Version.objects.filter(pk=first.version.pk).values().get()
        publish(owner, repository, adapter_files(seed=1))
        publish(owner, repository, CARD)
        assert Version.objects.filter(pk=first.version.pk).values().get() == before
        assert manifest_of(access.resolve(repository, "v1")) == manifest_of(first.revision)


class TestBranches:
    def test_a_branch_begins_at_main_and_main_stays(self, owner, repository):
        main = publish(owner, repository, {**adapter_files(), **CARD}).revision
        branch = publish(owner, repository, adapter_files(seed=1), branch="trial")
        assert branch.revision.parent == main
        assert branch.version.number == 2
        assert (ref(repository, "main"), ref(repository, "trial")) == (main, branch.revision)
        assert ref(repository, "latest") == branch.revision
        assert "README.md" in manifest_of(branch.revision)

    def test_a_card_on_an_older_branch_is_that_branchs_version(self, owner, repository):
        publish(owner, repository, adapter_files(seed=0), branch="old")
        newest = publish(owner, repository, adapter_files(seed=1), branch="main")
        result = publish(owner, repository, CARD, branch="old")
        assert result.version.number == 1
        assert ref(repository, "latest") == newest.revision

    def test_a_branch_may_be_begun_by_pushing_what_main_has(self, owner, repository):
        main = publish(owner, repository, adapter_files()).revision
        assert publish(owner, repository, adapter_files(), branch="trial").created is False
        assert ref(repository, "trial") == main

    @pytest.mark.parametrize("name", ["v1", "v12", "latest", "0" * 40, "a..b", "", "-x", "a b", "x" * 201])
    def test_names_the_hub_gives_itself_can_not_be_branches(self, owner, repository, name):
        with pytest.raises(Invalid):
            publish(owner, repository, CARD, branch=name)

    def test_a_tag_is_no_branch(self, owner, repository):
        revision = publish(owner, repository, CARD).revision
        refs.set_tag(actor=owner, repository=repository, name="stable", revision=revision)
        with pytest.raises(Conflict, match="'stable' is a tag"):
            publish(owner, repository, {"notes.md": b"x"}, branch="stable")


class TestConflicts:
    """A push made for a head that others have moved since: by files, and by content as one."""

    @pytest.fixture
    def begun(self, owner, repository):
        return publish(owner, repository, {**adapter_files(), **CARD, "notes.md": b"notes"}).revision

    def test_other_files_are_rebased(self, owner, repository, begun):
        theirs = publish(owner, repository, {"README.md": b"# Theirs\n"})
        mine = publish(owner, repository, {"notes.md": b"mine"}, since=begun)
        assert mine.revision.parent == theirs.revision
        files = manifest_of(mine.revision)
        assert files["README.md"] == manifest_of(theirs.revision)["README.md"]

    def test_a_card_and_new_weights_do_not_stand_in_each_others_way(self, owner, repository, begun):
        publish(owner, repository, adapter_files(seed=1))
        result = publish(owner, repository, {"README.md": b"# Mine\n"}, since=begun)
        assert result.version.number == 2

    @pytest.mark.parametrize("change", [{"files": {"README.md": b"mine"}}, {"files": {}, "deletions": ["README.md"]}])
    def test_the_same_file_is_a_conflict(self, owner, repository, begun, change):
        publish(owner, repository, {"README.md": b"theirs"})
        with pytest.raises(Conflict) as refusal:
            publish(owner, repository, change["files"], deletions=change.get("deletions", ()), since=begun)
        assert refusal.value.code == "branch.moved"
        assert refusal.value.facts["paths"] == ["README.md"]

    def test_one_persons_alpha_never_meets_anothers_matrices(self, owner, repository, begun):
        new = adapter_files(seed=1)
        publish(owner, repository, {"adapter_model.safetensors": new["adapter_model.safetensors"]})
        alpha = adapter_files(config={"lora_alpha": 99})["adapter_config.json"]
        with pytest.raises(Conflict) as refusal:
            publish(owner, repository, {"adapter_config.json": alpha}, since=begun)
        assert refusal.value.facts["paths"] == ["adapter_model.safetensors"]

    def test_the_same_change_twice_is_no_conflict(self, owner, repository, begun):
        theirs = publish(owner, repository, adapter_files(seed=1))
        mine = publish(owner, repository, adapter_files(seed=1), since=begun)
        assert (mine.revision, mine.created) == (theirs.revision, False)

    def test_replacing_drops_nothing_that_others_added(self, owner, repository, begun):
        publish(owner, repository, {"more.md": b"more"})
        with pytest.raises(Conflict):
            publish(owner, repository, adapter_files(), replace=True, since=begun)

    def test_two_first_pushes_conflict_too(self, owner, repository):
        publish(owner, repository, CARD)
        with pytest.raises(Conflict):
            publish(owner, repository, {"README.md": b"other"}, since=None)

    def test_a_push_that_began_before_another_is_told_so_at_its_commit(self, people, repository):
        files = [{"README.md": text} for text in (b"one", b"two")]
        begun = [factories.begin(people.owner, repository, part) for part in files]
        for upload, part in zip(begun, files, strict=True):
            factories.send(upload, part)
        factories.uploads.commit_upload(actor=people.owner, upload=begun[0])
        with pytest.raises(Conflict, match=r"Someone else changed README\.md"):
            factories.uploads.commit_upload(actor=people.owner, upload=begun[1])


class TestResults:
    """What a job publishes: where it came from, and who may see it."""

    def test_recipe_report_environment_and_parents_are_kept_in_the_order_given(self, owner, repository):
        parents = [factories.make_version(owner, name, seed=seed) for seed, name in enumerate("zab")]
        made = {"recipe": {"kind": "lego", "rank": 4}, "report": {"modules": {}}, "environment": {"torch": "2"}}
        version = publish(owner, repository, adapter_files(seed=9), origin="merged", parents=parents, **made).version
        version.refresh_from_db()
        assert {key: getattr(version, key) for key in made} == made
        assert version.origin == "merged"
        assert [row.parent for row in version.parentage.all()] == parents
        assert fresh(repository).origin == "merged"

    def test_one_adapter_may_be_two_inputs(self, owner, repository):
        parent = factories.make_version(owner, "a")
        publish(owner, repository, adapter_files(seed=9), parents=[parent, parent])
        assert Parentage.objects.filter(parent=parent).count() == 2

    @pytest.mark.parametrize("private", [0, 1])
    def test_one_private_parent_makes_the_result_private(self, owner, repository, private):
        seen = ["private" if place == private else "public" for place in range(2)]
        parents = [factories.make_version(owner, name, visibility=v) for name, v in zip("ab", seen, strict=True)]
        publish(owner, repository, adapter_files(seed=9), parents=parents)
        assert fresh(repository).visibility == Visibility.PRIVATE

    def test_public_parents_change_nothing(self, people, repository):
        parents = [factories.make_version(people.owner, "a")]
        publish(people.owner, repository, adapter_files(seed=9), parents=parents)
        assert fresh(repository).visibility == Visibility.PUBLIC
        hidden = factories.make_repository(people.owner, "hidden", visibility="private")
        publish(people.owner, hidden, adapter_files(seed=9), parents=parents)
        assert fresh(hidden).visibility == Visibility.PRIVATE

    def test_every_publication_is_on_the_record(self, owner, repository):
        result = publish(owner, repository, adapter_files())
        event = Event.objects.filter(verb="publish").get()
        assert (event.actor, event.object) == (owner, "lab/sentiment")
        assert event.detail == {"revision": result.revision.oid, "branch": "main", "version": "v1"}


class TestFacets:
    def test_the_row_repeats_the_newest_version_and_the_card(self, owner, repository, base):
        card = "---\nlicense: Apache-2.0\ntags: [mood, English]\ndescription: Reads moods.\n---\n# Sentiment\n"
        files = adapter_files(
            config={"rank_pattern": {"q_proj": 6}}, tensors=factories.adapter_tensors(ranks={"q_proj": 6})
        )
        publish(owner, repository, {**files, "README.md": card.encode()})
        row = fresh(repository)
        assert (row.base, row.peft_type, row.rank, row.license) == (base, "LORA", 6, "apache-2.0")
        assert row.description == "Reads moods."
        assert sorted(row.tags.values_list("name", flat=True)) == ["English", "mood"]
        assert row.size == sum(map(len, files.values())) + len(card)

    def test_a_description_nobody_wrote_follows_the_card(self, owner, repository):
        publish(owner, repository, {"README.md": b"# T\n\nTwo of them.\n"})
        publish(owner, repository, {"README.md": b"# T\n\nThree of them.\n"})
        assert fresh(repository).description == "Three of them."
        Repository.objects.filter(pk=repository.pk).update(description="Mine.")
        publish(owner, repository, {"README.md": b"# T\n\nFour of them.\n"})
        assert fresh(repository).description == "Mine."

    def test_tags_follow_the_card(self, owner, repository):
        publish(owner, repository, {"README.md": b"---\ntags: [a, b]\nlicense: mit\n---\n"})
        publish(owner, repository, {"README.md": b"---\ntags: [b, c]\n---\n"})
        assert sorted(fresh(repository).tags.values_list("name", flat=True)) == ["b", "c"]
        assert fresh(repository).license == ""

    def test_a_side_branchs_card_does_not_speak_for_the_repository(self, owner, repository):
        publish(owner, repository, {"README.md": b"---\nlicense: mit\n---\n"})
        publish(owner, repository, {"README.md": b"---\nlicense: apache-2.0\n---\n"}, branch="trial")
        assert fresh(repository).license == "mit"

    def test_a_broken_card_is_refused_with_everything(self, owner, repository):
        with pytest.raises(Invalid, match="front matter"):
            publish(owner, repository, {**adapter_files(), "README.md": b"---\na: [\n---\n"})
        assert not Version.objects.exists()


def test_a_repository_in_the_trash_takes_no_result(owner, repository):
    factories.repositories.delete_repository(actor=owner, repository=repository)
    with pytest.raises(Conflict) as refusal:
        publish(owner, repository, adapter_files())
    assert refusal.value.code == "repository.deleted"
    assert not Blob.objects.exists()


def test_bytes_that_are_not_in_the_store_are_never_published(owner, repository):
    files = factories.store(CARD)
    factories.blobs.delete(files["README.md"][0])
    with pytest.raises((Conflict, FileNotFoundError)):
        factories.publishing.publish(actor=owner, repository=repository, files=files)
    assert not Revision.objects.exists()
    assert not Blob.objects.exists()


def test_a_message_is_one_printable_line(owner, repository):
    assert publish(owner, repository, CARD, message="a\x00b\n c" + "x" * 600).revision.message.startswith("a b c")
    said = publish(owner, repository, {"README.md": b"new", "notes.md": b"n"}).revision.message
    assert said == "Change README.md, notes.md"
