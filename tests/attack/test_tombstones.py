"""What is deleted for good is in nobody's way: neither its owner's, nor its base's, nor those who made something of it.

The fault: an adapter that others had merged left a row that nobody saw and nobody could delete; its owner's account
and its base could never be deleted, as that row stood in the way.
"""

from importlib import import_module

import pytest
from django.apps import apps
from django.test import Client

from hub import access, queries
from hub.access.limits import limit_of
from hub.errors import PermissionDenied
from hub.models import BaseModel, Job, Namespace, Repository, State, User, Version, Visibility
from hub.queries import administration
from hub.services import accounts, audit, base_owners, leaving, repositories, tokens
from hub.services.jobs import queue
from hub.services.jobs.kinds import kind_of
from hub.services.upkeep.purge import cut_loose, purge_repository
from tests.hub import asking, factories
from tests.hub.api_client import Api, problem
from tests.hub.every_kind import FINE, asked, make_lab, own_output

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
FAMILIES = {kind_of(kind): kind for kind in FINE}.values()
AGAIN = {"password": factories.PASSWORD}


@pytest.fixture
def made(people, base) -> Version:
    """`lab/m`, made by the member from the stranger's `first`."""
    first = factories.make_version(people.stranger, "first", base=base)
    child = factories.make_repository(people.member, "m", namespace=people.lab)
    return factories.publish(people.member, child, factories.adapter_files(seed=9), base=base, parents=[first]).version


def purge(repository: Repository) -> None:
    repositories.delete_repository(actor=repository.created_by, repository=repository)
    purge_repository(actor=repository.created_by, repository=repository)


def test_who_follows_the_advice_can_delete_their_account(people, made, root):
    api = Api(people.stranger)
    job = asking.queue_job(
        actor=people.member, kind="try", recipe={"prompt": "a"}, inputs=[made.parentage.get().parent]
    )
    queue.cancel_job(actor=people.member, job=job)
    for advice, follow in (
        ("stranger/first: delete these first", lambda: api.delete("/repositories/stranger/first")),
        ("The trash holds stranger/first", lambda: api.post("/repositories/stranger/first/purge")),
    ):
        assert advice in problem(api.post("/account/delete", AGAIN), 409, "user.not_free")["detail"]
        assert follow().status_code == 204
    assert api.post("/account/delete", AGAIN).status_code == 204
    assert not User.objects.filter(username="stranger").exists()
    assert not Namespace.objects.filter(name="stranger").exists()
    member, admin, browser = Api(people.member), Api(root), Client()
    browser.force_login(people.member)
    shown = [
        member.get("/repositories/lab/m/versions/v1"),
        member.get(f"/jobs/{job.pk}"),
        member.get("/jobs"),
        browser.get("/lab/m"),
        browser.get(f"/jobs/{job.pk}"),
        browser.get("/jobs"),
    ]
    assert [answer.status_code for answer in shown] == [200] * len(shown)
    assert not any(word in answer.content.decode() for answer in shown for word in ("stranger", "first", "deleted~"))
    assert shown[0].json()["parents"] == [{"hidden": True, "position": 0}]
    for answer in (admin.get("/admin/events"), admin.get("/admin/events?repository=stranger/first")):
        assert answer.status_code == 200 and "stranger/first" in answer.content.decode()
    problem(member.post(f"/jobs/{job.pk}/retry"), 404, "not_found")
    again = factories.make_user("stranger")
    assert not access.may(access.Viewer(user=again), made.parentage.get().parent.repository, "write")
    factories.make_repository(again, "first")


def test_an_organisation_that_holds_tombstones_only_goes_with_its_last_admin(people, made, base):
    alone = accounts.create_organisation(actor=people.stranger, name="alone")
    mine = factories.make_version(people.stranger, "mine", base=base, seed=4, namespace=alone)
    child = factories.make_repository(people.member, "child", namespace=people.lab)
    version = factories.publish(
        people.member, child, factories.adapter_files(seed=8), base=base, parents=[mine]
    ).version
    purge(made.parentage.get().parent.repository)
    assert leaving.obstacles(people.stranger) == [
        "They are the last admin of alone: make another member admin there first."
    ]
    purge(mine.repository)
    assert leaving.obstacles(people.stranger) == []
    leaving.delete_user(actor=people.stranger, user=people.stranger)
    assert not Namespace.objects.filter(name__in=["alone", "stranger"]).exists()
    assert Repository.objects.filter(namespace=None).count() == version.parentage.count() + made.parentage.count() == 2


