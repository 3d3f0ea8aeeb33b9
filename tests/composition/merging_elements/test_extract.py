"""A LoRA out of a fine-tuned model: against a dense SVD of each difference, and by PEFT's own reading of it."""

import json

import pytest
import torch
from click.testing import CliRunner
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from composition.formats import read_adapter
from composition.merged_model import extract
from composition.merged_model.extract import extract_lora
from composition.merged_model.refusal import ExportRefused
from hubctl.commands.extract import extract_command
from tests import pico
from tests.composition.merging_elements.references import best
from tests.composition.random_adapters import relative


def models(tmp_path, make=pico.pico_llama, dtype=torch.float32, rank=None, touch=None):
    """(base folder, tuned folder, {module: ΔW as stored}): every matrix of the layers moves, by a rank or fully."""
    model = make().to(dtype)
    model.save_pretrained(tmp_path / "base", max_shard_size="40KB")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    g = torch.Generator().manual_seed(1)
    for name, p in model.named_parameters():
        if p.ndim == 2 and ("layers" in name or ".h." in name):
            step = torch.randn(p.shape, generator=g)
            if rank:
                step = torch.randn(p.shape[0], rank, generator=g) @ torch.randn(rank, p.shape[1], generator=g)
            p.data += (0.01 * step).to(dtype)
    if touch:
        touch(model)
    model.save_pretrained(tmp_path / "tuned", max_shard_size="60KB")
    moved = {n: (p.detach().double() - before[n].double()) for n, p in model.named_parameters()}
    deltas = {n.removesuffix(".weight"): d for n, d in moved.items() if d.ndim == 2 and float(d.norm()) > 0}
    return tmp_path / "base", tmp_path / "tuned", deltas


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_each_module_is_the_best_of_its_rank_and_its_error_is_said(tmp_path, dtype, monkeypatch):
    monkeypatch.setattr(extract, "BLOCK", 1000)
    monkeypatch.setattr(extract, "GAIN", 1e-13)
    base, tuned, deltas = models(tmp_path, dtype=dtype)
    told = extract_lora(base, tuned, tmp_path / "lora", rank=3)
    made = read_adapter(tmp_path / "lora")
    assert set(made) == set(deltas) == set(told["modules"])
    for module, delta in deltas.items():
        want = best(delta, 3)
        assert relative(made[module].delta(), want) < 1e-4
        row = told["modules"][module]
        assert row["norm"] == pytest.approx(float(delta.norm()), rel=1e-5)
        assert row["error"] == pytest.approx(relative(want, delta), rel=1e-4)
    whole = sum(float(d.norm()) ** 2 for d in deltas.values()) ** 0.5
    lost = sum(float((best(d, 3) - d).norm()) ** 2 for d in deltas.values()) ** 0.5
    assert told["error"] == pytest.approx(lost / whole, rel=1e-4)
    assert told["notes"] == []


@pytest.mark.parametrize("make", [pico.pico_llama, pico.pico_gpt2])
def test_base_and_lora_by_peft_are_the_tuned_model(tmp_path, make):
    base, tuned, _ = models(tmp_path, make, rank=2)
    extract_lora(base, tuned, tmp_path / "lora", rank=2, base_name="pico/none")
    with torch.no_grad():
        own = AutoModelForCausalLM.from_pretrained(tuned)(pico.tokens()).logits
        plain = AutoModelForCausalLM.from_pretrained(base)
        before = plain(pico.tokens()).logits
        with_lora = PeftModel.from_pretrained(plain, str(tmp_path / "lora"))(pico.tokens()).logits
    assert relative(with_lora, own) < 1e-4 < relative(before, own)
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["task_type"]) == ("pico/none", "CAUSAL_LM")


