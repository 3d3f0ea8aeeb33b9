"""What a merge lost, and the search of merges, on a pico base: which figures come of them, what is kept, what a kill
leaves, and that publishing a candidate gives the bytes that were measured."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from composition.judging.figures import Figures
from composition.recipes.base import Recipe
from hub.models import Evaluation, Job, State, Visibility
from hub.services.jobs.lease import LostLease
from tests.hub import asking, factories
from tests.workers.conftest import write_base
from workers.judging import bench as benches
from workers.runner import run

pytestmark = pytest.mark.django_db(transaction=True)
QUICK = {"metrics": ["nll", "choice"], "max_new_tokens": 2}


@pytest.fixture
def held(worker, base, tmp_path):
    """The pico base on the worker's disk."""
    torch.manual_seed(0)
    return write_base(tmp_path / "bases" / "pico" / "llama", LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))


@pytest.fixture
def tasks(owner):
    """Two datasets with choices, of unequal length."""
    made = []
    for name, rows in (("sums", 6), ("more", 9)):
        repository = factories.make_repository(owner, name, kind="dataset")
        made.append(factories.publish(owner, repository, factories.dataset_files(rows=rows, choices=True)).version)
    return made


@pytest.fixture
def merged(queue, work):
    return work(queue("svd", rank=4)).result


def ask(owner, kind, inputs, datasets=(), **recipe) -> Job:
    return asking.queue_job(actor=owner, kind=kind, recipe=recipe, inputs=inputs, datasets=datasets)


def test_a_merge_is_measured_beside_what_it_came_from(held, work, owner, pair, merged, tasks, base):
    job = work(ask(owner, "measure-merge", [merged], tasks, **QUICK))
    assert (job.state, job.error) == (State.DONE, None)
    assert [row.version for row in job.inputs.filter(role="adapter")] == [merged, *pair]
    told = job.outcome["loss"]
    assert [row["rows"] for row in told["tasks"]] == [6, 9]
    assert set(told["tasks"][0]["shares"]) == {"base", "input-0", "input-1", "mean", "merge"}
    kept = Evaluation.objects.order_by("pk")
    assert {(row.version, row.dataset) for row in kept} == {(v, d) for v in [None, *pair, merged] for d in tasks}
    # An evaluation by itself says the same of the same rows.
    for row in kept.filter(version__isnull=False):
        job = work(
            asking.queue_job(actor=owner, kind="evaluate", recipe=QUICK, inputs=[row.version], datasets=[row.dataset])
        )
        assert job.evaluation.hits == row.hits
        assert job.evaluation.metrics == pytest.approx(row.metrics)
        assert job.evaluation.recipe == row.recipe


def test_what_is_known_is_not_measured_again(held, work, owner, merged, tasks, monkeypatch):
    first = work(ask(owner, "measure-merge", [merged], tasks, **QUICK))
    count, asked = Evaluation.objects.count(), []
    measure = benches.Bench.measure

    def counted(self, model, *args, **more):
        found = measure(self, model, *args, **more)
        asked.append(sum(result is not None for result in found[0]))
        return found

    monkeypatch.setattr(benches.Bench, "measure", counted)
    again = work(ask(owner, "measure-merge", [merged], tasks, **QUICK))
    assert asked == [2], "the mean alone, which is no version"
    assert Evaluation.objects.count() == count
    assert again.outcome["loss"] == first.outcome["loss"]
    # Another limit is another measurement, and the datasets follow from what was measured.
    fewer = work(ask(owner, "measure-merge", [merged], limit=4, **QUICK))
    assert [row.version for row in fewer.inputs.filter(role="dataset")] == sorted(tasks, key=str)
    assert asked[1:] == [2] * 5


def test_private_inputs_are_named_nowhere_in_the_answer(held, work, owner, pair, merged, tasks):
    pair[0].repository.visibility = Visibility.PRIVATE
    pair[0].repository.save()
    job = work(ask(owner, "measure-merge", [merged], tasks, **QUICK))
    assert str(pair[0].repository.name) not in json.dumps(job.outcome)


SEARCH = {
    "methods": "svd,task-arithmetic",
    "ranks": [2, 4],
    "scales": [0.5, 1.0],
    "metric": "choice",
    "first_rows": 4,
    "rows": 8,
    "max_new_tokens": 2,
}


