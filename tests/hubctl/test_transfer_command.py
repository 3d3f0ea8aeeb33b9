"""`hubctl transfer`, `seeds`, `discriminator`, `companions`: against a served hub, what is kept and what is refused."""

import json

import pytest

from hub.models import BaseModel, Companion, Job, JobFile
from hub.services.content.companions import keep
from hub.services.content.manifest import Entry
from tests.hub import factories
from tests.hub.test_verdict import measured
from tests.hubctl.conftest import make_token

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sums(ada):
    factories.make_base("pico/next")
    return factories.make_version(ada, "sums", base=factories.make_base())


@pytest.fixture
def seeds(tmp_path):
    path = tmp_path / "five.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n} + 1 =", "completion": str(n + 1)}) + "\n" for n in range(5)))
    return path


GO = ("--to-base", "pico/next", "--to", "ada/moved", "--filter", "none")


def test_seeds_are_kept_listed_shown_and_removed(hubctl, signed_in, sums, seeds):
    added = hubctl("seeds", "add", "ada/sums", seeds)
    assert (added.code, "5 seeds kept beside ada/sums as five.jsonl, private" in added.out) == (0, True), added.err
    assert "rows 5" in hubctl("seeds", "list", "ada/sums").out
    assert hubctl("seeds", "show", "ada/sums").out == seeds.read_text()
    assert len(hubctl("seeds", "show", "ada/sums", "--json").json) == 5
    assert hubctl("seeds", "remove", "ada/sums").code == 0
    assert not Companion.objects.exists()
    assert hubctl("seeds", "remove", "ada/sums").code == 4


def test_a_stranger_sees_no_private_seeds_of_a_public_adapter(hubctl, signed_in, sums, seeds, monkeypatch):
    hubctl("seeds", "add", "ada/sums", seeds)
    monkeypatch.setenv("HUBCTL_TOKEN", make_token(factories.make_user("eve")))
    assert hubctl("seeds", "list", "ada/sums", "--json").json == []
    assert hubctl("companions", "get", "ada/sums", "seeds/five.jsonl").code == 4
    assert hubctl("seeds", "add", "ada/sums", seeds).code == 3


