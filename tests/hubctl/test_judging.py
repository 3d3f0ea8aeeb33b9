"""`hubctl merge search`, `best`, `measure`, `--recipe` and `jobs recipe` against a served hub and a real worker."""

import json

import pytest
import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from hub.models import Job, Version
from tests.hub import factories
from tests.workers.conftest import write_base

pytestmark = pytest.mark.django_db(transaction=True)
SEARCH = ("--methods", "svd,task-arithmetic", "--ranks", "2,4", "--scales", "0.5", "--metric", "choice")
SHORT = ("--first-rows", "4", "--rows", "6", "--max-new-tokens", "2", "--wait")


@pytest.fixture
def pair(signed_in, base, tmp_path):
    torch.manual_seed(0)
    write_base(tmp_path / "bases" / "pico" / "llama", LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))
    data = factories.make_repository(signed_in, "sums", kind="dataset")
    factories.publish(signed_in, data, factories.dataset_files(rows=6, split="validation", choices=True))
    return [factories.make_version(signed_in, name, base=base, seed=n) for n, name in enumerate(("one", "two"), 1)]


def test_a_search_is_run_its_best_published_and_what_that_lost_measured(hubctl, pair, worker):
    found = hubctl("merge", "search", "ada/one", "ada/two", "--dataset", "ada/sums", *SEARCH, *SHORT)
    assert found.code == 0, found.err
    job = Job.objects.get()
    assert "the best: " in found.out and f"hubctl merge best {job.pk}" in found.out
    listed = hubctl("merge", "candidates", job.pk)
    assert "task-arithmetic rank 2 scale 0.5" in listed.out and "input-1: " in listed.out
    assert len(hubctl("merge", "candidates", job.pk, "--json").json["arms"]) == 4 + 4
    done = hubctl("merge", "best", job.pk, "--to", "ada/best", "--wait")
    assert done.code == 0, done.err
    told = job.outcome["search"]
    assert Version.objects.get(repository__name="best").recipe == told["arms"][told["best"]]["recipe"]
    assert hubctl("merge", "best", job.pk, "--candidate", "nonsense", "--to", "ada/x").code == 1
    split = ("--split", "validation", "--max-new-tokens", "2", "--metrics", "nll,choice")
    lost = hubctl("merge", "measure", "ada/best", "--dataset", "ada/sums", *split, "--wait")
    assert lost.code == 0, lost.err
    assert "exact mean" in lost.out and "best input of each task" in lost.out


def test_regmean_is_searched_on_texts_of_the_adapters_and_published_with_them(
    hubctl, pair, worker, signed_in, tmp_path
):
    for name in ("one", "two"):
        text = factories.make_repository(signed_in, f"{name}-text", kind="dataset")
        rows = "".join(f'{{"text": "{name} w{number}"}}\n' for number in range(9))
        factories.publish(signed_in, text, {"train.jsonl": rows.encode()})
    asked = ("merge", "search", "ada/one", "ada/two", "--dataset", "ada/sums", "--methods", "regmean,svd", *SHORT)
    asked += ("--metric", "choice", "--scales", "1.2")
    (tmp_path / "here.jsonl").write_text("")
    for wrong in (("one=ada/one-text",), ("ada/one-text", "ada/two-text"), ("one=here.jsonl", "two=ada/two-text")):
        given = [word for text in wrong for word in ("--data", text)]
        assert hubctl(*asked, *given).code == 1
    found = hubctl(*asked, "--data", "two=ada/two-text", "--data", "one=ada/one-text")
    assert found.code == 0, found.err
    job = Job.objects.get()
    assert [row.version.repository.name for row in job.inputs.filter(role="dataset")] == [
        "sums",
        "one-text",
        "two-text",
    ]
    best = hubctl("merge", "best", job.pk, "--candidate", "regmean rank 4 scale 1.2", "--to", "ada/read", "--wait")
    assert best.code == 0, best.err
    made = Version.objects.get(repository__name="read")
    assert [row["name"] for row in made.report["read"]] == [f"datasets/ada/{name}-text@v1" for name in ("one", "two")]


def test_a_job_is_written_and_merged_again_by_its_file(hubctl, pair, worker, tmp_path):
    hubctl("merge", "svd", "ada/one", "ada/two", "--rank", "3", "--weights", "0.7,0.3", "--to", "ada/both", "--wait")
    written = hubctl("jobs", "recipe", Job.objects.get().pk)
    told = yaml.safe_load(written.out)
    assert [entry["weight"] for entry in told["inputs"]] == [0.7, 0.3]
    file = tmp_path / "both.yaml"
    file.write_text(written.out)
    checked = hubctl("merge", "--recipe", file, "--check")
    assert "becomes: ada/both@v2, the next version" in checked.out
    again = hubctl("merge", "--recipe", file, "--to", "ada/again", "--set", "rank=2", "--wait")
    assert again.code == 0, again.err
    first, second = Version.objects.filter(repository__name__in=("both", "again")).order_by("pk")
    assert second.recipe == {**first.recipe, "rank": 2}


def test_a_configuration_of_mergekit_is_read_with_its_notes(hubctl, pair, tmp_path):
    file = tmp_path / "mergekit.yaml"
    file.write_text(
        "merge_method: task_arithmetic\nbase_model: pico/llama\nparameters: {weight: 0.5}\n"
        "models: [{model: pico/llama+ada/one}, {model: ada/two}]\n"
    )
    checked = hubctl("merge", "--recipe", file, "--to", "ada/both", "--check")
    assert "becomes: ada/both@v1, in a new repository" in checked.out
    assert "full rank" in checked.err
    started = hubctl("merge", "--recipe", file, "--to", "ada/both", "--json")
    assert json.loads(started.out)["recipe"]["weights"] == [0.5, 0.5]


def test_what_is_wrong_with_a_file_is_said(hubctl, pair, tmp_path):
    file = tmp_path / "x.yaml"
    assert "can't be read" in hubctl("merge", "--recipe", file).err
    file.write_bytes(b"\xff\xfe")
    assert "UTF-8" in hubctl("merge", "--recipe", file).err
    file.write_text("x" * 70_000)
    assert "64,000" in hubctl("merge", "--recipe", file).err
    file.write_text("kind: svd\nrnak: 4\n")
    assert "rnak" in hubctl("merge", "--recipe", file).err
    assert hubctl("merge").code == 2
    assert hubctl("merge", "--recipe", file, "svd", "ada/one", "--to", "ada/x").code == 2
    assert hubctl("merge", "--recipe", file, "--set", "rank").code == 2