def test_a_search_tells_of_every_candidate_and_the_best_can_be_published(
    held, work, owner, pair, tasks, queue, monkeypatch, tmp_path
):
    files: dict[str, bytes] = {}
    attached = benches.Bench._attached

    def noted(self, folder, **more):
        weights = folder / "adapter_model.safetensors"
        files.setdefault(self.__dict__.get("now", ""), weights.read_bytes())
        return attached(self, folder, **more)

    merge = benches.Bench.merged

    def named(self, recipe: Recipe, rows):
        self.now = str(recipe.to_dict())
        return merge(self, recipe, rows)

    monkeypatch.setattr(benches.Bench, "_attached", noted)
    monkeypatch.setattr(benches.Bench, "merged", named)
    job = work(ask(owner, "merge-search", pair, tasks, **SEARCH))
    assert (job.state, job.error) == (State.DONE, None)
    told = job.outcome["search"]
    candidates = {name: row for name, row in told["arms"].items() if "recipe" in row}
    assert [row["label"] for row in candidates.values()] == [
        "svd rank 2",
        "svd rank 4",
        *[f"task-arithmetic rank {rank} scale {scale:g}" for rank in (2, 4) for scale in (0.5, 1.0)],
    ]
    assert told["rounds"] == [4, 8]
    assert set(told["arms"]) - set(candidates) == {"base", "input-0", "input-1", "mean"}
    best = told["arms"][told["best"]]
    assert best["front"]
    published = work(
        asking.queue_job(
            actor=owner, kind=best["recipe"]["kind"], recipe=best["recipe"], inputs=pair, output=("ada", "best")
        )
    ).result
    from tests.workers.test_merging import files_of

    assert (files_of(published, tmp_path) / "adapter_model.safetensors").read_bytes() == files[str(published.recipe)], (
        "same recipe, same inputs: the bytes that were measured"
    )


def test_a_search_that_was_killed_goes_on_and_ends_alike(held, worker, work, owner, pair, tasks, monkeypatch):
    whole = work(ask(owner, "merge-search", pair, tasks, **SEARCH)).outcome["search"]
    job, asked, measure = ask(owner, "merge-search", pair, tasks, **SEARCH), [], benches.Bench.measure

    def dies(self, model, *args, **more):
        if len(asked) == 5:
            asked.append("death")
            raise LostLease("the worker was killed")
        asked.append(args)
        return measure(self, model, *args, **more)

    monkeypatch.setattr(benches.Bench, "measure", dies)
    run(worker.claim(job.pk), worker)
    Job.objects.filter(pk=job.pk).update(state=State.QUEUED, lease_until=None)
    done = work(job)
    assert (done.state, done.error) == (State.DONE, None)

    def without_times(table):
        return {
            name: {k: v for k, v in row.items() if k not in ("made", "front")} for name, row in table["arms"].items()
        }

    assert without_times(done.outcome["search"]) == without_times(whole)
    rounds = sum(row["rounds"] for name, row in whole["arms"].items() if "recipe" in row)
    assert len(asked) - 1 == rounds + 4, "each candidate once a round, each arm beside them once"
    assert not list(worker.cache.root.glob("merge-search-*")), "nothing is left of it"


def test_figures_are_read_back_as_they_were_kept(tmp_path):
    from workers.judging.store import FiguresOnDisk

    found = Figures.of({"made": 1.5, "tasks": [{"hits": "01", "losses": [0.1, 0.2], "tokens": [1, 2]}]})
    FiguresOnDisk(tmp_path).put("0", found)
    assert FiguresOnDisk(tmp_path).get("0") == found
    assert FiguresOnDisk(tmp_path).get("1") is None


@pytest.fixture
def unlike(owner):
    """A dataset for each of two adapters, with rows of its own; the second has one row twice, in both splits."""
    made = []
    for name, first in (("low", 0), ("high", 40)):
        rows = [{"prompt": f"{n} + 1 =", "completion": f" {n + 1}"} for n in range(first, first + 20)]
        rows = [{**row, "choices": [row["completion"], " w1"]} for row in rows]
        files = {"validation.jsonl": rows[:8] + rows[8:9] * (name == "high"), "train.jsonl": rows[8:]}
        repository = factories.make_repository(owner, name, kind="dataset")
        written = {path: "".join(json.dumps(row) + "\n" for row in told).encode() for path, told in files.items()}
        made.append(factories.publish(owner, repository, written).version)
    return made


