"""The page where an adapter is tried: who may ask, who sees what came, and that colours are never the only sign."""

import json
import re

import pytest
from django.test import Client
from django.utils import timezone

from hub.models import Job, JobInput, State, WorkerNode
from tests.hub import asking, factories
from tests.hub.api_client import Api, problem

pytestmark = pytest.mark.django_db
PROMPT = "Where is the parcel <b>now</b>?"
ROUTING = {
    "experts": ["lab/one@v1", "private adapter 2"],
    "layers": [0, 1],
    "tokens": [
        {"text": "<s>", "expert": 0, "shares": [1.0, 0.0], "layers": [0, 0], "special": True},
        {"text": "Where", "expert": 0, "shares": [0.75, 0.25], "layers": [0, 1]},
        {"text": "\n", "expert": 1, "shares": [0.2, 0.8], "layers": [1, 1]},
        {"text": "here", "expert": 1, "shares": [0.4, 0.6], "layers": [0, 1]},
    ],
    "prompt": 3,
    "skipped": 7,
}
ANSWER = {"text": "It is <i>here</i>", "tokens": 5, "prompt_tokens": 12, "seconds": 0.5, "first_seconds": 0.1}
ANSWER |= {"ended": "stop", "routing": None, "tokens_per_second": 10.0}


def signed_in(user) -> Client:
    client = Client(raise_request_exception=False)
    if user:
        client.force_login(user)
    return client


@pytest.fixture
def adapter(people, base):
    return factories.make_version(people.owner, "sentiment", namespace=people.lab, base=base)


@pytest.fixture
def trial(people, adapter) -> Job:
    """A queued trial of the member's."""
    return asking.queue_job(actor=people.member, kind="try", recipe={"prompt": PROMPT}, inputs=[adapter])


def finish(job: Job, routing=None) -> None:
    answers = {"with": {**ANSWER, "routing": routing}, "without": {**ANSWER, "text": "No"}}
    outcome = {"answers": answers, "memory": 2_000_000_000}
    environment = {"device_name": "cpu"}
    Job.objects.filter(pk=job.pk).update(state=State.DONE, outcome=outcome, environment=environment)


def test_the_tab_leads_to_a_form_for_those_who_are_signed_in(people, adapter):
    assert 'href="/lab/sentiment/try"' in Client().get("/lab/sentiment").content.decode()
    assert 'href="/lab/sentiment/try/v1"' in Client().get("/lab/sentiment/at/v1").content.decode()
    nobody = Client().get("/lab/sentiment/try").content.decode()
    assert "<textarea" not in nobody and "/sign-in?next=/lab/sentiment/try" in nobody
    page = signed_in(people.stranger).get("/lab/sentiment/try").content.decode()
    assert "<details><summary>The full text in the prompt" in page
    for name in ("prompt", "context", "max_new_tokens", "temperature", "seed", "compare"):
        assert f'name="{name}"' in page


def test_asking_queues_a_trial_and_shows_it(people, adapter):
    client = signed_in(people.stranger)
    sent = {"prompt": "a\r\nb", "max_new_tokens": "9", "temperature": "0.5", "seed": "3", "key": "k1"}
    answer = client.post("/lab/sentiment/try", sent)
    job = Job.objects.get()
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/lab/sentiment/try?job={job.pk}")
    assert job.recipe == {"kind": "try", "version": 1, "prompt": "a\nb", "context": None, "max_new_tokens": 9} | {
        "temperature": 0.5,
        "seed": 3,
        "compare": False,
    }
    assert (job.created_by, job.base, job.output_path) == (people.stranger, adapter.base, "")
    assert client.post("/lab/sentiment/try", sent).headers["Location"] == answer.headers["Location"]
    page = client.get(answer.headers["Location"]).content.decode()
    assert f'data-events="/api/v1/jobs/{job.pk}/events"' in page
    assert "No running worker can take" in page
    assert 'id="text-with"' in page and 'id="text-without"' not in page


def test_a_trial_behind_other_work_says_so(people, trial):
    other = Job.objects.create(kind="lego", created_by=people.owner, state=State.RUNNING)
    facts = {"queues": ["cpu"], "device": "cpu", "bases": [trial.base_id], "seen_at": timezone.now()}
    WorkerNode.objects.create(name="w", current_job=other, started_at=timezone.now(), **facts)
    address = f"/lab/sentiment/try?job={trial.pk}"
    assert "is busy (LoRA-LEGO)" in signed_in(people.member).get(address).content.decode()
    WorkerNode.objects.update(current_job=None)
    assert 'id="waiting"' not in signed_in(people.member).get(address).content.decode()


