"""Assemblies from the row to a folder that peft loads after one import; data, refusals, a stop in the middle."""

import json
import threading

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM

from composition.errors import CompositionError
from hub.errors import Invalid
from hub.models import Evaluation, Origin, Repository, State
from hub.services.content.manifest import manifest_of
from tests.hub import asking, factories
from tests.workers.conftest import write_base
from workers.attempt import Stopping
from workers.cache import Cache

pytestmark = pytest.mark.django_db(transaction=True)
QUICK = {"steps": 3, "batch_size": 2, "split": "test"}


@pytest.fixture
def held(worker, base, tmp_path):
    """The pico base on the worker's disk."""
    torch.manual_seed(0)
    return write_base(tmp_path / "bases" / "pico" / "llama", LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))


@pytest.fixture
def datasets(owner):
    made = []
    for name in ("one", "two"):
        repository = factories.make_repository(owner, f"{name}-data", kind="dataset")
        made.append(factories.publish(owner, repository, factories.dataset_files(rows=12, choices=False)).version)
    return made


@pytest.fixture
def ask(owner, pair):
    """Queue an assembly of the pair."""

    def ask(kind="meteora", datasets=(), inputs=None, **recipe):
        given = {"inputs": pair if inputs is None else inputs, "datasets": datasets, "output": ("ada", "mix")}
        return asking.queue_job(actor=owner, kind=kind, recipe=recipe, **given)

    return ask


def folder_of(version, tmp_path):
    return Cache(tmp_path / "out", 10**9).folder(manifest_of(version.revisions.get()))


def run_by_peft(folder) -> torch.Tensor:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)).eval()
    import composition.moe.lora_moe_peft  # noqa: F401

    with torch.no_grad():
        before = model(torch.arange(3, 11)[None]).logits
        after = PeftModel.from_pretrained(model, str(folder)).eval()(torch.arange(3, 11)[None]).logits
    assert not torch.allclose(before, after, atol=1e-4)
    return after


