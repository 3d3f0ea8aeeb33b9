"""Merges with a little text from the row to the published result: data, privacy, what is kept, a stop in the middle."""

import io
import json
import threading

import pytest
import torch
from botocore.exceptions import EndpointConnectionError
from transformers import LlamaConfig, LlamaForCausalLM

from composition.errors import CompositionError
from composition.formats import read_adapter
from hub.errors import Invalid
from hub.models import Companion, Origin, Repository, State, Visibility
from hub.services.content.companions import add_companion
from hub.services.content.manifest import manifest_of
from hub.storage import blobs
from tests.hub import asking, factories
from tests.workers.conftest import write_base
from workers import patience
from workers.attempt import Attempt, Stopping
from workers.cache import Cache
from workers.runner import run

pytestmark = pytest.mark.django_db(transaction=True)
QUICK = {"split": "test", "rank": 3, "layout": "compact"}


@pytest.fixture
def held(worker, base, tmp_path):
    """The pico base on the worker's disk."""
    torch.manual_seed(0)
    return write_base(tmp_path / "bases" / "pico" / "llama", LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))


@pytest.fixture
def datasets(owner):
    made = []
    for name, rows in (("one", 12), ("two", 5)):
        repository = factories.make_repository(owner, f"{name}-data", kind="dataset")
        made.append(factories.publish(owner, repository, factories.dataset_files(rows=rows)).version)
    return made


@pytest.fixture
def ask(owner, pair):
    """Queue a calibrated merge of the pair."""

    def ask(kind="regmean", datasets=(), inputs=None, output="merged", **recipe):
        given = {"inputs": pair if inputs is None else inputs, "datasets": datasets, "output": ("ada", output)}
        return asking.queue_job(actor=owner, kind=kind, recipe={**QUICK, **recipe}, **given)

    return ask


@pytest.fixture
def fills(monkeypatch):
    """The keys of what was made for the worker's cache."""
    made, filled = Cache.made, []

    def noted(self, key, fill):
        def fill_noted(folder):
            fill(folder)
            filled.append(key)

        return made(self, key, fill_noted)

    monkeypatch.setattr(Cache, "made", noted)
    return filled


def folder_of(version, tmp_path):
    return Cache(tmp_path / "out", 10**9).folder(manifest_of(version.revisions.get()))


def test_a_merge_by_data_is_published_with_its_data_by_digest(held, work, ask, datasets, tmp_path):
    job = work(ask(datasets=datasets, rows=8))
    assert (job.state, job.error) == (State.DONE, None)
    version = job.result
    assert version.origin == Origin.MERGED and version.facts["ranks"] == [2, 3]
    assert [(d["name"], d["rows"]) for d in version.report["read"]] == [
        ("datasets/ada/one-data@v1", 8),
        ("datasets/ada/two-data@v1", 5),
    ]
    assert all(0 < error < 1.5 for error in version.report["summary"]["output_error"])
    folder = folder_of(version, tmp_path)
    card = (folder / "README.md").read_text()
    for dataset in datasets:
        assert str(dataset) in card and dataset.content_digest in card
    assert set(read_adapter(folder)) >= {"model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"}
    assert {row.parent for row in version.parentage.all()} >= set(datasets)


def test_a_second_merge_reads_no_text_again_and_gives_the_same(held, work, ask, datasets, fills):
    first = work(ask(datasets=datasets)).result
    assert len(fills) == 2
    again = work(ask(datasets=datasets))
    assert again.result == first, "the same bytes are no new version"
    work(ask(datasets=datasets, output="other", rank=2, off_diagonal=0.5))
    assert len(fills) == 2
    work(ask(datasets=datasets, output="fewer", rows=3))
    assert len(fills) == 4


def test_private_data_make_a_private_result_and_are_not_named_to_others(held, work, ask, datasets, tmp_path):
    Repository.objects.filter(name="one-data").update(visibility=Visibility.PRIVATE)
    job = work(ask(datasets=datasets))
    version = job.result
    assert version.repository.visibility == Visibility.PRIVATE
    card = (folder_of(version, tmp_path) / "README.md").read_text()
    assert "one-data" not in card and "private dataset 1" in card and "two-data" in card
    assert "one-data" not in str(version.report)
    # A digest proves a guess of the texts to whoever has one.
    assert datasets[0].content_digest not in card and datasets[1].content_digest in card
    assert not any("sha256" in row for row in version.report["read"])


