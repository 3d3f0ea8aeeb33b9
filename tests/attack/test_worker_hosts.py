"""Names of machines are for administrators of the site: the page and the API tell the same, to the same people."""

import pytest
from django.test import Client
from django.utils import timezone

from hub.models import Job
from hub.names import worker_name
from hub.services.audit import record
from hub.services.jobs import queue, waiting
from hub.services.worker_nodes import report_worker
from tests.hub import factories
from tests.hub.api_client import Api
from tests.hub.every_kind import MERGE, asked, make_lab
from workers import worker as workers

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
HOST = "zqmachine.internal"


def test_a_worker_is_named_by_a_digest_and_administrators_see_its_host(people, base, tmp_path, worker, monkeypatch):
    lab = make_lab(people, base, tmp_path)
    monkeypatch.setattr("socket.gethostname", lambda: HOST)
    monkeypatch.setattr(workers, "_this", None)
    opened = workers.open_this_worker(["cpu"])
    assert HOST not in opened.name and opened.name == worker_name(opened.host)
    report_worker(**opened.facts(), current_job=None, started_at=timezone.now())
    # One that was known before workers had two names, with a job that it ran and the event about it.
    old = f"{HOST}-12"
    facts = {"queues": ["cpu"], "device": "cpu", "bases": [], "loaded": [], "environment": {}, "current_job": None}
    report_worker(name=old, started_at=timezone.now(), **facts)

    job = queue.queue_job(actor=lab.member, request=asked(lab.member, MERGE))
    Job.objects.filter(pk=job.pk).update(worker=old)
    record(None, "job.done", job, worker=old)
    addresses = ["/workers", f"/jobs/{job.pk}", "/jobs"]
    for user, sees in ((lab.member, False), (lab.owner, False), (factories.make_user("root"), True)):
        user.is_staff = user.username == "root"
        user.save()
        page = Client()
        page.force_login(user)
        api = Api(user)
        listed = api.get("/workers").json()["results"]
        assert {row["host"] for row in listed} == ({opened.host, old} if sees else {None})
        assert {row["name"] for row in listed} == {opened.name, worker_name(old)}
        shown = page.get("/workers").content.decode()
        assert (HOST in shown) == sees and all(row["name"] in shown for row in listed)
        if not sees:
            told = [api.get(address) for address in (f"/jobs/{job.pk}", "/jobs", "/namespaces/lab/events")]
            told += [api.post("/jobs/check", MERGE), *(page.get(address) for address in addresses)]
            assert not [answer for answer in told if HOST in answer.content.decode()]
    assert Client().get("/workers").status_code == 302 and Api().get("/workers").status_code == 401


def test_what_a_job_waits_for_names_no_folder(people, base, tmp_path, worker, settings):
    settings.WORKER_BASES = "/srv/zqmachine/bases"
    lab = make_lab(people, base, tmp_path)
    facts = {"queues": ["cpu"], "device": "cpu", "loaded": [], "environment": {}, "current_job": None}
    report_worker(name="w", bases=[], started_at=timezone.now(), **facts)

    request = asked(lab.member, {"kind": "try", "recipe": {"prompt": "a"}, "inputs": ["lab/a"]})
    said = waiting.waiting_for(queue.queue_job(actor=lab.member, request=request))
    assert "HUB_BASES/pico/llama" in said and "/srv" not in said
