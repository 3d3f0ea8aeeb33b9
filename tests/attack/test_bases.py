"""A base belongs to who registered it, until they give it away: nobody else repoints, renames or deletes it.

The faults: registering the same name again let any account change where workers load another's base from; a name, once
taken, was taken for ever; anybody could take the names of the official models; a folder of weights could be named by
anybody as their base's; a name could be hijacked by another spelling, as an alias, or by its unregistered `main`.
"""

import pytest
from django.conf import settings as django_settings

from composition.errors import CompositionError
from hub.errors import Conflict, HubError, Invalid, NotFound, PermissionDenied
from hub.models import BaseAlias, BaseModel, Event, Job, State, User
from hub.services import base_owners, bases
from hub.services.known_bases import match_base
from tests.hub import asking, factories
from tests.hub.api_client import Api, problem
from workers import bases as weights

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
FOLDER = {"kind": "folder", "path": "org/pico"}
ANOTHERS = {"kind": "folder", "path": "other/weights"}


@pytest.fixture
def registered(people):
    own = {"source": {"kind": "hf"}, "aliases": ["/models/pico"]}
    base, _ = bases.register_base(actor=people.owner, name="org/pico", config=factories.PICO_CONFIG, **own)
    return base


@pytest.fixture
def admin(people):
    return User.objects.create(username="admin", is_staff=True)


def again(user, **changes):
    return bases.register_base(actor=user, **{"name": "org/pico", "config": factories.PICO_CONFIG, **changes})


@pytest.mark.parametrize("changes", [{"source": FOLDER}, {"aliases": ["unsloth/pico"]}])
def test_another_changes_nothing_by_registering_it_again(people, registered, changes):
    with pytest.raises(PermissionDenied) as refusal:
        again(people.stranger, **changes)
    assert refusal.value.code == "base.owner" and "owner" in refusal.value.message
    kept = BaseModel.objects.get(pk=registered.pk)
    assert (kept.source, [row.name for row in kept.aliases.all()]) == ({"kind": "hf"}, ["/models/pico"])


def test_another_may_register_the_same_and_go_on(people, registered):
    base, job = again(people.stranger, source={"kind": "hf"}, aliases=["/models/pico"])
    assert base == registered and job is not None


def test_its_owner_and_administrators_may(people, registered, admin):
    for user, alias in ((people.owner, "unsloth/pico"), (admin, "other/pico")):
        base, _ = again(user, source=FOLDER, aliases=[alias])
        assert base.source == FOLDER and base.aliases.filter(name=alias).exists()
        assert base.source_by_admin is (user == admin)


def test_a_refusal_s_advice_is_followed(people, registered):
    """Under a revision or a name of their own they may say what they like."""
    for name, revision in (("org/pico", "mine"), ("stranger/pico", "main")):
        folder = f"{name}@mine" if revision == "mine" else name
        other, _ = again(people.stranger, name=name, revision=revision, source={"kind": "folder", "path": folder})
        assert other != registered and other.owner == people.stranger


class TestWhoseFolder:
    """Below HUB_BASES lie the weights of every base."""

    def test_an_owner_names_their_base_s_own_and_no_other(self, people, registered):
        with pytest.raises(PermissionDenied) as refusal:
            again(people.owner, source=ANOTHERS)
        assert refusal.value.code == "base.folder" and "org/pico" in refusal.value.message
        assert again(people.owner, source=FOLDER)[0].source == FOLDER

    @pytest.mark.parametrize("by_admin", [False, True])
    def test_the_worker_looks_again(self, people, registered, settings, tmp_path, by_admin):
        """A row from before the rule, or written past it, opens no other base's folder."""
        settings.WORKER_BASES = str(tmp_path / "bases")
        place = tmp_path / "bases" / ANOTHERS["path"]
        place.mkdir(parents=True)
        (place / "config.json").write_text("{}")
        (place / "model.safetensors").write_bytes(b"")
        registered.source, registered.source_by_admin = ANOTHERS, by_admin
        assert weights.holds(registered) is by_admin
        if not by_admin:
            with pytest.raises(CompositionError, match="administrator") as refusal:
                weights.base_folder(registered)
            assert refusal.value.code == "base.not_held"

    def test_a_link_out_of_the_folder_is_not_followed(self, registered, settings, tmp_path):
        settings.WORKER_BASES = str(tmp_path / "bases")
        outside = tmp_path / "outside"
        for folder in (outside, tmp_path / "bases/linked"):
            folder.mkdir(parents=True)
        (outside / "config.json").write_text("{}")
        (outside / "model.safetensors").write_bytes(b"")
        (tmp_path / "bases/linked/away").symlink_to(outside)
        registered.source, registered.source_by_admin = {"kind": "folder", "path": "linked/away"}, True
        assert not weights.holds(registered)

    def test_an_administrator_s_word_outlives_a_repetition_by_the_owner(self, people, registered, admin):
        again(admin, source=ANOTHERS)
        assert again(people.owner, source=ANOTHERS)[0].source_by_admin
        again(people.owner, source={"kind": "hf"})
        with pytest.raises(PermissionDenied):
            again(people.owner, source=ANOTHERS)