def test_bad_seeds_are_refused_with_the_line(hubctl, signed_in, sums, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a"}\n{"prompt": ""}\n')
    refused = hubctl("seeds", "add", "ada/sums", bad)
    assert refused.code == 1
    assert "line 2" in refused.err
    assert hubctl("seeds", "add", "ada/sums", tmp_path / "none.jsonl").code == 1


def test_a_transfer_takes_seeds_from_a_file_or_those_that_are_kept(hubctl, signed_in, sums, seeds):
    queued = hubctl("transfer", "ada/sums", *GO, "--seeds", seeds, "--samples", 7, "--json")
    assert queued.code == 0, queued.err
    assert queued.json["recipe"]["samples"] == 7
    assert (queued.json["base"], queued.json["inputs"]) == ("pico/next", ["ada/sums@v1"])
    assert [file["role"] for file in queued.json["files"]] == ["seeds"]
    asked = hubctl("transfer", "ada/sums", *GO)
    assert asked.code == 1
    assert "transfer.no_seeds" in asked.err
    hubctl("seeds", "add", "ada/sums", seeds)
    kept = hubctl("transfer", "ada/sums", *GO, "--seeds", "companion:five.jsonl", "--json")
    assert kept.code == 0, kept.err
    assert kept.json["files"][0]["digest"] == queued.json["files"][0]["digest"]
    assert hubctl("transfer", "ada/sums", *GO, "--seeds", "companion:other", "--json").code == 4


def test_without_a_discriminator_it_says_what_to_do(hubctl, signed_in, sums, seeds):
    refused = hubctl("transfer", "ada/sums", *GO[:4], "--seeds", seeds)
    assert refused.code == 1
    assert "token-score" in refused.err
    assert not Job.objects.exists()


def test_a_check_shows_time_memory_and_the_shorter_way(hubctl, signed_in, sums, seeds):
    checked = hubctl("transfer", "ada/sums", *GO, "--seeds", seeds, "--check")
    assert checked.code == 0, checked.out
    assert "shorter way: --method portllm" in checked.out
    assert "of memory" in checked.out
    assert not Job.objects.exists() and not JobFile.objects.exists()


def test_the_method_decides_the_options(hubctl, signed_in, sums):
    assert "--subspace" in hubctl("transfer", "--method", "cross-lora", "--help").out
    shown = hubctl("transfer", "--help").out
    assert "--samples" in shown and "--subspace" not in shown
    wrong = hubctl("transfer", "ada/sums", "--method", "magic", *GO)
    assert wrong.code == 2
    queued = hubctl("transfer", "ada/sums", "--method", "portllm", *GO[:4], "--json")
    assert (queued.code, queued.json["kind"]) == (0, "portllm"), queued.err


def test_the_same_key_is_the_same_job_and_another_request_a_conflict(hubctl, signed_in, sums, seeds):
    given = ["transfer", "ada/sums", *GO, "--seeds", seeds, "--idempotency-key", "k", "--json"]
    assert hubctl(*given).json["id"] == hubctl(*given).json["id"]
    seeds.write_text('{"prompt": "another"}\n')
    assert hubctl(*given).code == 1


def test_a_discriminator_is_trained_from_a_file_or_a_dataset(hubctl, signed_in, sums, seeds, tmp_path, ada):
    data = tmp_path / "train.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"{n} + 1 ="}) + "\n" for n in range(30)))
    given = ["discriminator", "train", "ada/sums", "--seeds", seeds, "--json"]
    queued = hubctl(*given, "--data", data, "--epochs", 2)
    assert queued.code == 0, queued.err
    assert {file["role"]: file["facts"]["rows"] for file in queued.json["files"]} == {"real": 30, "seeds": 5}
    assert queued.json["output"] == "ada/sums"
    factories.publish(ada, factories.make_repository(ada, "data", kind="dataset"), factories.dataset_files(40, "train"))
    assert hubctl(*given, "--data", "ada/data").json["datasets"] == ["datasets/ada/data@v1"]
    assert hubctl(*given, "--data", "ada/data", "--split", "dev").code == 1


def test_a_discriminator_is_listed_and_removed_whole(hubctl, signed_in, sums, ada):
    stored = factories.store(factories.adapter_files())
    files = {f"v1/{name}": Entry(*entry) for name, entry in stored.items()}
    keep(actor=ada, repository=sums.repository, kind="discriminator", files=files, facts={"recall": 0.93})
    assert hubctl("discriminator", "list", "ada/sums").out.count("recall 0.93") == 2
    removed = hubctl("discriminator", "remove", "ada/sums")
    assert (removed.code, "discriminator/v1 removed" in removed.out) == (0, True), removed.err
    assert not Companion.objects.exists()


def test_a_verdict_is_told_in_words_and_what_is_missing_is_queued(hubctl, signed_in, sums, ada):
    target = BaseModel.objects.get(name="pico/next")
    files = factories.adapter_files(seed=3, base_name="pico/next")
    made = {"origin": "transferred", "parents": [sums], "base": target}
    moved = factories.publish(ada, factories.make_repository(ada, "moved"), files, **made).version
    data = factories.make_repository(ada, "test", kind="dataset")
    data = factories.publish(ada, data, factories.dataset_files(9)).version
    assert "It has not been measured yet" in hubctl("verdict", "ada/moved").out
    assert hubctl("verdict", "ada/moved", "--measure").code == 2
    queued = hubctl("verdict", "ada/moved", "--dataset", "ada/test", "--measure", "--limit", 3, "--json")
    assert [job["recipe"]["limit"] for job in queued.json] == [3, 3, 3, 3]
    for version, base, right in ((sums, None, 150), (None, target, 0), (moved, None, 140)):
        measured(data, version, base, right)
    told = hubctl("verdict", "ada/moved", "--dataset", "ada/test")
    assert "No proven loss: 5.0 points below the source adapter" in told.out
    assert "-5.0 (-13" in told.out and "not measured" in told.out
    assert hubctl("verdict", "ada/moved", "--json").json["state"] == "open"
