"""From a corpus to a generator: what is published, a training that is stopped and resumed, and unsuitable data."""

import json

import pytest
import torch

from composition.errors import CompositionError
from hub.errors import Invalid
from hub.models import Job, Origin, State
from hub.services.content.manifest import manifest_of
from hub.storage import blobs
from tests.hub import asking, factories
from tests.stability.margins import at_most
from tests.workers.conftest import write_base
from workers.attempt import Attempt, Stopping

pytestmark = pytest.mark.django_db(transaction=True)
DOCUMENTS = [" ".join(f"w{(n + i) % 4 + n}" for i in range(80)) for n in range(8)]
QUESTIONS = [{"context": DOCUMENTS[n], "question": f"w{n} =", "answer": f"w{n + 1}"} for n in range(4)]
SMALL = {"windows": [8], "batch_tokens": 32, "steps": 6, "segments": 3, "holdout": 2, "measure_every": 3, "warmup": 1}
SIZES = {"inner": 12, "r": 10, "rank": 6, "alpha": 5.0}


def jsonl(rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def make_dataset(owner, name, **splits):
    repository = factories.make_repository(owner, name, kind="dataset")
    return factories.publish(
        owner, repository, {f"{split}.jsonl": jsonl(rows) for split, rows in splits.items()}
    ).version


@pytest.fixture
def corpus(owner):
    return make_dataset(owner, "corpus", train=[{"text": text} for text in DOCUMENTS])


def card_of(version) -> str:
    with blobs.open(manifest_of(version.revisions.get())["README.md"].sha256) as stream:
        return stream.read().decode()


@pytest.fixture
def held(worker, base, tmp_path):
    """The pico base on the worker's disk."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    write_base(tmp_path / "bases" / "pico" / "llama", LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))


@pytest.fixture
def train(owner, base, corpus):
    def train(name="gen", **options):
        recipe = {**SMALL, **SIZES, **options.pop("recipe", {})}
        given = {"datasets": [corpus], "base": base, "output": ("ada", name), **options}
        return asking.queue_job(actor=owner, kind="train-generator", recipe=recipe, **given)

    return train


@pytest.mark.trained
def test_two_processes_publish_the_same_curve(held, train, work, settings):
    alone = work(train("alone")).result.report["summary"]
    settings.TRAINING_PROCESSES = 2
    together = work(train("together")).result.report["summary"]
    assert together.keys() == alone.keys()
    apart = [abs(together[name] / alone[name] - 1) for name in alone if alone[name]]
    at_most(max(apart), 1e-2, "relative difference of a figure")


def test_a_training_publishes_a_generator(held, train, work, corpus, base):
    job = work(train())
    assert (job.state, job.error) == (State.DONE, None)
    version = job.result
    assert (version.repository.kind, version.origin, version.base) == ("generator", Origin.TRAINED, base)
    assert (version.facts["adapter_rank"], version.repository.rank) == (6, 6)
    assert version.report["summary"]["steps"] == 6
    assert "gap_completion" in version.report["summary"]
    assert [row.parent for row in version.parentage.all()] == [corpus]


def test_a_stopped_training_goes_on_and_ends_with_the_same_bytes(held, train, work, worker, monkeypatch):
    whole = work(train("whole")).result
    job, real = train("halted"), Attempt.progress

    def stopping(attempt, fraction, message="", **figures):
        real(attempt, fraction, message, **figures)
        if message.startswith("Step 4"):
            raise Stopping

    monkeypatch.setattr(Attempt, "progress", stopping)
    assert work(job).state == State.QUEUED
    monkeypatch.setattr(Attempt, "progress", real)
    assert (worker.cache.root / f"generator-{job.pk}").is_dir()
    steps = []
    monkeypatch.setattr(Attempt, "progress", lambda *args, **_: steps.append(args[2]))
    done = work(job)
    assert (done.state, done.error) == (State.DONE, None)
    assert not any(step.startswith("Step 4") for step in steps)
    assert done.result.content_digest == whole.content_digest
    files = [manifest_of(version.revisions.get()) for version in (whole, done.result)]
    for name in ("generator.safetensors", "generator_config.json"):
        assert files[0][name] == files[1][name]
    assert not (worker.cache.root / f"generator-{job.pk}").exists()


def test_a_private_corpus_makes_a_private_generator(held, train, work, corpus):
    corpus.repository.visibility = "private"
    corpus.repository.save(update_fields=["visibility"])
    assert work(train()).result.repository.visibility == "private"


def test_questions_are_learnt_on_top(held, train, work, owner, base):
    start = work(train()).result
    asked = {"datasets": [make_dataset(owner, "asked", train=QUESTIONS)], "recipe": {"stage": "questions"}}
    with pytest.raises(CompositionError) as refusal:
        train("answers", **asked)
    assert refusal.value.code == "train.no_start"
    job = work(train("answers", **asked, others={"generator": start}))
    assert (job.state, job.error) == (State.DONE, None)
    assert start in [row.parent for row in job.result.parentage.all()]
    tokens = start.report["summary"]["tokens"]
    assert f"- {tokens:,} tokens in 6 steps before that" in card_of(job.result)
    assert "before that" not in card_of(start)


def test_a_base_none_named_is_the_starts(train, base, owner):
    start = factories.make_generator(owner, "start", base=base)
    assert train(base=None, others={"generator": start}).base == base
    with pytest.raises(Invalid, match="Give the base"):
        train(base=None)


def test_a_trained_generator_writes_adapters_at_once(held, train, work, owner, base):
    work(train())
    job = asking.queue_job(
        actor=owner,
        kind="generate",
        recipe={"window": 32},
        base=base,
        output=("ada", "doc"),
        files={"context": DOCUMENTS[0]},
    )
    assert work(job).result.parentage.get().parent.repository.name == "gen"


def test_data_of_another_kind_are_refused(train, owner, base):
    prompts = make_dataset(owner, "prompts", train=[{"prompt": "a", "completion": "b"}])
    for datasets, match in (
        ([], "Give datasets"),
        ([prompts], "no split of text"),
        ([factories.make_version(owner, "plain", base=base)], "give datasets"),
    ):
        with pytest.raises(Invalid, match=match):
            train(datasets=datasets)
    with pytest.raises(CompositionError) as refusal:
        train(recipe={"holdout": 20})
    assert refusal.value.code == "train.few_documents"
    assert not Job.objects.exists()


def test_an_evaluation_needs_prompts_not_texts(owner, base, corpus):
    with pytest.raises(Invalid, match="needs prompt and completion"):
        asking.queue_job(actor=owner, kind="evaluate", recipe={"split": "train"}, datasets=[corpus], base=base)


def test_a_generator_does_not_go_into_an_adapters_repository(train, owner, base):
    factories.make_version(owner, "plain", base=base)
    with pytest.raises(Invalid, match="is an adapter; the result is a generator"):
        train("plain")
