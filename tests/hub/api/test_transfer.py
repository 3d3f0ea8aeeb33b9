"""Transfers over REST: private files in the request, who sees them, discriminators as a whole, the verdict."""

import json

import pytest

from hub.models import Companion, Job, JobFile
from hub.services.content.companions import keep
from hub.services.content.manifest import Entry
from tests.hub import factories
from tests.hub.api_client import Api, problem
from tests.hub.test_verdict import measure_all, moved  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db
SEEDS = "".join(json.dumps({"prompt": f"{n} + 1 =", "completion": str(n + 1)}) + "\n" for n in range(5))


@pytest.fixture
def sums(people, base):
    factories.make_base("pico/next")
    return factories.make_version(people.owner, "sums", namespace=people.lab, base=base)


def body(**changes) -> dict:
    asked = {"kind": "trans-lora", "recipe": {"filter": "none"}, "inputs": ["lab/sums"], "output": "lab/moved"}
    return {**asked, "base": "pico/next", "files": {"seeds": SEEDS}, **changes}


def test_a_transfer_is_queued_with_its_files_which_its_owner_alone_sees(people, sums):
    queued = Api(people.member)("POST", "/jobs", body())
    assert queued.status_code == 201, queued.content
    job = queued.json()
    (file,) = job["files"]
    assert (file["role"], file["facts"]["rows"], file["held"]) == ("seeds", 5, True)
    assert (job["base"], job["inputs"]) == ("pico/next", ["lab/sums@v1"])
    assert Api(people.member).get(f"/jobs/{job['id']}").json()["files"] == job["files"]
    for user in (people.owner, people.reader):
        seen = Api(user).get(f"/jobs/{job['id']}")
        assert (seen.status_code, seen.json()["files"]) == (200, [])
        assert file["digest"] not in seen.content.decode()
        listed = Api(user).get("/jobs").json()["results"]
        assert [row["files"] for row in listed] == [[]]
    assert Api(people.stranger).get(f"/jobs/{job['id']}").status_code == 404


def test_the_check_takes_the_same_and_keeps_nothing(people, sums):
    checked = Api(people.reader)("POST", "/jobs/check", body())
    assert checked.status_code == 200
    told = checked.json()
    assert told["files"][0]["rows"] == 5
    assert {"portllm", "cross-lora"} <= {way["kind"] for way in told["shortcuts"]}
    assert told["waiting_for"]
    assert not JobFile.objects.exists()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"base": None}, "transfer.no_target"),
        ({"base": "pico/none"}, "base_not_found"),
        ({"base": "pico/llama"}, "transfer.same"),
        ({"files": {}}, "transfer.no_seeds"),
        ({"files": {"seeds": "[]"}}, "seeds.row"),
        ({"files": {"seeds": '{"prompt": "a", "answer": "b"}'}}, "seeds.row"),
        ({"files": {"seeds": 5}}, "invalid"),
        ({"files": {"seeds": {"companion": "x", "y": 1}}}, "invalid"),
        ({"files": {"seeds": {"companion": "none.jsonl"}}}, "not_found"),
        ({"files": {"weights": SEEDS}}, "invalid"),
        ({"files": []}, "invalid"),
        ({"recipe": {}}, "transfer.no_discriminator"),
        ({"datasets": ["lab/sums"]}, "invalid"),
        ({"inputs": []}, "invalid"),
        ({"inputs": ["lab/sums", "lab/sums"]}, "invalid"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_and_nothing_is_kept(people, sums, changes, code):
    refused = Api(people.member)("POST", "/jobs", body(**changes))
    problem(refused, 404 if code.endswith("not_found") else 422, code)
    assert not Job.objects.exists() and not JobFile.objects.exists()


def test_a_discriminator_is_shown_and_removed_whole(people, sums):
    stored = factories.store(factories.adapter_files())
    files = {f"v1/{name}": Entry(*entry) for name, entry in stored.items()}
    keep(actor=people.owner, repository=sums.repository, kind="discriminator", files=files, facts={"recall": 0.9})
    url = "/repositories/lab/sums/companions/discriminator/v1"
    assert Api().get(f"{url}/adapter_config.json").status_code == 404
    assert Api(people.reader).get(f"{url}/adapter_config.json").status_code == 200
    assert Api(people.reader).get(url).status_code == 404
    problem(Api(people.member)("PATCH", url, {"visibility": "public"}), 403, "permission_denied")
    assert Api(people.owner)("PATCH", url, {"visibility": "public"}).status_code == 200
    assert {row.visibility for row in Companion.objects.all()} == {"public"}
    # What is public may be used by whoever sees the adapter.
    queued = Api(people.stranger)("POST", "/jobs", body(recipe={}, output="stranger/moved", files={"seeds": SEEDS}))
    assert queued.status_code == 201, queued.content
    assert {file["role"] for file in queued.json()["files"]} == {"seeds", "discriminator"}
    assert Api(people.member).delete(f"{url}/adapter_model.safetensors").status_code == 204
    assert not Companion.objects.exists()
    assert Job.objects.get().files.filter(blob__isnull=False).count() == 3


def test_half_a_discriminator_is_none(people, sums):
    stored = factories.store(factories.adapter_files())
    files = {"v1/adapter_config.json": Entry(*stored["adapter_config.json"])}
    keep(actor=people.owner, repository=sums.repository, kind="discriminator", files=files, facts={})
    problem(Api(people.member)("POST", "/jobs", body(recipe={})), 422, "invalid")


def test_a_discriminator_needs_the_right_to_write_beside_its_adapter(people, sums):
    real = "".join(json.dumps({"prompt": f"{n} + 1 ="}) + "\n" for n in range(30))
    asked = {"kind": "discriminator", "inputs": ["lab/sums"], "files": {"seeds": SEEDS, "real": real}}
    assert Api(people.member)("POST", "/jobs", asked).status_code == 201
    problem(Api(people.reader)("POST", "/jobs", asked), 403, "permission_denied")
    problem(Api(people.stranger)("POST", "/jobs", asked), 403, "permission_denied")
    wrong = {**asked, "base": "pico/next"}
    problem(Api(people.member)("POST", "/jobs", wrong), 422, "invalid")


def test_methods_list_transfers_with_their_fields(client):
    found = {row["kind"]: row for row in Api().get("/methods").json()}
    assert {kind for kind, row in found.items() if row["verb"] == "transfer"} >= {"trans-lora", "portllm", "cross-lora"}
    assert {field["name"] for field in found["trans-lora"]["fields"]} >= {"samples", "filter", "epochs"}


def test_the_verdict_over_rest(people, moved):  # noqa: F811
    url = "/repositories/lab/new/versions/v1/verdict"
    assert Api().get(url).json()["state"] == "unmeasured"
    measure_all(moved, 150, 20, 190)
    told = Api().get(f"{url}?dataset=lab/test").json()
    assert (told["state"], told["metric"], len(told["arms"])) == ("better", "exact_match", 4)
    problem(Api().get(f"{url}?oracle=lab/none"), 404, "not_found")
    problem(Api()("POST", url, {"dataset": "lab/test"}), 401, "not_signed_in")
    queued = Api(people.reader)("POST", url, {"dataset": "lab/test", "recipe": {"limit": 9}})
    assert (queued.status_code, len(queued.json())) == (201, 4)
    problem(Api(people.reader)("POST", url, {"dataset": "lab/old"}), 404, "not_found")