@pytest.fixture
def seeded(owner, pair):
    """Seeds kept beside both adapters, privately; some rows are prompts alone."""
    for version, word in zip(pair, ("alpha", "omega"), strict=True):
        rows = [f'{{"prompt": "{n} + 1 = {word}"}}' for n in range(4)]
        rows += [f'{{"prompt": "{n} = {word}", "completion": "{n}"}}' for n in range(4, 7)]
        text = io.BytesIO("\n".join(rows).encode())
        add_companion(actor=owner, repository=version.repository, kind="seeds", name="seeds.jsonl", stream=text)
    return pair


def test_without_datasets_the_seeds_beside_the_adapters_are_read_and_told_to_nobody(held, work, ask, seeded, tmp_path):
    job = work(ask(rows=5))
    assert (job.state, job.error) == (State.DONE, None)
    version, (first, second) = job.result, seeded
    assert version.repository.visibility == Visibility.PUBLIC, "as of a transfer: seeds hold nothing private"
    told = [(read["name"], read["rows"]) for read in version.report["read"]]
    assert told == [(f"seed examples of {first}", 5), (f"seed examples of {second}", 5)]
    folder = folder_of(version, tmp_path)
    card = (folder / "README.md").read_text()
    assert f"| seed examples of {first} | 5 |" in card
    digests = list(Companion.objects.values_list("blob", flat=True))
    for text in (card, str(version.report), str(job.figures), *job.log.values_list("text", flat=True)):
        assert not any(secret in text for secret in ("alpha", "omega", "sha256': '", *digests))


@pytest.mark.parametrize("answered", [True, False])
def test_seeds_and_a_dataset_of_the_same_rows_give_the_same_bytes(held, work, ask, pair, owner, tmp_path, answered):
    """Prompts alone stand in a dataset as texts that are read as prompts."""
    datasets = []
    for version, begin in zip(pair, (0, 30), strict=True):
        rows = [{"prompt": f"{n} + 1 =", "completion": f" {n + 1}"} for n in range(begin, begin + 6)]
        rows = rows if answered else [{"prompt": row["prompt"]} for row in rows]
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        add_companion(actor=owner, repository=version.repository, kind="seeds", name="a.jsonl", stream=io.BytesIO(text))
        data = factories.make_repository(owner, f"rows-{begin}", kind="dataset")
        text = text if answered else text.replace(b'"prompt"', b'"text"')
        datasets.append(factories.publish(owner, data, {"test.jsonl": text}).version)
    by_seeds = work(ask(rows=4))
    by_data = work(ask(datasets=datasets, rows=4, output="by-data", **({} if answered else {"text_as": "prompt"})))
    assert (by_seeds.error, by_data.error) == (None, None)
    one, other = (folder_of(job.result, tmp_path) / "adapter_model.safetensors" for job in (by_seeds, by_data))
    assert one.read_bytes() == other.read_bytes()


def test_seeds_are_waited_for_while_the_store_is_away(held, work, ask, seeded, monkeypatch):
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.01)
    seeds, tries, read = set(Companion.objects.values_list("blob", flat=True)), [], blobs.open

    def away_at_first(sha256, *args, **kwargs):
        if sha256 in seeds:
            tries.append(sha256)
            if len(tries) == 1:
                raise EndpointConnectionError(endpoint_url="http://store")
        return read(sha256, *args, **kwargs)

    monkeypatch.setattr(blobs, "open", away_at_first)
    job = work(ask(rows=5))
    assert (job.state, job.attempt, len(tries)) == (State.DONE, 1, 3)


def test_seeds_that_the_asker_does_not_see_are_not_read(held, ask, seeded, pair):
    stranger = factories.make_user("eve")
    asked = {"actor": stranger, "kind": "regmean", "inputs": pair, "output": ("eve", "merged"), "recipe": QUICK}
    report = asking.check_job(**asked)
    assert not report["ok"] and report["problems"][0]["code"] == "merge.no_data"
    assert all(str(version) in report["problems"][0]["message"] for version in pair)
    Companion.objects.filter(repository=pair[0].repository).update(visibility=Visibility.PUBLIC)
    report = asking.check_job(**asked)
    assert str(pair[1]) in report["problems"][0]["message"] and str(pair[0]) not in report["problems"][0]["message"]
    Companion.objects.update(visibility=Visibility.PUBLIC)
    report = asking.check_job(**asked)
    assert report["ok"] and f"7 of {pair[0]}, 7 of {pair[1]}" in " ".join(report["notes"])


def test_seeds_that_are_hidden_before_the_start_are_not_read(held, work, seeded, pair):
    Companion.objects.update(visibility=Visibility.PUBLIC)
    stranger = factories.make_user("eve")
    job = asking.queue_job(actor=stranger, kind="regmean", inputs=pair, output=("eve", "merged"), recipe=QUICK)
    Companion.objects.update(visibility=Visibility.PRIVATE)
    job = work(job)
    assert job.state == State.FAILED and job.error["code"] == "not_found"