class TestReservedNames:
    @pytest.mark.parametrize("name", ["Qwen/Qwen3-0.6B", "qwen/Qwen3-0.6B", "META-LLAMA/x", "HuggingFaceTB/x"])
    def test_administrators_alone_register_them(self, people, admin, name):
        with pytest.raises(PermissionDenied) as refusal:
            again(people.stranger, name=name)
        assert refusal.value.code == "base.reserved"
        assert again(people.stranger, name=f"stranger/{name.split('/')[1]}")
        assert again(admin, name=name)[0].name == name

    @pytest.mark.parametrize("alias", ["Qwen/Qwen3-0.6B", "ＱＷＥＮ/Qwen3", " qwen/x", "google/gemma"])
    def test_nor_are_they_anybody_s_aliases(self, people, registered, admin, alias):
        with pytest.raises(PermissionDenied) as refusal:
            again(people.owner, aliases=[alias])
        assert refusal.value.code == "base.reserved"
        assert again(admin, aliases=[alias])

    def test_another_revision_of_one_is_reserved_as_well(self, people, admin):
        again(admin, name="Qwen/x")
        with pytest.raises(PermissionDenied):
            again(people.stranger, name="Qwen/x", revision="mine")
        assert again(people.stranger, name="Qwen/x"), "What is there may be registered again by all."

    def test_a_name_that_only_begins_alike_is_free(self, people):
        assert again(people.stranger, name="Qwenny/x")[0].owner == people.stranger

    def test_the_only_account_of_a_laptop_goes_on(self, db):
        alone = factories.make_user("alone")
        assert again(alone, name="Qwen/x", source=ANOTHERS)[0].source_by_admin
        factories.make_user("second")
        with pytest.raises(PermissionDenied):
            again(alone, name="Qwen/y")

    def test_none_reserves_nothing(self, people, settings):
        assert "Qwen/" in django_settings.RESERVED_BASES
        settings.RESERVED_BASES = []
        assert again(people.stranger, name="Qwen/x")

    def test_an_administrator_s_narrow_token_is_no_administrator(self, people, admin):
        wanted = {"name": "Qwen/x", "config": factories.PICO_CONFIG}
        problem(Api(admin, scopes=("read", "write")).post("/bases", wanted), 403, "base.reserved")
        assert Api(admin).post("/bases", wanted).status_code == 201