def test_a_base_goes_once_what_used_it_is_deleted_for_good(people, base, made):
    """Each thing in the way is named to who can delete it, and doing as told frees the base."""
    BaseModel.objects.filter(pk=base.pk).update(created_by=people.stranger)
    base.refresh_from_db()
    api, first = Api(people.stranger), made.parentage.get().parent.repository
    purge(made.repository)
    asking.queue_job(actor=people.member, kind="try", recipe={"prompt": "a"}, inputs=[first.versions.get()])
    Job.objects.update(state=State.FAILED)
    told = []
    for follow in (
        lambda: api.delete("/repositories/stranger/first"),
        lambda: api.post("/repositories/stranger/first/purge"),
    ):
        told.append(problem(api.delete("/bases/pico/llama"), 409, "base.used")["uses"])
        follow()
    assert told == [{"repositories": ["stranger/first"]}, {"repositories in the trash": ["stranger/first"]}]
    assert Version.objects.get(repository=first).base is None, "the job speaks of it still"
    base_owners.delete_base(actor=people.stranger, base=base)
    assert not BaseModel.objects.exists()
    assert Api(people.member).get(f"/jobs/{Job.objects.get().pk}").status_code == 200


def test_the_migration_takes_base_and_name_from_those_of_earlier_releases(people, base, made):
    stone = made.parentage.get().parent
    purge(stone.repository)
    Repository.objects.filter(pk=stone.repository_id).update(base=base, name=f"first~{stone.repository_id}")
    Version.objects.filter(pk=stone.pk).update(base=base)
    import_module("hub.migrations.0015_tombstones_and_touched_uploads").cut_tombstones_loose(apps, None)
    stone.refresh_from_db()
    assert (stone.base, stone.repository.base) == (None, None)
    assert stone.repository.full_name == f"stranger/deleted~{stone.repository_id}"
    made.refresh_from_db()
    assert made.base == made.repository.base == base and made.repository.name == "m"


def test_who_may_see_what_was_made_of_it_stays_its_admins_to_say_while_they_are_there(people, base):
    secret = factories.make_version(people.owner, "secret", base=base, namespace=people.lab, visibility="private")
    child = factories.make_repository(people.stranger, "child", visibility="private")
    factories.publish(people.stranger, child, factories.adapter_files(seed=8), base=base, parents=[secret])
    purge(secret.repository)
    show = {"repository": child, "visibility": Visibility.PUBLIC}
    with pytest.raises(PermissionDenied, match=r"a private adapter you can't see; .* needs an admin of that adapter"):
        repositories.update_repository(actor=people.stranger, **show)
    accounts.set_role(actor=people.owner, namespace=people.lab, user=people.stranger, role="admin")
    assert repositories.update_repository(actor=people.stranger, **show).visibility == Visibility.PUBLIC
    repositories.update_repository(actor=people.stranger, repository=child, visibility=Visibility.PRIVATE)
    cut_loose(people.lab)
    with pytest.raises(PermissionDenied, match="nobody can agree"):
        repositories.update_repository(actor=people.stranger, **show)


def test_a_token_for_it_opens_nothing_and_says_so(people, made):
    _, secret = tokens.create_token(actor=people.stranger, name="t", scopes=["admin"], repository="stranger/first")
    stone = made.parentage.get().parent.repository
    purge(stone)
    cut_loose(people.stranger.namespace)
    stone.refresh_from_db()
    api, token = Api(secret=secret), people.stranger.tokens.get()
    assert "can't see any more" in problem(api.delete("/repositories/lab/m"), 403, "token_limit")["detail"]
    assert queries.limit_shown(token) == "(hidden)"
    other = Repository(pk=stone.pk + 1, namespace=None)
    assert not limit_of(token).covers(other), "two that are nowhere are not in one place"


def test_no_family_of_jobs_stumbles_over_inputs_that_are_nowhere(people, base, tmp_path, root):
    lab, browser = make_lab(people, base, tmp_path), Client()
    browser.force_login(lab.member)
    jobs = [queue.queue_job(actor=lab.member, request=asked(lab.member, FINE[k] | own_output(k))) for k in FAMILIES]
    for repository in Repository.objects.filter(namespace=lab.lab):
        purge(repository)
    cut_loose(lab.lab)
    api = Api(lab.member)
    for job in jobs:
        assert api.get(f"/jobs/{job.pk}").status_code == browser.get(f"/jobs/{job.pk}").status_code == 200, job
        queue.cancel_job(actor=lab.member, job=job)
        assert api.post(f"/jobs/{job.pk}/retry").status_code < 500, job
        assert browser.post(f"/jobs/{job.pk}/again").status_code < 500, job
        with_result = Job.objects.filter(pk=job.pk)
        with_result.update(state=State.DONE, result=Version.objects.filter(repository__namespace=None).first())
        assert browser.get(f"/jobs/{job.pk}").status_code == 200, job
    assert api.get("/jobs").status_code == browser.get("/jobs").status_code == 200
    assert Api(root).get("/admin/jobs").status_code == 200
    counted = {row.name: row.repository_count for row in administration.namespaces(access.Viewer(user=root))}
    assert counted["lab"] == 0
    audit.record(root, "repository.purge", Repository.objects.filter(namespace=None).first())
    assert (
        Api(root).get("/admin/events?verb=repository.purge").json()["results"][0]["repository"].startswith("deleted~")
    )