def test_a_refused_prompt_keeps_the_form(people, adapter):
    refused = signed_in(people.stranger).post("/lab/sentiment/try", {"prompt": " ", "seed": "-1"})
    assert refused.status_code == 422
    assert not Job.objects.exists()
    refused = signed_in(people.stranger).post("/lab/sentiment/try", {"prompt": "kept", "temperature": "99"})
    assert refused.status_code == 422
    text = refused.content.decode()
    assert "kept" in text and "at most 10" in text


def test_only_its_owner_sees_a_trial(people, trial):
    finish(trial)
    mine = signed_in(people.member).get(f"/lab/sentiment/try?job={trial.pk}")
    assert "It is &lt;i&gt;here" in mine.content.decode() and "&lt;b&gt;now" in mine.content.decode()
    for user in (None, people.stranger, people.reader, people.owner):
        client = signed_in(user)
        assert client.get(f"/lab/sentiment/try?job={trial.pk}").status_code == 404
        assert client.get(f"/jobs/{trial.pk}").status_code == 404
        assert client.post(f"/jobs/{trial.pk}/cancel").status_code == 404
        for path in ("", "/log", "/events"):
            problem(Api(user).get(f"/jobs/{trial.pk}{path}"), 404, "not_found")
        if user:
            assert "parcel" not in client.get("/jobs").content.decode()
            assert Api(user).get("/jobs").json()["results"] == []


def test_a_trial_belongs_to_its_adapters_page(people, trial, base):
    factories.make_version(people.owner, "other", namespace=people.lab, base=base, seed=3)
    client = signed_in(people.member)
    for address in (f"/lab/other/try?job={trial.pk}", "/lab/sentiment/try?job=x", "/lab/sentiment/try?job=²"):
        assert client.get(address).status_code == 404
    assert f'href="/lab/sentiment/try/v1?job={trial.pk}"' in client.get(f"/jobs/{trial.pk}").content.decode()


def test_stopping_leads_back_to_the_page(people, trial):
    answer = signed_in(people.member).post(f"/jobs/{trial.pk}/cancel")
    assert answer.headers["Location"] == f"/lab/sentiment/try/v1?job={trial.pk}"
    page = signed_in(people.member).get(answer.headers["Location"]).content.decode()
    assert "cancelled" in page and "data-final" in page


def test_the_api_tells_the_answer_of_one_trial_and_lists_none(people, trial):
    finish(trial, ROUTING)
    api = Api(people.member)
    assert api.get(f"/jobs/{trial.pk}").json()["outcome"]["answers"]["with"]["routing"] == ROUTING
    (row,) = api.get("/jobs").json()["results"]
    assert "outcome" not in row


def test_a_mixtures_tokens_are_coloured_numbered_and_told(people, trial):
    finish(trial, ROUTING)
    page = signed_in(people.member).get(f"/lab/sentiment/try?job={trial.pk}").content.decode()
    assert '<span class="token expert-0 first special" title="lab/one@v1 100 %"><sup>1</sup>&lt;s&gt;</span>' in page
    assert '<span class="token expert-0" title="lab/one@v1 75 %, private adapter 2 25 %">' in page
    assert '<span class="token expert-1 first" title="private adapter 2 80 %, lab/one@v1 20 %"><sup>2</sup>↵' in page
    assert "The first 7 tokens are left out" in page
    data = json.loads(re.search(r'id="token-data" type="application/json">(.*?)</script>', page)[1])
    assert data["layers"] == [[0, 0], [0, 1], [1, 1], [0, 1]]


def test_names_of_experts_go_with_the_sight_of_the_mixture(people, base):
    version = factories.make_version(people.stranger, "mine", base=base, seed=5)
    job = asking.queue_job(actor=people.member, kind="try", recipe={"prompt": "a"}, inputs=[version])
    finish(job, ROUTING)
    type(version.repository).objects.filter(pk=version.repository_id).update(visibility="private")
    assert JobInput.objects.get(job=job).version == version
    shown = Api(people.member).get(f"/jobs/{job.pk}").json()
    assert shown["inputs"] == ["(hidden)"]
    assert shown["outcome"]["answers"]["with"]["text"] == ANSWER["text"]
    assert shown["outcome"]["answers"]["with"]["routing"] is None
    assert signed_in(people.member).get(f"/stranger/mine/try?job={job.pk}").status_code == 404
    assert signed_in(people.member).get(f"/jobs/{job.pk}").status_code == 200