class TestHijacking:
    @pytest.mark.parametrize("alias", ["/MODELS/pico", "/models/pico ", "／models/pico", "/Models/Pico"])
    def test_no_other_spelling_of_an_alias_stands_for_another_base(self, people, registered, alias):
        with pytest.raises(Conflict) as refusal:
            again(people.stranger, name="stranger/x", aliases=[alias])
        assert refusal.value.code == "base.alias"
        assert match_base(alias.strip()) == registered

    @pytest.mark.parametrize("alias", ["ORG/pico", "org/pico@mine", "Org/Pico@main", " org/pico"])
    def test_no_alias_is_a_base_s_name(self, people, registered, alias):
        with pytest.raises(Conflict):
            again(people.stranger, name="stranger/x", aliases=[alias])

    def test_no_new_name_is_another_s_alias(self, people, registered):
        again(people.owner, aliases=["unsloth/pico"])
        for name in ("unsloth/pico", "Unsloth/Pico"):
            with pytest.raises(Conflict, match="base alias") as refusal:
                again(people.stranger, name=name)
            assert refusal.value.code == "base.alias"
        bases.change_base(actor=people.owner, base=registered, drop=["Unsloth/Pico"])
        assert again(people.stranger, name="unsloth/pico")[0].owner == people.stranger

    def test_nobody_else_registers_what_the_plain_name_stands_for(self, people):
        mine, _ = again(people.owner, revision="v1")
        assert match_base("org/pico") == mine
        for revision in ("main", "v2"):
            with pytest.raises(PermissionDenied):
                again(people.stranger, revision=revision)
        assert match_base("org/pico") == mine
        again(people.owner)
        assert again(people.stranger, name="ORG/pico", revision="v2")[0].name == "org/pico"

    def test_aliases_from_before_the_rule_still_stand_for_theirs(self, people, registered):
        other = factories.make_base("org/other")
        BaseAlias.objects.create(base=other, name="/MODELS/pico", folded=None)
        assert match_base("/MODELS/pico") == other
        assert match_base("/models/pico") == match_base("/Models/pico") == registered


class TestGivingAway:
    def test_the_new_owner_owns_it_and_the_old_one_no_longer(self, people, registered):
        base = base_owners.transfer_base(actor=people.owner, base=registered, to=" Stranger ")
        assert base.owner == people.stranger
        with pytest.raises(PermissionDenied):
            again(people.owner, aliases=["x"])
        assert again(people.stranger, aliases=["x"])
        assert Event.objects.get(verb="base.transfer").detail == {"owner": "stranger", "before": "owner"}

    @pytest.mark.parametrize("who", ["stranger", "nobody", "closed"])
    def test_not_by_others_and_not_to_nobody(self, people, registered, who):
        User.objects.create(username="closed", is_active=False)
        actor = people.stranger if who == "stranger" else people.owner
        with pytest.raises(PermissionDenied if who == "stranger" else Invalid):
            base_owners.transfer_base(actor=actor, base=registered, to=who)
        assert BaseModel.objects.get(pk=registered.pk).owner == people.owner

    def test_an_administrator_takes_it_over(self, people, registered, admin):
        assert base_owners.transfer_base(actor=admin, base=registered, to="admin").owner == admin

    @pytest.mark.parametrize("gone", ["deleted", "closed"])
    def test_a_base_whose_owner_is_gone_is_for_administrators(self, people, registered, admin, gone):
        changed = {"created_by": None} if gone == "deleted" else {}
        BaseModel.objects.filter(pk=registered.pk).update(**changed) if changed else None
        User.objects.filter(pk=people.owner.pk).update(is_active=gone == "deleted")
        people.owner.refresh_from_db()
        assert Api().get("/bases/org/pico").json()["owner"] is None
        with pytest.raises(PermissionDenied, match="an administrator"):
            again(people.owner, source=FOLDER)
        assert again(admin, source=FOLDER)