@pytest.mark.parametrize(
    ("kind", "count", "recipe"),
    [
        ("meteora", 2, QUICK),
        ("smora", 1, QUICK),
        ("meteora", 0, {"train": "prototype"}),
        ("smora", 0, {"train": "prototype"}),
    ],
)
def test_an_assembly_is_published_loaded_and_measured(held, work, ask, datasets, tmp_path, kind, count, recipe, owner):
    job = work(ask(kind, datasets[:count], **recipe))
    assert (job.state, job.error) == (State.DONE, None)
    version = job.result
    assert version.origin == Origin.ASSEMBLED
    assert version.facts["peft_type"] == kind.upper()
    assert version.facts["ranks"] == [2, 6]
    folder = folder_of(version, tmp_path)
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "lora_moe_peft.py",
        "router.json",
    }
    run_by_peft(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert [expert["name"] for expert in config["experts"]] == ["ada/first@v1", "ada/second@v1"]
    assert all(len(expert["sha256"]) == 64 for expert in config["experts"])
    if count:
        shares = next(iter(version.report["routing"]["tasks"].values()))["shares"]
        assert sum(shares) == pytest.approx(1, abs=1e-3)
    measured = work(
        asking.queue_job(
            actor=owner, kind="evaluate", recipe={"metrics": ["nll"]}, inputs=[version], datasets=[datasets[0]]
        )
    )
    assert (measured.state, measured.error) == (State.DONE, None)
    assert Evaluation.objects.get().version == version


def test_a_stopped_training_goes_on_to_the_same_bytes(held, work, ask, datasets, worker, monkeypatch):
    whole = work(ask(datasets=datasets, **QUICK)).result
    job = ask(datasets=datasets, **QUICK)
    claimed = worker.claim(job.pk)
    from workers.attempt import Attempt

    report, stopped = Attempt.progress, threading.Event()

    def stop_once(self, fraction, message="", **figures):
        report(self, fraction, message, **figures)
        if message.startswith("Step 2") and not stopped.is_set():
            stopped.set()
            raise Stopping

    monkeypatch.setattr(Attempt, "progress", stop_once)
    from workers.runner import run

    run(claimed, worker)
    job.refresh_from_db()
    assert (job.state, stopped.is_set()) == (State.QUEUED, True)
    job = work(job)
    assert job.state == State.DONE, job.error
    # The same bytes are no new version.
    assert job.result == whole


@pytest.mark.parametrize(
    ("kind", "count", "recipe", "error", "code"),
    [
        ("meteora", 0, {}, CompositionError, "assemble.no_data"),
        ("meteora", 1, {"split": "test"}, CompositionError, "assemble.no_data"),
        ("smora", 0, {}, CompositionError, "assemble.no_data"),
        ("meteora", 2, {"split": "dev"}, Invalid, "invalid"),
        ("meteora", 2, {"train": "prototype"}, Invalid, "invalid"),
        ("meteora", 2, {"top_k": 3, "split": "test"}, CompositionError, "recipe.invalid"),
    ],
)
def test_what_can_not_be_assembled_is_refused_before_it_is_queued(ask, datasets, kind, count, recipe, error, code):
    with pytest.raises(error) as refusal:
        ask(kind, datasets[:count], **recipe)
    assert refusal.value.code == code
    assert not Repository.objects.filter(name="mix").exists()


def test_one_adapter_is_no_mixture(ask, pair):
    with pytest.raises(Invalid, match="at least 2"):
        ask(inputs=pair[:1], train="prototype")


def test_adapters_of_another_base_are_no_experts(ask, owner, pair):
    other = factories.make_version(owner, "far", base=factories.make_base("pico/other"), base_name="pico/other")
    with pytest.raises(Invalid, match=r"far.*pico/other") as refusal:
        ask(inputs=[pair[0], other], train="prototype")
    assert refusal.value.code == "merge.bases_differ"
    assert not Repository.objects.filter(name="mix").exists()


@pytest.mark.parametrize("odd", ["dora", "modules_to_save"])
def test_an_adapter_that_needs_its_base_is_no_expert(ask, owner, base, pair, odd):
    tensors = factories.adapter_tensors()
    if odd == "dora":
        config = {"use_dora": True}
        for name in [name for name in tensors if "lora_B" in name]:
            tensors[name.replace("lora_B.weight", "lora_magnitude_vector")] = abs(tensors[name]).sum(1)
    else:
        config = {"modules_to_save": ["lm_head"]}
        head = [factories.PICO_CONFIG[size] for size in ("vocab_size", "hidden_size")]
        tensors["base_model.model.lm_head.weight"] = np.ones(head, np.float32)
    version = factories.make_version(owner, odd, base=base, config=config, tensors=tensors)
    with pytest.raises(CompositionError, match="can't be assembled") as refusal:
        ask(inputs=[pair[0], version], train="prototype")
    assert (refusal.value.code, refusal.value.facts["needs_base"][0]["code"]) == ("assemble.needs_base", odd)
    assert not Repository.objects.filter(name="mix").exists()


def test_more_datasets_than_adapters_are_refused(ask, datasets):
    with pytest.raises(Invalid, match="one dataset for each adapter"):
        ask(datasets=[*datasets, datasets[0]], split="test")


def test_quantised_relatives_are_assembled_after_a_word(held, work, ask, base, pair, owner):
    copy = factories.make_base("pico/llama-bnb-4bit", derived_from=base, relation="quantized")
    small = factories.make_version(owner, "small", base_name=None, base=copy, seed=3)
    for inputs in ([pair[0], small], [small, pair[0]]):
        with pytest.raises(Invalid, match="--across-quantisations") as refused:
            ask("smora", inputs=inputs, train="prototype")
        assert refused.value.code == "merge.bases_differ"
        job = work(ask("smora", inputs=inputs, train="prototype", across_quantisations=True))
        assert (job.state, job.error) == (State.DONE, None)
        assert job.result.base == base, "the mixture is for the base that is not quantised"
    far = factories.make_version(owner, "far", base_name=None, base=factories.make_base("pico/far"), seed=4)
    with pytest.raises(Invalid, match="they need one base"):
        ask("smora", inputs=[pair[0], far], train="prototype", across_quantisations=True)
