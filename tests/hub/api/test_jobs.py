"""Jobs over REST: asked for once, checked before, watched, cancelled, tried again; hidden inputs stay hidden."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hub.models import Evaluation, Job, JobLog, Repository, State
from hub.names import worker_name
from hub.services.worker_nodes import report_worker
from tests.hub import factories
from tests.hub.api_client import Api, problem

pytestmark = pytest.mark.django_db
FIELDS = """id kind state progress message figures queue waiting_for attempt recipe inputs datasets base output result
error environment created_at started_at finished_at created_by evaluation""".split()


@pytest.fixture
def pair(owner, base) -> list[str]:
    """Names of two adapters of one base."""
    return [str(factories.make_version(owner, name, seed=seed)) for seed, name in enumerate(("a", "b"))]


@pytest.fixture
def ask(pair) -> dict:
    return {"kind": "lego", "recipe": {"rank": 3}, "inputs": pair, "output": "owner/merged"}


def test_a_merge_is_queued(owner, ask):
    answer = Api(owner).post("/jobs", ask)
    assert answer.status_code == 201, answer.content
    job = answer.json()
    assert set(FIELDS) <= set(job)
    assert (job["kind"], job["state"], job["output"], job["result"]) == ("lego", "queued", "owner/merged", None)
    assert job["inputs"] == ask["inputs"]
    assert job["recipe"]["rank"] == 3
    assert job["base"] == "pico/llama"
    assert "worker" in job["waiting_for"]
    assert Api(owner).get(f"/jobs/{job['id']}").json() == job
    assert [row["id"] for row in Api(owner).get("/jobs?state=queued").json()["results"]] == [job["id"]]
    assert Api(owner).get("/jobs?state=done").json()["results"] == []


def test_a_job_a_living_worker_can_take_waits_for_its_turn_only(owner, ask):
    report_worker(
        name="w", queues=["cpu"], device="cpu", bases=[], loaded=[], environment={}, current_job=None,
        started_at=timezone.now(),
    )  # fmt: skip
    assert Api(owner).post("/jobs", ask).json()["waiting_for"] is None


def test_the_same_key_and_body_is_the_same_job(owner, ask):
    api = Api(owner)
    first = api.post("/jobs", ask, Idempotency_Key="k1")
    again = api.post("/jobs", ask, Idempotency_Key="k1")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    for change in (
        {"recipe": {"rank": 2}},
        {"inputs": ask["inputs"][::-1]},
        {"output": "owner/other"},
        {"kind": "svd"},
    ):
        refused = problem(api.post("/jobs", {**ask, **change}, Idempotency_Key="k1"), 409, "idempotency_key")
        assert refused["job"] == first.json()["id"]
    assert api.post("/jobs", {**ask, "recipe": {"rank": 2}}, Idempotency_Key="k2").status_code == 201
    assert Job.objects.count() == 2


def test_keys_of_two_users_do_not_meet(owner, people, ask):
    assert Api(owner).post("/jobs", ask, Idempotency_Key="k").status_code == 201
    body = {**ask, "output": "reader/merged"}
    assert Api(people.reader).post("/jobs", body, Idempotency_Key="k").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
def test_bad_keys(owner, ask, key):
    refused = problem(Api(owner).post("/jobs", ask, Idempotency_Key=key), 422, "invalid")
    assert refused["field"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"kind": "magic"}, 422, "recipe.invalid", "kind"),
        ({"kind": 3}, 422, "invalid", "kind"),
        ({"recipe": {"rank": 0}}, 422, "recipe.invalid", "rank"),
        ({"recipe": {"rank": "3"}}, 422, "recipe.invalid", "rank"),
        ({"recipe": {"rank": 3, "colour": 1}}, 422, "recipe.invalid", "colour"),
        ({"recipe": {"rank": 3, "kind": "svd", "version": 99}}, 422, "recipe.invalid", "version"),
        ({"recipe": []}, 422, "invalid", "recipe"),
        ({"inputs": []}, 422, "invalid", "inputs"),
        ({"inputs": "owner/a"}, 422, "invalid", "inputs"),
        ({"inputs": [1]}, 422, "invalid", "inputs.0"),
        ({"inputs": ["a"]}, 422, "invalid", "inputs"),
        ({"inputs": ["owner/nothing"]}, 404, "not_found", None),
        ({"inputs": ["owner/a@v7"]}, 404, "revision_not_found", None),
        ({"datasets": ["owner/a"]}, 422, "invalid", "datasets"),
        ({"output": "merged"}, 422, "invalid", "output"),
        ({"output": None}, 422, "invalid", "output"),
        ({"output": "owner/x.v3"}, 422, "invalid", "name"),
        ({"output": "nobody/x"}, 404, "not_found", None),
        ({"output": "lab2/x"}, 403, "permission_denied", None),
        ({"base": "no/such"}, 404, "base_not_found", None),
        ({"visibility": "secret"}, 422, "invalid", "visibility"),
        ({"queue": "gpu"}, 422, "invalid", "queue"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_queued(owner, people, ask, change, status, code, field):
    factories.make_organisation("lab2", admin=people.stranger)
    refused = problem(Api(owner).post("/jobs", {**ask, **change}), status, code)
    assert refused.get("field") == field
    assert not Job.objects.exists()


def test_the_dry_run_says_what_would_come(owner, ask):
    found = Api(owner).post("/jobs/check", ask).json()
    assert (found["ok"], found["problems"], found["rank"]) == (True, [], 3)
    assert set(found["ranks"].values()) == {3}
    assert found["bytes"] > 0
    assert found["seconds"] > 0
    assert [row["fits"] for row in found["inputs"]] == [True, True]
    bad = Api(owner).post("/jobs/check", {**ask, "recipe": {"rank": -1}}).json()
    assert bad["ok"] is False
    assert bad["problems"][0]["field"] == "rank"
    assert not Job.objects.exists()


def test_a_private_input_is_404_for_who_may_not_see_it(owner, people, ask):
    Repository.objects.filter(name="b").update(visibility="private")
    body = {**ask, "output": "stranger/merged"}
    for path in ("/jobs", "/jobs/check"):
        refused = problem(Api(people.stranger).post(path, body), 404, "not_found")
        missing = problem(Api(people.stranger).post(path, {**body, "inputs": ["owner/zz"]}), 404, "not_found")
        assert refused["detail"].replace("owner/b", "") == missing["detail"].replace("owner/zz", "")
    assert not Job.objects.exists()


def test_cancelling_and_trying_again(owner, ask):
    api = Api(owner)
    pk = api.post("/jobs", ask).json()["id"]
    assert api.post(f"/jobs/{pk}/cancel").json()["state"] == "cancelled"
    problem(api.post(f"/jobs/{pk}/cancel"), 409, "conflict")
    assert api.post(f"/jobs/{pk}/retry").json()["state"] == "queued"
    problem(api.post(f"/jobs/{pk}/retry"), 409, "conflict")
    Job.objects.filter(pk=pk).update(state=State.SAVING)
    problem(api.post(f"/jobs/{pk}/cancel"), 409, "conflict")


def test_who_may_watch_and_who_may_act(owner, people, ask):
    pk = Api(owner).post("/jobs", {**ask, "output": "lab/merged"}).json()["id"]
    path = f"/jobs/{pk}"
    for user, read, act in ((None, 404, 404), (people.stranger, 404, 404), (people.reader, 200, 403)):
        assert Api(user).get(path).status_code == read
        assert Api(user).get(f"{path}/log").status_code == read
        assert Api(user).get(f"{path}/events").status_code == read
        assert Api(user).post(f"{path}/cancel").status_code == act
        assert Api(user).post(f"{path}/retry").status_code == act
    assert Api(people.member).post(f"{path}/cancel").status_code == 200


def test_a_watcher_does_not_learn_the_names_of_hidden_inputs(owner, people, ask):
    Repository.objects.filter(name="b").update(visibility="private")
    pk = Api(owner).post("/jobs", {**ask, "output": "lab/merged"}).json()["id"]
    JobLog.objects.create(job_id=pk, attempt=1, text="reading owner/b@v1")
    error = {"code": "x", "message": "owner/b@v1 has NaN", "tensors": ["owner/b"], "deep": {"owner/b": 1}}
    Job.objects.filter(pk=pk).update(state="failed", error=error, message="owner/b@v1", figures={"owner/b": 1})
    reader = Api(people.reader)
    assert reader.get(f"/jobs/{pk}").json()["inputs"] == ["owner/a@v1", "(hidden)"]
    for path in (f"/jobs/{pk}", f"/jobs/{pk}/log", "/jobs"):
        assert b"owner/b" not in reader.get(path).content
        assert b"owner/b" in Api(owner).get(path).content


def test_the_log_in_pieces(owner, ask):
    pk = Api(owner).post("/jobs", ask).json()["id"]
    JobLog.objects.bulk_create(JobLog(job_id=pk, attempt=1, text=f"line {n}") for n in range(5))
    lines = Api(owner).get(f"/jobs/{pk}/log").json()["results"]
    assert [line["text"] for line in lines] == [f"line {n}" for n in range(5)]
    rest = Api(owner).get(f"/jobs/{pk}/log?after={lines[2]['id']}").json()["results"]
    assert rest == lines[3:]
    first = Api(owner).get(f"/jobs/{pk}/log?limit=2").json()
    assert Api(owner).get(first["next"]).json()["results"] == lines[2:4]
    assert problem(Api(owner).get(f"/jobs/{pk}/log?after=x"), 422, "invalid")["field"] == "after"


def test_an_evaluation_is_shown_with_its_job_its_version_and_in_the_table(owner, people, pair, dataset):
    sums = factories.publish(owner, dataset, factories.dataset_files(rows=9)).version
    body = {"kind": "evaluate", "recipe": {"metrics": ["nll"]}, "inputs": pair[:1], "datasets": ["lab/sums"]}
    answer = Api(owner).post("/jobs", body)
    assert answer.status_code == 201, answer.content
    job = Job.objects.get(pk=answer.json()["id"])
    version = job.inputs.get(role="adapter").version
    Evaluation.objects.create(
        version=version, base=job.base, dataset=sums, dataset_digest=sums.content_digest, split="test",
        metrics={"nll": 1.5}, rows=9, device="cpu", seconds=1.0, job=job, created_by=owner,
    )  # fmt: skip
    shown = Api(owner).get(f"/jobs/{job.pk}").json()
    assert shown["datasets"] == ["datasets/lab/sums@v1"]
    assert shown["evaluation"]["metrics"] == {"nll": 1.5}
    measured = Api().get("/repositories/owner/a/versions/v1").json()["evaluations"]
    assert [(row["dataset"], row["metrics"]) for row in measured] == [("datasets/lab/sums@v1", {"nll": 1.5})]
    table = Api().get("/compare?version=owner/a@v1&version=owner/b@v1").json()
    assert table["columns"] == ["pico/llama", "owner/a@v1", "owner/b@v1"]
    assert table["rows"][0]["metrics"]["owner/a@v1"]["nll"] == 1.5
    Repository.objects.filter(pk=dataset.pk).update(visibility="private")
    assert Api().get("/compare?version=owner/a@v1").json()["rows"] == []
    assert Api().get("/repositories/owner/a/versions/v1").json()["evaluations"] == []
    problem(Api().get("/compare?version=owner/a&dataset=lab/sums"), 404, "not_found")
    problem(Api().get("/compare"), 422, "invalid")


def test_workers_name_their_bases(owner, base):
    report_worker(
        name="w", queues=["cpu"], device="cpu", bases=[base.pk, 999], loaded=[], environment={}, current_job=None,
        started_at=timezone.now(), trouble="t" * 500,
    )  # fmt: skip
    (row,) = Api(owner).get("/workers").json()["results"]
    assert (row["name"], row["bases"], row["alive"], row["busy"]) == (
        worker_name("w"),
        ["pico/llama"],
        True,
        False,
    )
    assert row["trouble"] == "t" * 200
    problem(Api().get("/workers"), 401, "not_signed_in")


def test_methods_carry_the_fields_of_their_recipes():
    methods = {row["kind"]: row for row in Api().get("/methods").json()}
    assert {"lego", "svd", "cat", "average", "evaluate"} <= set(methods)
    fields = {field["name"]: field for field in methods["lego"]["fields"]}
    assert fields["rank"]["type"] == "integer"
    assert {"label", "help", "default", "required", "minimum", "maximum", "choices"} <= set(fields["rank"])
    assert methods["lego"]["needs"]["min_inputs"] >= 1


def test_a_long_list_of_jobs_costs_no_more_queries_than_a_short_one(owner, ask):
    api = Api(owner)

    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            assert api.get("/jobs").status_code == 200
        return len(found)

    for number in range(2):
        api.post("/jobs", {**ask, "output": f"owner/m{number}"})
    few = queries()
    for number in range(2, 7):
        api.post("/jobs", {**ask, "output": f"owner/m{number}"})
    assert queries() == few
