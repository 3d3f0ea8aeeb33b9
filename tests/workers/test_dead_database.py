"""PostgreSQL that closes every connection costs seconds: no page fails, and no job.

On SQLite there is nothing to close. `tests/hub/test_postgres.py` runs this file on PostgreSQL.
"""

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.conf import settings as hub_settings
from django.db import connection

from hub.models import Job, Revision, State, Version, WorkerNode
from hub.runtime.valkey import free_port
from tests.workers.conftest import use_redis
from tests.workers.stage import LEASE, REDIS, ROOT, Nursery, Process, clean_redis, database_url, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.services]
if not hub_settings.DATABASES["default"]["ENGINE"].endswith("postgresql"):
    pytest.skip("needs PostgreSQL", allow_module_level=True)


def close_all() -> int:
    """Close every other connection to this database, as a restart does; how many there were."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return cursor.fetchone()[0]


@pytest.fixture(scope="module")
def nursery(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def start(nursery, settings, tmp_path):
    """`start(point)` starts a worker and waits until it reports."""
    clean_redis()
    use_redis(settings, REDIS)
    settings.JOB_LEASE_SECONDS = LEASE
    started = []

    def start(point: str = "") -> Process:
        worker = nursery.start(tmp_path / "worker", point)
        started.append(worker)
        until(lambda: WorkerNode.objects.filter(name=worker.name).exists(), 120, say=worker.story)
        return worker

    yield start
    for worker in started:
        worker.kill()


def state(job: Job) -> str:
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)


def test_an_idle_worker_takes_the_next_job(start, queue):
    worker = start()
    for n in range(2):
        close_all()  # None is open where it waits without one.
        job = queue("svd", output=f"idle{n}", rank=2)
        until(lambda job=job: state(job) == State.DONE, 60, say=worker.story)
        job.refresh_from_db()
        assert (job.lost, job.error) == (0, None)


@pytest.mark.parametrize("point", ["waiting", "waiting to publish"])
def test_a_job_goes_on_where_it_was(start, queue, point):
    worker, job = start(point), queue("svd", rank=2)
    until(worker.marker.exists, 60, say=worker.story)
    assert close_all() > 0
    worker.go.touch()
    until(lambda: state(job) == State.DONE, 60, say=worker.story)
    job.refresh_from_db()
    assert (job.attempt, job.lost, job.error) == (1, 0, None), worker.story()
    (version,) = Version.objects.filter(repository__name="merged")
    assert Revision.objects.filter(repository=version.repository).count() == 1
    assert job.result == version


@pytest.fixture
def web(tmp_path):
    """The address of a real web server on this database, with eight threads."""
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--port", str(port), "--no-ws"]
    environment = {"DATABASE_URL": database_url(), "HUB_DATA": str(hub_settings.HUB_DATA), "REDIS_URL": REDIS}
    log = (tmp_path / "web.log").open("wb")
    environment = {**os.environ, **environment, "DJANGO_SETTINGS_MODULE": "hub.settings"}
    collect = [sys.executable, "manage.py", "collectstatic", "--noinput", "-v0"]
    subprocess.run(collect, cwd=ROOT, env=environment, check=True)
    process = subprocess.Popen(
        [*command, "--blocking-threads", "8", "hub.wsgi:application"],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=log,
    )
    url = f"http://127.0.0.1:{port}"
    until(lambda: _status(url) == 200, 60, say=lambda: (tmp_path / "web.log").read_text())
    yield url
    process.terminate()
    process.wait(20)


def _status(url: str) -> int:
    try:
        return httpx.get(f"{url}/api/v1/bases", timeout=30, trust_env=False).status_code
    except httpx.TransportError:
        return 0


PATHS = ("/", "/api/v1/repositories", "/bases", "/api/v1/bases")


def statuses(url: str, requests: int) -> Counter:
    """What that many requests on eight threads are answered."""
    with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        return Counter(pool.map(lambda n: client.get(PATHS[n % len(PATHS)]).status_code, range(requests)))


def test_no_page_fails_on_a_connection_closed_since_its_last_use(web):
    for _ in range(3):
        assert set(statuses(web, 40)) == {200}
        assert close_all() > 0
    assert set(statuses(web, 40)) == {200}


def test_a_connection_closed_under_a_request_is_503_at_most(web, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(statuses, web, 120)
        while not asked.done():
            close_all()
        assert set(asked.result()) <= {200, 503}
    assert set(statuses(web, 40)) == {200}
