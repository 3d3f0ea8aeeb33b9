"""A worker in this process, without Celery, and one in a process of its own, with it."""

import uuid
from pathlib import Path

import pytest
import torch

from hub import broker, progress
from hub.models import Job
from tests.hub import asking, factories
from workers.runner import run
from workers.worker import Worker

NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def one_thread(settings):
    settings.WORKER_THREADS = 1
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def broker_away(settings):
    """No broker, unless a test brings one: every promise here has to hold without."""
    use_redis(settings, NOBODY)
    yield
    use_redis(settings, NOBODY)


def use_redis(settings, url: str) -> None:
    settings.REDIS_URL = url
    broker.producer.cache_clear()
    broker.client.cache_clear()
    broker._away_until = 0.0
    progress._away_until = 0.0


@pytest.fixture
def worker(db, settings, tmp_path) -> Worker:
    """A worker with an empty cache and no bases, whose heartbeat doesn't run."""
    settings.WORKER_CACHE = tmp_path / "cache"
    settings.WORKER_BASES = str(tmp_path / "bases")
    return Worker(f"here-{uuid.uuid4().hex[:6]}", [broker.CPU])


@pytest.fixture
def owner(db):
    return factories.make_user("ada")


@pytest.fixture
def base(db):
    return factories.make_base()


@pytest.fixture
def pair(owner, base):
    """Two adapters of one base: different ranks, targets and licences."""
    card = "---\nlicense: {}\n---\n# A card\n"
    first = factories.make_version(owner, "first", base=base, seed=1, card=card.format("mit"))
    second = factories.make_version(
        owner, "second", base=base, seed=2, rank=2, targets=("q_proj", "down_proj"), card=card.format("mit")
    )
    return [first, second]


@pytest.fixture
def queue(owner, pair):
    """Queue a merge of the pair: `queue("lego", rank=4)`."""

    def queue(kind: str = "lego", *, output: str = "merged", inputs=None, **recipe) -> Job:
        return asking.queue_job(
            actor=owner, kind=kind, recipe=recipe, inputs=inputs or pair, output=(owner.username, output)
        )

    return queue


@pytest.fixture
def work(worker):
    """Claim a job and run it to its end in this process; returns its row afterwards."""

    def work(job: Job) -> Job:
        claimed = worker.claim(job.pk)
        assert claimed is not None, "there was nothing to claim"
        run(claimed, worker)
        return Job.objects.get(pk=job.pk)

    return work


def write_base(folder: Path, model, *, chat: bool = False) -> Path:
    """Save a pico model with a tokenizer of 64 made-up words, as a worker finds a base."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", "<unk>", *"0123456789+=", *(f"w{n}" for n in range(48))]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
