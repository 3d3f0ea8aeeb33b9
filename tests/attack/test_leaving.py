"""Accounts that end: nothing of theirs acts on, nothing of others is lost, and nobody is left without an admin."""

import io

import pytest
from django.test import Client

from hub import access
from hub.errors import Conflict, HubError
from hub.models import BaseModel, Companion, Event, Job, Namespace, Repository, State, Token, Upload, User, Version
from hub.services import accounts, leaving, repositories, tokens
from hub.services.content import companions
from hub.services.jobs import lease, queue
from hub.services.jobs.recheck import require_sight
from hub.services.signing_in import passwords
from tests.hub import asking, factories
from tests.hub.api_client import Api, problem
from tests.hub.test_parallel import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
AGAIN = {"password": factories.PASSWORD}


@pytest.fixture
def admin(db) -> User:
    return accounts.create_user(username="root-admin", password=factories.PASSWORD, is_staff=True)


@pytest.fixture
def work(people, base, repository) -> Version:
    """The member's work in the lab: a version, companion, base, upload under way, and jobs in every state."""
    member = people.member
    made = factories.publish(member, repository, factories.adapter_files(), base=base)
    stream = io.BytesIO(b'{"prompt": "a", "completion": "b"}\n')
    companions.add_companion(actor=member, repository=repository, kind="seeds", name="s.jsonl", stream=stream)
    BaseModel.objects.update(created_by=member)
    factories.begin(member, repository, factories.adapter_files(seed=3))
    for number, state in enumerate(State.values):
        output = ("lab", f"made-{number}")
        job = asking.queue_job(actor=member, kind="svd", recipe={"rank": 2}, inputs=[made.version], output=output)
        Job.objects.filter(pk=job.pk).update(state=state, attempt=1)
    return made.version


def states() -> dict[str, int]:
    """How many jobs are in each state."""
    rows = list(Job.objects.values_list("state", flat=True))
    return {state: rows.count(state) for state in rows}


CANCELLED = {State.SAVING: 1, State.DONE: 1, State.FAILED: 1, State.CANCELLED: 4}


@pytest.mark.parametrize("door", ["page", "api"])
def test_a_deactivated_account_does_nothing_more_until_it_is_brought_back(people, work, admin, door):
    member, browser, program = people.member, Client(), Api(people.member)
    browser.force_login(member)
    other = Client()
    other.force_login(member)
    if door == "page":
        assert browser.post("/account/deactivate", AGAIN).headers["Location"] == "/"
    else:
        assert program.post("/account/deactivate", AGAIN).status_code == 204
    assert browser.get("/account").status_code == other.get("/account").status_code == 302
    problem(program.get("/me"), 401, "token.invalid")
    assert states() == CANCELLED
    problem(Api().post("/sign-in", {"username": "member", **AGAIN}), 401, "sign_in.failed")
    assert Client().post("/sign-in", {"username": "member", **AGAIN}).status_code == 422
    job = Job.objects.filter(state=State.CANCELLED).first()
    problem(Api(people.owner).post(f"/jobs/{job.pk}/retry"), 409, "job.refused_for_owner")
    assert Repository.objects.get(name="sentiment").created_by is not None

    leaving.reactivate_user(actor=admin, user=member)
    assert other.get("/account").status_code == 302, "sessions from before stay ended"
    problem(program.get("/me"), 401, "token.invalid")
    assert Api().post("/sign-in", {"username": "member", **AGAIN}).status_code == 201
    assert Api(people.owner).post(f"/jobs/{job.pk}/retry").status_code == 200


@pytest.mark.parametrize("door", ["page", "api"])
def test_a_deleted_account_leaves_its_work_and_its_name_in_the_log(people, work, door):
    member, browser = people.member, Client()
    browser.force_login(member)
    asked = {"page": lambda: browser.post("/account/delete", AGAIN)}
    asked["api"] = lambda: Api(member).post("/account/delete", AGAIN)
    assert asked[door]().status_code in (204, 302)
    assert not User.objects.filter(username="member").exists()
    assert not Namespace.objects.filter(name="member").exists()
    assert not Upload.objects.exists() and not Token.objects.exists()
    assert states() == CANCELLED
    work.refresh_from_db()
    assert work.created_by is None and Companion.objects.get().created_by is None
    assert BaseModel.objects.get().created_by is None

    owner, pages = Api(people.owner), Client()
    pages.force_login(people.owner)
    assert owner.get("/repositories/lab/sentiment/versions").json()["results"][0]["created_by"] is None
    for path in ("/lab", "/lab/sentiment", "/lab/sentiment/versions", "/lab/sentiment/files/v1", "/bases"):
        assert pages.get(path).status_code == 200, path
    listed = owner.get("/jobs").json()["results"]
    assert len(listed) == len(State.values) and {row["created_by"] for row in listed} == {None}
    for job in Job.objects.all():
        assert owner.get(f"/jobs/{job.pk}").status_code == pages.get(f"/jobs/{job.pk}").status_code == 200
        if job.state == State.CANCELLED:
            problem(owner.post(f"/jobs/{job.pk}/retry"), 409, "job.owner_gone")
            assert pages.post(f"/jobs/{job.pk}/again").status_code == 302, "the refusal's advice"
    events = owner.get("/repositories/lab/sentiment/events").json()["results"]
    assert {event["actor"] for event in events if event["verb"] in ("publish", "companion.add")} == {"member"}
    assert Event.objects.filter(verb="user.delete", object="member", actor_name="member").exists()


