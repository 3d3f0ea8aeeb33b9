"""From a corpus to a generator, from a text to an adapter: the rows, the bytes, what is kept and what is refused."""

import json

import pytest

from hub.models import Companion, JobFile, Origin, State
from hub.services import jobs
from tests.hub import factories
from tests.workers.conftest import write_base

pytestmark = pytest.mark.django_db(transaction=True)
DOCUMENTS = [" ".join(f"w{(n + i) % 4 + n}" for i in range(80)) for n in range(8)]
SMALL = {"windows": [8], "batch_tokens": 32, "steps": 6, "segments": 3, "holdout": 2, "measure_every": 3, "warmup": 1}
SIZES = {"inner": 12, "r": 10, "rank": 6, "alpha": 5.0}
TEXT = "w1 w2 w3 w4 w5 w6 w7 w8 w9"
OTHER = "w20 w21 w22 w23 w20 w21 w24"


def jsonl(rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def corpus(owner):
    repository = factories.make_repository(owner, "corpus", kind="dataset")
    files = {"train.jsonl": jsonl({"text": text} for text in DOCUMENTS)}
    return factories.publish(owner, repository, files).version


@pytest.fixture
def held(worker, base, tmp_path):
    """The pico base on the worker's disk."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    write_base(tmp_path / "bases" / "pico" / "llama", LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))


@pytest.fixture
def train(owner, base, corpus, held):
    def train(name="gen", **options):
        recipe = {**SMALL, **SIZES, **options.pop("recipe", {})}
        given = {"datasets": [corpus], "base": base, "output": ("ada", name), **options}
        return jobs.queue_job(actor=owner, kind="train-generator", recipe=recipe, **given)

    return train


@pytest.fixture
def generator(train, work):
    job = work(train())
    assert (job.state, job.error) == (State.DONE, None)
    return job.result


@pytest.fixture
def generate(owner, base, generator):
    def generate(text=TEXT, name="doc", **options):
        files = {} if text is None else {"context": text}
        given = {"base": base, "output": ("ada", name), "files": files, **options}
        recipe = {"dtype": "float32", "window": 8, **options.pop("recipe", {})}
        given["recipe"] = recipe
        return jobs.queue_job(actor=owner, kind="generate", **given)

    return generate


def factors_of(version):
    import torch
    from safetensors.torch import load

    from hub.services.manifest import manifest_of
    from hub.storage import blobs

    entry = manifest_of(version.revisions.get())["adapter_model.safetensors"]
    with blobs.open(entry.sha256) as stream:
        tensors = load(stream.read())
    stems = sorted(name.removesuffix(".lora_A.weight") for name in tensors if name.endswith("lora_A.weight"))
    return torch.stack([(tensors[f"{s}.lora_B.weight"] @ tensors[f"{s}.lora_A.weight"]).flatten() for s in stems])


def test_a_training_publishes_a_generator(generator, corpus, base):
    assert generator.repository.kind == "generator"
    assert (generator.origin, generator.base) == (Origin.TRAINED, base)
    assert generator.facts["adapter_rank"] == 6
    assert generator.report["summary"]["steps"] == 6
    assert "gap_completion" in generator.report["summary"]
    assert [row.parent for row in generator.parentage.all()] == [corpus]


def test_a_text_becomes_an_adapter_private_by_default(generate, work, generator, base):
    job = work(generate())
    assert (job.state, job.error) == (State.DONE, None)
    version = job.result
    assert (version.origin, version.repository.visibility, version.base) == (Origin.GENERATED, "private", base)
    assert [row.parent for row in version.parentage.all()] == [generator]
    (document,) = version.report["documents"]
    assert (document["tokens"], document["boundaries"]) == (9, [[0, 5], [5, 9]])
    assert "w1" not in json.dumps(version.report)
    assert not Companion.objects.filter(repository=version.repository).exists()
    assert list(JobFile.objects.filter(job=job).values_list("role", "blob")) == [("context", None)]