def test_energy_takes_the_least_rank_that_keeps_it(tmp_path):
    base, tuned, deltas = models(tmp_path, rank=3)
    told = extract_lora(base, tuned, tmp_path / "lora", rank=8, energy=0.8)
    made = read_adapter(tmp_path / "lora")
    for module, delta in deltas.items():
        squares = torch.linalg.svdvals(delta).square()
        need = int((squares.cumsum(0) < 0.8 * squares.sum()).sum()) + 1
        assert told["modules"][module]["rank"] == made[module].rank == need
        assert relative(made[module].delta(), best(delta, need)) < 1e-3
    assert len({row["rank"] for row in told["modules"].values()}) > 1
    assert relative(pico.peft_logits(tmp_path / "lora"), pico.delta_logits({m: made[m].delta() for m in made})) < 1e-5


def test_what_a_lora_cannot_carry_is_named(tmp_path):
    def touch(model):
        model.model.norm.weight.data += 1
        model.model.embed_tokens.weight.data[0] += 1

    base, tuned, _ = models(tmp_path, touch=touch)
    told = extract_lora(base, tuned, tmp_path / "lora", rank=2, modules=["q_proj"])
    assert {m.rpartition(".")[2] for m in told["modules"]} == {"q_proj"}
    assert "model.embed_tokens.weight" in told["notes"][0] and "modules that weren't asked for" in told["notes"][0]
    told = extract_lora(base, tuned, tmp_path / "all", rank=2)
    assert "model.embed_tokens.weight, model.norm.weight." in told["notes"][0]


def test_refusals(tmp_path):
    base, tuned, _ = models(tmp_path)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "x").write_text("x")
    for code, words, call in (
        ("same", "so there is nothing to extract", lambda o: extract_lora(base, base, o)),
        ("folder", "is there already", lambda o: extract_lora(base, tuned, taken)),
        ("rank", "expected 1 or more", lambda o: extract_lora(base, tuned, o, rank=0)),
        ("rank", "more than 0, at most 1", lambda o: extract_lora(base, tuned, o, energy=1.5)),
        ("not_in_base", "among nothing", lambda o: extract_lora(base, tuned, o, modules=["nothing"])),
        ("base", "holds no base", lambda o: extract_lora(taken, tuned, o)),
    ):
        with pytest.raises(ExportRefused) as refused:
            call(tmp_path / "out")
        assert refused.value.code == f"export.{code}", refused.value.message
        if code != "base":
            assert words in refused.value.message
        assert not (tmp_path / "out").exists()


def test_a_difference_that_is_not_finite_is_refused(tmp_path):
    base, tuned, _ = models(tmp_path)
    file = next(p for p in sorted(tuned.glob("*.safetensors")) if any("q_proj" in n for n in load_file(p)))
    tensors = load_file(file)
    next(t for n, t in tensors.items() if "q_proj" in n)[0, 0] = float("nan")
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ExportRefused, match="NaN or infinite"):
        extract_lora(base, tuned, tmp_path / "out")


def test_a_change_beyond_half_precision_is_refused_in_it(tmp_path):
    base, tuned, _ = models(tmp_path, touch=lambda model: model.model.layers[0].mlp.up_proj.weight.data.mul_(1e14))
    with pytest.raises(ExportRefused, match="up_proj has changed by more than F16 can hold"):
        extract_lora(base, tuned, tmp_path / "lora", rank=2, dtype="F16")
    assert not (tmp_path / "lora").exists()
    assert extract_lora(base, tuned, tmp_path / "lora", rank=2)["rank"] == 2


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base, tuned, deltas = models(tmp_path)
    args = [str(base), str(tuned), "--rank", "2", "--modules", "q_proj,v_proj", "--dtype", "bf16"]
    run = CliRunner().invoke(extract_command, args)
    assert run.exit_code == 0, run.output
    made = read_adapter(tmp_path / "tuned-lora")
    assert made.dtype == torch.bfloat16
    assert set(made) == {m for m in deltas if m.endswith(("q_proj", "v_proj"))}
    assert f"{len(made)} modules, rank 2" in run.output and "left out of the change" in run.output
    again = CliRunner().invoke(extract_command, args)
    assert again.exit_code != 0