def test_a_stopped_merge_goes_on_after_the_adapters_it_has_read(held, work, ask, datasets, worker, monkeypatch, fills):
    whole = work(ask(datasets=datasets)).result
    made = list(fills)
    fills.clear()
    for key in made:
        assert (worker.cache.root / key).is_dir()
        (worker.cache.root / key).rename(worker.cache.root / f"away-{key}")
    report, stopped = Attempt.progress, threading.Event()

    def stop_once(self, fraction, message="", **figures):
        report(self, fraction, message, **figures)
        if fraction >= 0.45 and not stopped.is_set():
            stopped.set()
            raise Stopping

    monkeypatch.setattr(Attempt, "progress", stop_once)
    job = ask(datasets=datasets)
    run(worker.claim(job.pk), worker)
    job.refresh_from_db()
    assert (job.state, stopped.is_set()) == (State.QUEUED, True)
    before = len(fills)
    job = work(job)
    assert job.state == State.DONE, job.error
    assert job.result == whole and sorted(fills) == sorted(made) and before in (0, 1)


@pytest.mark.parametrize(
    ("kind", "recipe"),
    [("lora-soups", {"steps": 2}), ("adamerging", {"steps": 2}), ("lorahub", {"evaluations": 3})],
)
def test_coefficients_are_learnt_on_one_text_for_all(held, work, ask, datasets, worker, tmp_path, kind, recipe):
    job = work(ask(kind, datasets[:1], rank=None, **recipe))
    assert (job.state, job.error) == (State.DONE, None)
    assert job.result.facts["ranks"] == [2, 6] and len(job.result.report["summary"]["coefficients"]) == 2
    assert str(datasets[0]) in (folder_of(job.result, tmp_path) / "README.md").read_text()
    assert not list(worker.cache.root.glob("learned-*"))


def test_a_cancelled_merge_stops_and_leaves_nothing(held, work, ask, datasets, worker, monkeypatch, owner):
    from hub.services.jobs.queue import cancel_job

    report = Attempt.progress
    job = ask(datasets=datasets)

    def cancel(self, fraction, message="", **figures):
        if not self.over.is_set():
            cancel_job(actor=owner, job=self.job)
            self.over.set()
        report(self, fraction, message, **figures)

    monkeypatch.setattr(Attempt, "progress", cancel)
    assert work(job).state == State.CANCELLED
    assert not Repository.objects.filter(name="merged").exists()


@pytest.mark.parametrize(
    ("count", "recipe", "error", "code"),
    [
        (0, {}, CompositionError, "merge.no_data"),
        (1, {}, CompositionError, "merge.no_data"),
        (2, {"split": "dev"}, Invalid, "invalid"),
        (2, {"weights": [1, -1]}, CompositionError, "recipe.invalid"),
        (2, {"rank": 40}, CompositionError, "recipe.invalid"),
    ],
)
def test_what_can_not_be_merged_is_refused_before_it_is_queued(ask, datasets, count, recipe, error, code):
    with pytest.raises(error) as refusal:
        ask(datasets=datasets[:count], **recipe)
    assert refusal.value.code == code


def test_more_datasets_than_adapters_and_rows_of_other_kinds_are_refused(ask, datasets, owner, pair):
    with pytest.raises(Invalid, match="one dataset for each adapter"):
        ask(datasets=[*datasets, datasets[0]])
    with pytest.raises(Invalid, match="one dataset for each adapter, in their order: 2, got 1"):
        ask(inputs=[pair[0], pair[0]], datasets=datasets[:1])
    repository = factories.make_repository(owner, "questions", kind="dataset")
    files = {"test.jsonl": b'{"context": "a", "question": "b", "answer": "c"}\n'}
    questions = factories.publish(owner, repository, files).version
    with pytest.raises(Invalid, match="prompt and completion, or text") as refusal:
        ask(datasets=[datasets[0], questions])
    assert refusal.value.code == "dataset.rows"


def test_the_dry_run_says_what_it_costs_and_who_may_see_it(owner, pair, datasets):
    asked = {"inputs": pair, "datasets": datasets, "output": ("ada", "made"), "recipe": QUICK}
    report = asking.check_job(actor=owner, kind="regmean", **asked)
    assert report["ok"] and report["rank"] == 3 and report["visibility"] == "public"
    assert report["seconds"] > 0 and report["memory"] > 0 and not report["notes"]
    Repository.objects.filter(name="two-data").update(visibility=Visibility.PRIVATE)
    for dataset in datasets:
        dataset.repository.refresh_from_db()
    assert asking.check_job(actor=owner, kind="regmean", **asked)["visibility"] == "private"
