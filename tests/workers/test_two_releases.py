"""Two releases side by side, as in every upgrade: who meets what only a later one knows leaves it to that one."""

from collections.abc import Iterator

import pytest
from django.test import Client

from composition.recipes.merge.trimming import TiesRecipe
from composition.registry import METHODS, beyond, known_versions
from hub.models import Job, State, WorkerNode
from hub.services.jobs import reaper, turns
from hub.services.jobs.waiting import waiting_for
from tests.hub.api_client import Api
from tests.workers.conftest import use_redis
from tests.workers.stage import LEASE, Broker, Nursery, until
from workers.worker import Worker

pytestmark = pytest.mark.django_db


@pytest.fixture
def newer_kind(queue) -> Iterator[Job]:
    """A job of a kind that this process doesn't know any more."""
    job, all_of_them = queue("svd", rank=2), dict(METHODS)
    del METHODS["svd"]
    yield job
    METHODS.clear()
    METHODS.update(all_of_them)  # in their order, which reports follow


@pytest.fixture
def newer_recipe(queue, monkeypatch) -> Job:
    """A job whose recipe has a later version than the one known here."""
    job = queue("ties", output="elected")
    monkeypatch.setattr(TiesRecipe, "version", 0)
    return job


@pytest.fixture
def newer_field(queue) -> Job:
    """A job whose recipe has a field that is not known here."""
    job = queue("ties", output="elected")
    Job.objects.filter(pk=job.pk).update(recipe=job.recipe | {"sharpness": 3})
    job.refresh_from_db()
    return job


NEWER = ["newer_kind", "newer_recipe", "newer_field"]


@pytest.fixture(params=NEWER)
def newer(request) -> Job:
    return request.getfixturevalue(request.param)


def test_an_older_worker_leaves_it_to_others_and_says_so(newer, worker):
    assert worker.claim(newer.pk) is None
    newer.refresh_from_db()
    assert (newer.state, newer.attempt, newer.lost, newer.error) == (State.QUEUED, 0, 0, None)
    assert f"Leaves job {newer.pk} to others" in worker.facts()["trouble"]
    assert turns.next_job(worker.taker()) is None


def test_an_older_worker_takes_the_job_behind_it(newer, queue, work):
    after = queue("cat", output="after")
    assert work(after).state == State.DONE
    newer.refresh_from_db()
    assert newer.state == State.QUEUED


def test_an_older_reaper_takes_it_back_as_any_other(newer, settings):
    """The later release's worker died with it: the reaper of an earlier one queues it again, and fails nothing."""
    Job.objects.filter(pk=newer.pk).update(state=State.RUNNING, attempt=1, lease_until="2020-01-01T00:00:00Z")
    assert newer.pk in reaper.reap()
    newer.refresh_from_db()
    assert (newer.state, newer.lost) == (State.QUEUED, 1)


def test_an_older_web_server_shows_it_and_tells_what_it_waits_for(newer, owner, worker):
    browser = Client()
    browser.force_login(owner)
    for address in ("/jobs", f"/jobs/{newer.pk}", "/workers", f"/{owner.username}", "/"):
        answer = browser.get(address, follow=True)
        assert answer.status_code == 200, address
    page = browser.get(f"/jobs/{newer.pk}").content.decode()
    assert "release does not know" in page
    api = Api(owner)
    assert api.get(f"/jobs/{newer.pk}").json()["kind"] == newer.kind
    assert {row["id"] for row in api.get("/jobs").json()["results"]} >= {newer.pk}
    for state in State:
        Job.objects.filter(pk=newer.pk).update(state=state)
        assert browser.get(f"/jobs/{newer.pk}").status_code == 200
    # A state that a later release has, and this one never heard of.
    Job.objects.filter(pk=newer.pk).update(state="thinking")
    assert browser.get(f"/jobs/{newer.pk}").status_code == 200
    assert api.get(f"/jobs/{newer.pk}").json()["state"] == "thinking"


def test_a_newer_web_server_tells_that_all_workers_are_older(queue, worker):
    from hub.services.worker_nodes import report_worker

    job = queue("svd", rank=2)
    facts = worker.facts() | {"knows": {"cat": [1]}}
    report_worker(**facts, current_job=None, started_at="2026-01-01T00:00:00Z")
    assert "Every running worker is of another release" in waiting_for(job)
    # One of before this was told is taken to know it.
    WorkerNode.objects.update(knows=None)
    assert waiting_for(job) == ""
    report_worker(**worker.facts(), current_job=None, started_at="2026-01-01T00:00:00Z")
    assert waiting_for(job) == ""


def test_a_job_of_the_release_before_is_run_by_the_workers_of_both(monkeypatch):
    row = WorkerNode(knows={"ties": [1]})
    assert row.can_read("ties", 1) and not row.can_read("ties", 2) and not row.can_read("cat", 1)
    for kind, method in METHODS.items():
        assert beyond(kind, {"version": method.recipe.version}) == ""
        assert all(beyond(kind, {"version": version}) == "" for version in known_versions()[kind])


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker
    broker.kill()


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_two_processes_of_two_releases(broker, queue, settings, tmp_path):
    """A worker that knows neither the method nor the recipe's version, then one that does beside it."""
    use_redis(settings, broker.url)
    settings.JOB_LEASE_SECONDS = LEASE
    nursery, started = Nursery(broker.url), []
    try:
        older = nursery.start(tmp_path / "older", "older")
        started.append(older)
        until(lambda: WorkerNode.objects.filter(name=older.name).exists(), 120, say=older.story)
        jobs = [queue("svd", rank=2), queue("ties", output="elected")]
        known = queue("cat", output="known")
        done = Job.objects.filter(state=State.DONE).values_list("pk", flat=True)
        until(lambda: known.pk in done.all(), 60, say=older.story)
        until(lambda: "Leaves job" in WorkerNode.objects.get(name=older.name).trouble, 60, say=older.story)
        assert list(done.all()) == [known.pk]
        newer = nursery.start(tmp_path / "newer")
        started.append(newer)
        until(lambda: len(done.all()) == 3, 120, say=lambda: older.story() + newer.story())
        rows = Job.objects.filter(pk__in=[job.pk for job in jobs]).values_list("worker", "attempt", "lost")
        assert set(rows) == {(newer.name, 1, 0)}
        assert "Traceback" not in older.story()
    finally:
        for process in started:
            process.kill()
        nursery.close()


def test_a_worker_of_this_release_tells_all_it_knows(worker: Worker):
    assert worker.facts()["knows"] == known_versions()
    assert set(known_versions()) == set(METHODS)


def test_a_role_of_a_later_release_is_none_here(owner, pair):
    """Whoever has it may do less for a while; nobody may do more, and no page fails."""
    from hub import access
    from hub.models import Membership

    viewer, repository = access.Viewer(user=owner), pair[0].repository
    assert access.may(viewer, repository, "admin")
    Membership.objects.filter(user=owner).update(role="curator")
    assert not access.may(viewer, repository, "write")
    browser = Client()
    browser.force_login(owner)
    assert browser.get(f"/{owner.username}").status_code == 200
    assert browser.get("/jobs").status_code == 200