class TestDeleting:
    def test_a_name_is_free_again(self, people, registered):
        Job.objects.update(state=State.FAILED)
        base_owners.delete_base(actor=people.owner, base=registered)
        assert (BaseModel.objects.count(), BaseAlias.objects.count(), Job.objects.get().base) == (0, 0, None)
        taken, _ = again(people.stranger, aliases=["/models/pico"])
        assert taken.owner == people.stranger
        with pytest.raises(NotFound):
            base_owners.delete_base(actor=people.owner, base=registered)

    def test_not_by_others(self, people, registered, admin):
        Job.objects.update(state=State.FAILED)
        with pytest.raises(PermissionDenied):
            base_owners.delete_base(actor=people.stranger, base=registered)
        base_owners.delete_base(actor=admin, base=registered)

    @pytest.mark.parametrize("use", ["job", "repository", "hidden", "trash", "derived", "upload"])
    def test_what_uses_it_is_told_and_once_that_is_gone_it_goes(self, people, registered, use):
        Job.objects.update(state=State.FAILED)
        if use == "job":
            Job.objects.update(state=State.QUEUED)
            expected = {"jobs": [f"job {Job.objects.get().pk}"]}
        elif use == "derived":
            again(people.stranger, name="stranger/x", derived_from=registered, relation="pruned")
            Job.objects.update(state=State.DONE)
            expected = {"derived bases": ["stranger/x"]}
        elif use == "upload":
            place = factories.make_repository(people.stranger, "a")
            factories.begin(people.stranger, place, factories.adapter_files(), base=registered)
            expected = {"uploads under way": ["1 more"]}
        else:
            BaseModel.objects.update(shapes=factories.pico_shapes(), fingerprint="f" * 64)
            registered.refresh_from_db()
            made = {"visibility": "private"} if use == "hidden" else {}
            factories.make_version(people.stranger, "secret", base=registered, base_name="org/pico", **made)
            if use == "trash":
                factories.repositories.delete_repository(
                    actor=people.stranger, repository=people.stranger.namespace.repositories.get()
                )
            where = "repositories in the trash" if use == "trash" else "repositories"
            expected = {where: ["stranger/secret" if use == "repository" else "1 more"]}
        refusal = problem(Api(people.owner).delete("/bases/org/pico"), 409, "base.used")
        if use == "job":
            expected = {"jobs": refusal["uses"]["jobs"]}
            assert len(expected["jobs"]) == 1
        assert refusal["uses"] == expected
        assert use == "repository" or "secret" not in str(refusal)

    def test_a_job_over_without_its_base_says_so_when_it_is_asked_for_again(self, people, registered):
        Job.objects.update(state=State.FAILED)
        base_owners.delete_base(actor=people.owner, base=registered)
        again_asked = Api(people.owner).post(f"/jobs/{Job.objects.get().pk}/retry", {})
        assert again_asked.status_code in (409, 422), again_asked.content

    def test_a_deleted_base_is_named_by_nothing_new(self, people, registered):
        """Whoever looked it up before it was deleted is told, at every place that keeps it."""
        Job.objects.update(state=State.FAILED)
        BaseModel.objects.update(shapes=factories.pico_shapes(), fingerprint="f" * 64)
        registered.refresh_from_db()
        stale = BaseModel.objects.get(pk=registered.pk)
        place = factories.make_repository(people.owner, "a")
        files = factories.adapter_files(base_name="org/pico")
        base_owners.delete_base(actor=people.owner, base=registered)
        acts = {
            "begin": lambda: factories.begin(people.owner, place, files, base=stale),
            "publish": lambda: factories.publish(people.owner, place, files, base=stale),
            "queue": lambda: asking.queue_job(actor=people.owner, kind="fingerprint", base=stale),
            "derive": lambda: again(people.owner, name="owner/x", derived_from=stale, relation="pruned"),
        }
        for name, act in acts.items():
            with pytest.raises(HubError) as refusal:
                act()
            assert refusal.value.status in (404, 409), name


def test_the_migration_folds_what_is_there(people, registered):
    from importlib import import_module

    from django.apps import apps

    other = factories.make_base("org/other", source=ANOTHERS, created_by=people.stranger)
    BaseAlias.objects.all().delete()
    names = [("/models/A", registered), ("/models/a", other), ("B", other)]
    for name, base in names:
        BaseAlias.objects.create(base=base, name=name)
    migration = import_module("hub.migrations.0011_base_owners")
    User.objects.filter(pk=people.stranger.pk).update(is_staff=True)
    migration.fold_aliases(apps, None)
    migration.note_administrators(apps, None)
    assert list(BaseAlias.objects.order_by("pk").values_list("folded", flat=True)) == ["/models/a", None, "b"]
    assert list(BaseModel.objects.order_by("pk").values_list("source_by_admin", flat=True)) == [False, True]


def test_nobody_registers_a_base_in_the_namespace_of_others(people, base):
    """Its files would be served at `lab/…`, to people who trust the members of lab."""
    config = factories.PICO_CONFIG
    for name in ("lab/evil", "LAB/evil", "owner/evil"):
        with pytest.raises(PermissionDenied) as refused:
            bases.register_base(actor=people.stranger, name=name, config=config)
        assert refused.value.code == "base.reserved"
    assert bases.register_base(actor=people.stranger, name="stranger/mine", config=config)
    assert bases.register_base(actor=people.member, name="lab/theirs", config=config)
