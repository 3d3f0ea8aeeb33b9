"""Adapters join a stored mixture: experts keep their bits, gates what they learnt, earlier data come along."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from composition.errors import CompositionError
from hub.errors import Invalid
from hub.models import Repository, State
from hub.services.content.manifest import manifest_of
from tests.hub import asking, factories
from tests.workers.conftest import write_base
from workers.cache import Cache
from workers.kinds.assemble import _own_names

pytestmark = pytest.mark.django_db(transaction=True)
QUICK = {"steps": 3, "batch_size": 2, "split": "test", "top_k": 1}


@pytest.fixture
def held(worker, base, tmp_path):
    torch.manual_seed(0)
    return write_base(tmp_path / "bases" / "pico" / "llama", LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))


@pytest.fixture
def third(owner, base):
    return factories.make_version(owner, "third", base=base, seed=3)


def dataset(owner, name, **how):
    repository = factories.make_repository(owner, name, kind="dataset", **how)
    return factories.publish(owner, repository, factories.dataset_files(rows=12, choices=False)).version


@pytest.fixture
def datasets(owner):
    return [dataset(owner, f"{name}-data") for name in ("one", "two", "three")]


@pytest.fixture
def mixture(held, work, owner, pair, datasets):
    """Two trained experts, one of them for each token."""
    given = {"inputs": pair, "datasets": datasets[:2], "output": ("ada", "mix")}
    job = work(asking.queue_job(actor=owner, kind="meteora", recipe=QUICK, **given))
    assert job.state == State.DONE, job.error
    return job.result


def ask(actor, mixture, *others, kind="meteora", datasets=(), **recipe):
    return {
        "actor": actor,
        "kind": kind,
        "recipe": recipe,
        "inputs": [mixture, *others],
        "datasets": list(datasets),
        "output": (actor.username, "mix"),
    }


def folder_of(version, tmp_path):
    return Cache(tmp_path / "out", 10**9).folder(manifest_of(version.revisions.get()))


def test_an_adapter_joins_with_data_of_its_own_alone(mixture, third, work, owner, datasets, tmp_path):
    asked = ask(owner, mixture, third, datasets=datasets[2:], steps=2, batch_size=2)
    report = asking.check_job(**asked)
    assert report["ok"] and all(row["fits"] for row in report["inputs"]), report
    job = work(asking.queue_job(**asked))
    assert job.state == State.DONE, job.error
    assert [str(row.version) for row in job.inputs.filter(role="dataset")] == [str(data) for data in datasets]
    assert job.recipe["top_k"] == 1 and job.recipe["split"] == "test"
    grown = job.result
    assert grown.number == 2 and list(grown.report["training"]["data"]["tasks"]) == grown.report["routing"]["experts"]
    assert grown.report["routing"]["experts"] == ["ada/first@v1", "ada/second@v1", "ada/third@v1"]
    assert [str(row.parent) for row in grown.parentage.all()] == ["ada/mix@v1", "ada/third@v1"]
    before, after = (load_file(folder_of(v, tmp_path) / "adapter_model.safetensors") for v in (mixture, grown))
    for key, tensor in before.items():
        if key.endswith("_A"):
            assert after[key][: len(tensor)].equal(tensor)
        elif key.endswith("_gate"):
            assert len(after[key]) == len(tensor) + 1
    card = (folder_of(grown, tmp_path) / "README.md").read_text()
    assert "A mixture of 3 LoRAs" in card and "`ada/mix@v1`" in card


def test_smora_reads_the_earlier_texts_too(held, work, owner, pair, third, datasets):
    asked = {"actor": owner, "kind": "smora", "inputs": pair, "datasets": datasets[:1], "output": ("ada", "ranks")}
    first = work(asking.queue_job(**asked, recipe={"steps": 2, "batch_size": 2, "split": "test"}))
    grown = work(asking.queue_job(**ask(owner, first.result, third, kind="smora", datasets=datasets[1:2], steps=2)))
    assert grown.state == State.DONE, grown.error
    assert [str(row.version) for row in grown.inputs.filter(role="dataset")] == [
        "datasets/ada/one-data@v1",
        "datasets/ada/two-data@v1",
    ]


def test_who_can_not_read_the_earlier_data_gives_all(mixture, third, datasets, owner):
    Repository.objects.filter(kind="dataset", name="one-data").update(visibility="private")
    stranger = factories.make_user("mallory")
    own = [dataset(stranger, f"own-{n}") for n in range(3)]
    with pytest.raises(Invalid, match="you may not read them") as refused:
        asking.queue_job(**ask(stranger, mixture, third, datasets=own[:1]))
    assert "ada/first@v1, ada/second@v1, ada/third@v1" in refused.value.message
    assert "one-data" not in refused.value.message
    job = asking.queue_job(**ask(stranger, mixture, third, datasets=own))
    assert [row.version for row in job.inputs.filter(role="dataset")] == own


@pytest.mark.parametrize(
    ("kind", "recipe", "error", "words"),
    [
        ("smora", {"train": "router"}, CompositionError, "MeteoRA mixture"),
        ("meteora", {"train": "prototype"}, CompositionError, "was trained"),
        ("meteora", {"train": "router", "top_k": 4}, CompositionError, "more than the 3 adapters"),
    ],
)
def test_what_can_not_join_is_refused_before_it_is_queued(mixture, third, owner, datasets, kind, recipe, error, words):
    given = datasets[2:] if recipe["train"] == "router" else []
    with pytest.raises(error, match=words):
        asking.queue_job(**ask(owner, mixture, third, kind=kind, datasets=given, **recipe))


def test_two_mixtures_and_an_adapter_that_is_there_are_refused(mixture, pair, third, owner, datasets):
    with pytest.raises(Invalid, match="two mixtures can't be joined"):
        asking.queue_job(**ask(owner, third, mixture, datasets=datasets[:2]))
    with pytest.raises(CompositionError, match="was given more than once"):
        asking.queue_job(**ask(owner, mixture, pair[0], datasets=datasets[2:]))


def test_hidden_adapters_keep_apart():
    assert _own_names(["private adapter 2", "ada/a@v1"], ["private adapter 2"]) == ["private adapter 3", "ada/a@v1"]


def test_an_adapter_of_a_quantised_copy_joins_after_a_word(mixture, work, owner, base, datasets):
    copy = factories.make_base("pico/llama-bnb-4bit", derived_from=base, relation="quantized")
    small = factories.make_version(owner, "small", base_name=None, base=copy, seed=3)
    asked = ask(owner, mixture, small, datasets=datasets[2:], steps=2, batch_size=2)
    report = asking.check_job(**asked)
    assert not report["ok"] and "across_quantisations" in report["inputs"][1]["reason"]
    asked["recipe"]["across_quantisations"] = True
    assert asking.check_job(**asked)["ok"]
    job = work(asking.queue_job(**asked))
    assert (job.state, job.error) == (State.DONE, None)
    assert job.result.base == base and len(job.result.report["routing"]["experts"]) == 3
