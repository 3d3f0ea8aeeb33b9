"""What watches the hub: alive, ready, and its figures; and who may see those."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from hub.models import Job, State, WorkerNode
from hub.queries import figures, health
from hub.services.tokens import create_token
from tests.hub import factories
from tests.hub.api_client import Api

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh():
    figures.forget()
    health.forget()


def read(response) -> dict[tuple, float]:
    """{(name, labels): value}, by Prometheus' own parser."""
    families = text_string_to_metric_families(response.content.decode())
    return {(row.name, *sorted(row.labels.values())): row.value for one in families for row in one.samples}


@pytest.fixture
def prometheus(settings) -> Client:
    settings.METRICS_TOKEN = "let me see"
    return Client(headers={"Authorization": "Bearer let me see"})


def test_alive_asks_nothing(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert client.get("/healthz").content == b"ok\n"


def test_ready_names_each_part(client, store):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    parts = answer.json()
    assert parts.pop("ready") is True
    assert set(parts) == {"database", "migrations", "store", "broker"}
    assert all(parts[name] == "ok" for name in health.NEEDED)


@pytest.mark.parametrize("part", ["database", "store", "migrations"])
def test_not_ready_without_what_it_needs(client, monkeypatch, part):
    monkeypatch.setattr(health, f"_{part}", lambda: "away")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"], answer.json()[part]) == (503, False, "away")


def test_without_its_broker_it_is_ready_and_says_so(client, monkeypatch):
    monkeypatch.setattr(health, "_broker", lambda: "away")
    assert client.get("/readyz").json() | {"store": "ok"} == {
        "ready": True,
        "database": "ok",
        "migrations": "ok",
        "store": "ok",
        "broker": "away",
    }


def test_many_who_ask_at_once_cost_one_look_which_is_kept_for_a_moment(monkeypatch):
    looks = []

    def look() -> str:
        looks.append("database")
        time.sleep(0.1)  # as a database that is slow to answer
        return "ok"

    for part in ("database", "migrations", "store", "broker"):
        monkeypatch.setattr(health, f"_{part}", look if part == "database" else lambda: "ok")
    monkeypatch.setattr(health, "SECONDS_KEPT", 30.0)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: health.health(), range(16)))
    assert found == [dict.fromkeys(("database", "migrations", "store", "broker"), "ok")] * 16
    assert looks == ["database"]


def test_health_is_looked_at_again_after_a_moment(client, monkeypatch):
    monkeypatch.setattr(health, "_store", lambda: "away")
    assert client.get("/readyz").status_code == 503
    monkeypatch.setattr(health, "_store", lambda: "ok")
    assert client.get("/readyz").status_code == 503
    later = time.monotonic() + health.SECONDS_KEPT
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=lambda: later))
    assert client.get("/readyz").status_code == 200


def test_a_dead_database_is_an_answer(client, monkeypatch):
    def away(*_):
        raise OperationalError("gone")

    with monkeypatch.context() as dead:
        dead.setattr(connection, "ensure_connection", away)
        assert health.health()["database"] == "away"
    health.forget()
    assert health.health()["database"] == "ok"


def test_figures_are_for_administrators_and_the_token(client, people, settings):
    settings.METRICS_TOKEN = "let me see"
    assert client.get("/metrics").status_code == 404
    for secret in ("let me", "let me see!", "ah_unknown", ""):
        assert Client(headers={"Authorization": f"Bearer {secret}"}).get("/metrics").status_code == 404, secret

    def answer(**kind) -> int:
        secret = create_token(actor=people.owner, name="watch", **kind)[1]
        return Client(headers={"Authorization": f"Bearer {secret}"}).get("/metrics").status_code

    assert answer(scopes=["admin"]) == 404
    people.owner.is_staff = True
    people.owner.save()
    assert answer(scopes=["admin"]) == 200
    assert [answer(scopes=[scope]) for scope in ("download", "read", "write")] == [404] * 3
    assert answer(scopes=["admin"], namespace="lab") == 404
    client.force_login(people.owner)
    assert client.get("/metrics").status_code == 200
    assert Client(headers={"Authorization": "Bearer let me see"}).get("/metrics").status_code == 200


def test_without_a_metrics_token_no_empty_one_opens(settings):
    settings.METRICS_TOKEN = ""
    assert Client(headers={"Authorization": "Bearer "}).get("/metrics").status_code == 404