READ = {"methods": "svd,regmean", "ranks": [2], "scales": [1.0, 1.4], "metric": "choice", "max_new_tokens": 2}
READ |= {"first_rows": 4, "rows": 8}


@pytest.mark.parametrize("own_text", [False, True])
def test_a_search_reads_each_text_once_judges_on_no_row_of_it_and_publishes_the_same_bytes(
    held, work, owner, pair, unlike, monkeypatch, tmp_path, own_text
):
    from composition.merging.calibrated import inputs as grams
    from tests.workers.test_merging import files_of

    read, judged, files = [], [], {}
    gather, measure, attach = grams.Inputs.grams, benches.Bench.measure, benches.Bench._attached
    merge = benches.Bench.merge

    def reading(self, adapter, text, *args, **more):
        read.append(text.digest())
        return gather(self, adapter, text, *args, **more)

    def measuring(self, *args, **more):
        judged.extend(row["prompt"] for rows in self.rows for row in rows)
        return measure(self, *args, **more)

    def merging(self, recipe, *args):
        self.now = str(recipe.to_dict())
        return merge(self, recipe, *args)

    def attaching(self, folder, **more):
        files.setdefault(getattr(self, "now", ""), (folder / "adapter_model.safetensors").read_bytes())
        return attach(self, folder, **more)

    monkeypatch.setattr(grams.Inputs, "grams", reading)
    monkeypatch.setattr(benches.Bench, "measure", measuring)
    monkeypatch.setattr(benches.Bench, "merge", merging)
    monkeypatch.setattr(benches.Bench, "_attached", attaching)
    data, more = (unlike[:1] + unlike, {"text_sets": 2}) if own_text else (unlike, {})
    job = work(ask(owner, "merge-search", pair, data, **READ, **more))
    assert (job.state, job.error) == (State.DONE, None)
    told = job.outcome["search"]["arms"]
    found = [row for row in told.values() if row.get("label", "").startswith("regmean")]
    assert [row["label"] for row in found] == ["regmean rank 2 scale 1", "regmean rank 2 scale 1.4"]
    assert len(read) == 2, "two candidates, some of them in two rounds, and each text read once"
    texts = {f"{n} + 1 =" for n in [*range(8, 20), *range(48, 60)]}
    assert judged and not set(judged) & texts, "not even the row that stands in both splits"

    best = found[1]
    assert best["reads"] == ([1, 2] if own_text else [0, 1])
    published = work(
        asking.queue_job(
            actor=owner,
            kind="regmean",
            recipe=best["recipe"],
            inputs=pair,
            datasets=[data[place] for place in best["reads"]],
            output=("ada", "best"),
        )
    )
    assert (published.state, published.error) == (State.DONE, None)
    weights = files_of(published.result, tmp_path) / "adapter_model.safetensors"
    assert weights.read_bytes() == files[str(published.result.recipe)]
    assert len(read) == 2, "the job of the best reads nothing again"


def test_a_search_whose_every_row_is_read_says_so(held, work, owner, pair, tasks):
    job = work(ask(owner, "merge-search", pair, [*tasks, *tasks], **READ, text_sets=2))
    assert job.state == State.FAILED
    assert job.error["code"] == "search.all_read" and "sums" in job.error["message"]


def test_the_dry_run_says_which_text_is_read_for_which_adapter_and_what_it_costs(owner, pair, unlike, base):
    def told(datasets=unlike, **recipe):
        return asking.check_job(actor=owner, kind="merge-search", recipe=recipe, inputs=pair, datasets=datasets)

    found = told(ranks=[2])
    assert found["ok"], found["problems"]
    assert int(found["notes"][0].partition(" candidates")[0]) <= 24
    assert f"{unlike[0]} for {pair[0]}, {unlike[1]} for {pair[1]}" in found["notes"][1]
    beside = told([unlike[1], *unlike], ranks=[2], text_sets=2)
    assert f"{unlike[0]} for {pair[0]}, {unlike[1]} for {pair[1]}" in beside["notes"][1] and beside["seconds"]
    without = told(ranks=[2], text_rows=0)
    assert "regmean is left out: It reads text, and no rows of text were asked for." in without["notes"]
    assert found["seconds"] > without["seconds"] and found["memory"] > without["memory"]
    assert told(ranks=[2], grid="full")["seconds"] > found["seconds"]