def test_a_result_saved_for_an_account_that_is_gone_is_refused(people, work, admin):
    """The worker's own copy of the job still names its owner; what counts is whether they are there now."""
    job = Job.objects.get(state=State.SAVING)
    require_sight(job)
    stale = Job.objects.select_related("created_by").get(pk=job.pk)
    for end in (leaving.deactivate_user, leaving.delete_user):
        end(actor=admin, user=User.objects.get(username="member"))
        for held in (stale, Job.objects.get(pk=job.pk)):
            with pytest.raises(Conflict, match="is gone"):
                require_sight(held)


def test_what_stands_in_the_way_is_listed_and_doing_it_opens_the_way(people):
    """Each obstacle is named, stays until its advice is followed, and the list gets shorter by it."""
    owner, api = people.owner, Api(people.owner)
    kept = factories.make_repository(owner, "kept")
    gone = factories.make_repository(owner, "gone")
    repositories.delete_repository(actor=owner, repository=gone)
    alone = accounts.create_organisation(actor=owner, name="alone")
    accounts.create_organisation(actor=owner, name="empty")
    factories.make_repository(owner, "one", namespace=alone)

    def refusal() -> list[str]:
        facts = problem(api.post("/account/delete", AGAIN), 409, "user.not_free")
        assert all(sentence in facts["detail"] for sentence in facts["obstacles"])
        return facts["obstacles"]

    said = refusal()
    assert [
        words in sentence for words, sentence in zip(("owner/kept", "owner/gone", "alone", "lab"), said, strict=True)
    ]
    assert not any("empty" in sentence for sentence in said)
    Repository.objects.filter(pk__in=[kept.pk, gone.pk]).delete()
    assert len(refusal()) == 2
    for place in (people.lab, alone):
        accounts.set_role(actor=owner, namespace=place, user=people.member, role="admin")
    people.member.is_active = False
    people.member.save()
    assert len(refusal()) == 2, "an admin who can't sign in is none"
    people.member.is_active = True
    people.member.save()
    assert api.post("/account/delete", AGAIN).status_code == 204
    assert not Namespace.objects.filter(name__in=["empty", "owner"]).exists()
    assert Namespace.objects.filter(name__in=["lab", "alone"]).count() == 2


def test_a_page_that_refuses_says_why_and_keeps_one_signed_in(people):
    browser = Client()
    browser.force_login(people.owner)
    page = browser.post("/account/delete", AGAIN)
    assert page.status_code == 409 and "last admin of lab" in page.content.decode()
    assert browser.get("/account").status_code == 200


def test_the_last_administrator_stays(people, admin):
    for end in (leaving.deactivate_user, leaving.delete_user):
        with pytest.raises(Conflict, match="last administrator"):
            end(actor=admin, user=admin)
    second = accounts.create_user(username="second", password=factories.PASSWORD, is_staff=True)
    leaving.deactivate_user(actor=admin, user=second)
    with pytest.raises(Conflict, match="last administrator"):
        leaving.deactivate_user(actor=admin, user=admin)
    leaving.reactivate_user(actor=admin, user=second)
    leaving.delete_user(actor=second, user=admin)
    assert Event.objects.get(verb="user.delete").actor == second


def test_a_name_that_is_free_again_inherits_nothing(people, work):
    secret = tokens.create_token(actor=people.member, name="old")[1]
    leaving.delete_user(actor=people.member, user=people.member)
    fresh = factories.make_user("member")
    assert access.job.__module__ and not fresh.memberships.exclude(namespace__owner=fresh).exists()
    assert Api(secret=secret).get("/me").status_code == 401
    job = Job.objects.filter(state=State.CANCELLED).first()
    with pytest.raises(HubError):
        access.job(access.Viewer(user=fresh), job.pk)
    assert not Api(fresh).get("/jobs").json()["results"]


@pytest.mark.django_db(transaction=True)
def test_two_last_admins_who_leave_at_once_leave_one(people):
    accounts.set_role(actor=people.owner, namespace=people.lab, user=people.member, role="admin")
    ends = [lambda user=user: leaving.delete_user(actor=user, user=user) for user in (people.owner, people.member)]
    outcomes = at_once(*ends)
    assert sorted(type(outcome) for outcome in outcomes if outcome) == [Conflict], outcomes
    assert people.lab.memberships.filter(role="admin").count() == 1


def test_a_job_queued_by_a_worker_s_retry_after_the_end_is_not_claimed_into_a_result(people, work, admin):
    """A job that slipped through (its worker was lost in the same second) is refused when it is claimed again."""
    leaving.deactivate_user(actor=admin, user=people.member)
    job = Job.objects.filter(state=State.CANCELLED).first()
    Job.objects.filter(pk=job.pk).update(state=State.QUEUED)
    claimed = lease.claim(job.pk, worker="w")
    with pytest.raises(Conflict, match="is gone"):
        require_sight(claimed)
    with pytest.raises(Conflict):
        queue.retry_job(actor=people.owner, job=Job.objects.get(state=State.FAILED))
    assert passwords.matches(people.owner, factories.PASSWORD)