def test_the_figures_are_those_of_the_rows(prometheus, people, base):
    version = factories.make_version(people.owner, namespace=people.lab, base=base)
    WorkerNode.objects.create(
        name="w", device="cpu", memory={"process": 7}, started_at=version.created_at, seen_at=version.created_at
    )
    found = read(prometheus.get("/metrics"))
    size = sum(entry.blob.size for entry in version.revisions.get().entries.all())
    assert found["hub_blob_bytes",] == size
    assert found["hub_repositories", "adapter"] == 1
    assert found["hub_jobs", State.DONE] == 0
    assert found["hub_workers",] == 1
    assert found["hub_worker_memory_bytes", "process", "w"] == 7
    assert found["hub_disk_free_bytes",] > 0


def test_what_waits_is_told_by_what_it_needs(prometheus, people, base):
    """For an autoscaler: it adds workers for what they could take now, and not for what is put off."""
    now = timezone.now()
    rows = {
        ("cpu", "queued", None): 3,
        (f"gpu:{base.pk}", "queued", None): 2,
        ("gpu:none", "queued", now - timedelta(seconds=5)): 1,
        ("cpu", "queued", now + timedelta(hours=1)): 4,
        ("gpu", "running", now + timedelta(seconds=30)): 1,
        ("cpu", "done", None): 5,
    }
    for (need, state, until), count in rows.items():
        for _ in range(count):
            Job.objects.create(kind="svd", need=need, state=state, lease_until=until, created_by=people.owner)
    Job.objects.filter(need="cpu", lease_until=None).update(created_at=now - timedelta(minutes=10))
    about = {"device": "x", "started_at": now, "seen_at": now}
    busy = Job.objects.get(state="running")
    WorkerNode.objects.create(name="both", queues=["cpu", "gpu"], current_job=busy, **about)
    WorkerNode.objects.create(name="cpu", queues=["cpu"], **about)
    found = read(prometheus.get("/metrics"))
    assert [found["hub_jobs_waiting", need] for need in ("cpu", "gpu")] == [3, 3]
    assert 600 <= found["hub_jobs_waiting_seconds", "cpu"] < 700 and found["hub_jobs_waiting_seconds", "gpu"] < 60
    assert [found["hub_jobs_running", need] for need in ("cpu", "gpu")] == [0, 1]
    assert [found["hub_jobs_put_off", need] for need in ("cpu", "gpu")] == [4, 0]
    workers = {key[1:]: value for key, value in found.items() if key[0] == "hub_workers_by_need"}
    assert workers == {("busy", "cpu"): 1, ("cpu", "idle"): 1, ("busy", "gpu"): 1, ("gpu", "idle"): 0}


def test_requests_count_under_their_route(prometheus, client):
    before = read(prometheus.get("/metrics"))
    name = ("hub_requests_total", "200", "GET", "api/v1/methods")
    for _ in range(3):
        client.get("/api/v1/methods")
    client.get("/nobody/nothing-here-either")
    after = read(prometheus.get("/metrics"))
    assert after[name] - before.get(name, 0) == 3
    assert not [key for key in after if "nothing-here" in str(key)]


def test_figures_cost_a_fixed_number_of_queries_and_are_kept(prometheus, django_assert_max_num_queries):
    with django_assert_max_num_queries(12):
        prometheus.get("/metrics")
    with django_assert_max_num_queries(0):
        prometheus.get("/metrics")


def test_every_answer_has_its_request_id(client, people):
    first, second = client.get("/"), Api(people.owner).get("/me")
    assert re.fullmatch("[0-9a-f]{16}", first["X-Request-ID"])
    assert first["X-Request-ID"] != second["X-Request-ID"]


@pytest.mark.parametrize(
    ("proxies", "given", "taken"),
    [
        ([], "abcdef-123456", False),
        (["127.0.0.1"], "abcdef-123456", True),
        (["10.0.0.0/8"], "abcdef-123456", False),
        (["127.0.0.1"], "short", False),
        (["127.0.0.1"], "x" * 65, False),
        (["127.0.0.1"], 'bad"id\x1b[31m', False),
    ],
)
def test_a_request_id_is_taken_from_a_trusted_proxy_alone(client, settings, proxies, given, taken):
    from ipaddress import ip_network

    settings.TRUSTED_PROXIES = [ip_network(proxy) for proxy in proxies]
    answer = client.get("/healthz", headers={"X-Request-ID": given})
    assert (answer["X-Request-ID"] == given) is taken
