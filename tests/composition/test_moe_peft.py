"""Mixtures through the tools people use: PEFT and transformers load, save, switch, generate and refuse to merge."""

import copy
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from composition.moe import lora_moe_peft as moe
from tests import pico
from tests.composition.moe_layers import experts

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"]
CONFIGS = {
    "meteora": lambda **more: moe.MeteoraConfig(**{"top_k": 2, **settings(), **more}),
    "smora": lambda **more: moe.SmoraConfig(**{"activate_r": 5, **settings(), **more}),
}
KINDS = pytest.mark.parametrize("kind", CONFIGS)


def settings():
    module = "model.layers.1.self_attn.q_proj"
    return {
        "experts": experts(),
        "target_modules": [name for name, _ in pico.pico_llama().named_modules() if name.endswith(tuple(TARGETS))],
        "task_type": "CAUSAL_LM",
        "rank_pattern": {module: [2, 0, 3]},
        "scale_pattern": {module: [1.0, 1.0, 4.0]},
    }


def randomised(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if any(part in name for part in ("meteora_", "smora_")):
            strength = 0.01 if "bias" in name else 0.3
            tensor.data.copy_(torch.randn(tensor.shape, generator=generator) * strength)
    return model.eval()


@pytest.fixture
def saved(request, tmp_path):
    """(folder, logits of the model that was saved)."""
    kind = request.getfixturevalue("kind")
    model = randomised(get_peft_model(pico.pico_llama(), CONFIGS[kind]()))
    model.save_pretrained(tmp_path / "mixture")
    return tmp_path / "mixture", logits(model)


def logits(model, **more):
    with torch.no_grad():
        return model(pico.tokens(**more)).logits


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@KINDS
@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
def test_peft_loads_what_it_saved(saved, kind, low_cpu_mem_usage, tmp_path):
    folder, expected = saved
    model = PeftModel.from_pretrained(pico.pico_llama(), str(folder), low_cpu_mem_usage=low_cpu_mem_usage)
    torch.testing.assert_close(logits(model), expected, rtol=1e-5, atol=1e-5)
    assert (expected - logits(pico.pico_llama())).abs().max() > 0.1
    model.save_pretrained(tmp_path / "again")
    first, second = (load_file(f / "adapter_model.safetensors") for f in (folder, tmp_path / "again"))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    names = {name.rsplit(".", 1)[1] for name in first}
    assert names == {f"{kind}_{part}" for part in ("A", "B", "gate", *(["bias"] if kind == "smora" else []))}
    module = "base_model.model.model.layers.1.self_attn.q_proj"
    assert first[f"{module}.{kind}_A"].shape == (5, 32) and first[f"{module}.{kind}_B"].shape == (32, 5)


@KINDS
def test_auto_classes_and_transformers_load_it(saved, kind, tmp_path):
    folder, expected = saved
    pico.pico_llama().save_pretrained(tmp_path / "base")
    config = PeftConfig.from_pretrained(str(folder))
    config.base_model_name_or_path = str(tmp_path / "base")
    config.save_pretrained(str(folder))
    model = AutoPeftModelForCausalLM.from_pretrained(str(folder))
    torch.testing.assert_close(logits(model), expected, rtol=1e-5, atol=1e-5)
    plain = pico.pico_llama()
    plain.load_adapter(str(folder))
    torch.testing.assert_close(logits(plain), expected, rtol=1e-5, atol=1e-5)
    plain.disable_adapters()
    same(logits(plain), logits(pico.pico_llama()))


@KINDS
@pytest.mark.parametrize("base", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
def test_experts_keep_their_dtype_and_bits(kind, base, low_cpu_mem_usage, tmp_path):
    """PEFT alone would make float32 of bfloat16 experts, and round float32 ones to the base's bfloat16 in passing."""
    for dtype in (torch.float32, torch.bfloat16):
        model = randomised(get_peft_model(pico.pico_llama(), CONFIGS[kind](), autocast_adapter_dtype=False))
        for name, parameter in model.named_parameters():
            if name.endswith(("_A.default", "_B.default")):
                parameter.data = parameter.data.to(dtype)
        model.save_pretrained(tmp_path / "a")
        model = PeftModel.from_pretrained(
            pico.pico_llama().to(base), str(tmp_path / "a"), low_cpu_mem_usage=low_cpu_mem_usage
        )
        assert logits(model).dtype == base and torch.isfinite(logits(model)).all()
        model.save_pretrained(tmp_path / "b")
        first, second = (load_file(tmp_path / f / "adapter_model.safetensors") for f in "ab")
        assert all(torch.equal(first[k], second[k]) and first[k].dtype == second[k].dtype for k in first)


@KINDS
def test_generate_with_and_without_the_cache(saved, kind):
    model = PeftModel.from_pretrained(pico.pico_llama(), str(saved[0]))
    prompt = pico.tokens(batch=2, length=9)
    made = [
        model.generate(input_ids=prompt, max_new_tokens=8, do_sample=False, use_cache=cache, min_new_tokens=8)
        for cache in (True, False)
    ]
    assert torch.equal(*made) and made[0].shape == (2, 17)


@KINDS
def test_disabling_and_switching(saved, kind):
    folder, expected = saved
    base = logits(pico.pico_llama())
    model = PeftModel.from_pretrained(pico.pico_llama(), str(folder))
    with model.disable_adapter():
        same(logits(model), base)
    model.add_adapter("other", CONFIGS[kind]())
    torch.testing.assert_close(logits(model), expected, rtol=1e-5, atol=1e-5)
    model.set_adapter("other")
    same(logits(model), base)
    randomised(model, seed=5)
    other = logits(model)
    assert (other - expected).abs().max() > 0.01
    model.load_adapter(str(folder), "third")
    model.set_adapter("third")
    torch.testing.assert_close(logits(model), expected, rtol=1e-5, atol=1e-5)
    model.delete_adapter("third")
    assert model.active_adapters != ["third"]
    assert torch.equal(logits(model.unload()), base)


@KINDS
def test_merging_raises_and_changes_nothing(saved, kind):
    folder, expected = saved
    model = PeftModel.from_pretrained(pico.pico_llama(), str(folder))
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    for merge in (model.merge_and_unload, model.merge_adapter, layer.merge, layer.unmerge):
        with pytest.raises(ValueError, match="no single weight it could be merged into"):
            merge()
    torch.testing.assert_close(logits(model), expected, rtol=1e-5, atol=1e-5)


@KINDS
def test_only_the_router_trains_unless_the_config_says_more(saved, kind):
    folder, _ = saved
    gates = {f"{kind}_gate"}
    for trained, parts in (("router", gates), ("experts", gates | {f"{kind}_A", f"{kind}_B"})):
        model = get_peft_model(pico.pico_llama(), CONFIGS[kind](trained=trained))
        assert {n.split(".")[-2] for n, p in model.named_parameters() if p.requires_grad} == parts
    model = PeftModel.from_pretrained(pico.pico_llama(), str(folder), is_trainable=True)
    assert {n.split(".")[-2] for n, p in model.named_parameters() if p.requires_grad} == gates
    model(pico.tokens(), labels=pico.tokens()).loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters() if p.requires_grad)
    assert not any(p.requires_grad for p in PeftModel.from_pretrained(pico.pico_llama(), str(folder)).parameters())


@KINDS
def test_peft_can_describe_it_and_routing_has_the_bases_names(saved, kind):
    model = PeftModel.from_pretrained(pico.pico_llama(), str(saved[0]))
    status = model.get_model_status()
    assert status.adapter_model_type == f"{kind.capitalize()}Model" and status.active_adapters == ["default"]
    with moe.record_routing(model) as routing:
        model.generate(input_ids=pico.tokens(1, 9), max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert set(routing) == set(settings()["target_modules"])
    assert all(len(routing.experts(module)) == 9 + 3 for module in routing)


def test_q_k_v_share_one_router_product_and_o_and_down_do_not():
    model = randomised(get_peft_model(pico.pico_llama(), CONFIGS["meteora"]())).requires_grad_(False)
    shared = logits(model, batch=3)
    block = model.base_model.model.model.layers[0]
    attention = block.self_attn
    assert attention.q_proj.group is attention.v_proj.group and len(attention.q_proj.group.members) == 3
    assert attention.o_proj.group is None and block.mlp.down_proj.group is None
    assert attention.k_proj.group.packs["default"][0].data_ptr() == attention.q_proj.gate["default"].data_ptr()
    for layer in moe.record_routing(model).__enter__().values():
        layer.group = None
    torch.testing.assert_close(logits(model, batch=3), shared, rtol=1e-5, atol=1e-5)


@KINDS
def test_a_linear_that_is_conv1d_is_carried_and_an_embedding_is_refused(kind):
    targets = {"target_modules": ["c_attn"], "rank_pattern": {}, "scale_pattern": {}}
    model = randomised(get_peft_model(pico.pico_gpt2(), CONFIGS[kind](**targets)))
    expected = []
    for form in ("loop", None):
        for layer in moe.record_routing(model).__enter__().values():
            layer.form = form
        expected.append(logits(model))
    torch.testing.assert_close(*expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(TypeError, match="wte is a Embedding; mixtures fit linear layers only"):
        get_peft_model(pico.pico_gpt2(), CONFIGS[kind](**{**targets, "target_modules": ["wte"]}))


def test_the_types_are_members_like_any_other():
    for member in (moe.METEORA, moe.SMORA):
        assert pickle.loads(pickle.dumps(member)) is member and copy.deepcopy(member) is member
        assert type(member)(member.value) is member and member.value == member.name == str(member.value)


LOADER = """
import os, sys, torch
from peft import PeftModel
from tests import pico
folder, place, ways = sys.argv[1], sys.argv[2], sys.argv[3:]
for number, way in enumerate(ways):
    if os.fork():
        assert os.wait()[1] == 0, way
        continue
    try:
        PeftModel.from_pretrained(pico.pico_llama(), folder)
    except KeyError as error:
        assert str(error) == "'METEORA'", error
    else:
        raise AssertionError("peft knows METEORA before")
    exec(way)
    model = PeftModel.from_pretrained(pico.pico_llama(), folder)
    with torch.no_grad():
        torch.save(model(pico.tokens()).logits, f"{place}/{number}.pt")
    assert len(record_routing(model).__enter__()) == 10
    sys.exit()
"""
IMPORTS = {
    "the folder's own copy": "sys.path.insert(0, folder); from lora_moe_peft import record_routing",
    "the client": "import hubctl.moe; from hubctl.moe import record_routing",
    "all at once": "import hubctl.moe; sys.path.insert(0, folder); import lora_moe_peft\n"
    "from composition.moe.lora_moe_peft import record_routing",
}


@pytest.mark.parametrize("kind", ["meteora"])
def test_one_import_is_enough_in_a_process_that_had_none(saved, kind, tmp_path):
    """Each way in a fork of a process that has loaded PEFT and nothing of ours."""
    folder, expected = saved
    shutil.copy(moe.__file__, folder / "lora_moe_peft.py")
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", LOADER, str(folder), str(tmp_path), *IMPORTS.values()]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for number, way in enumerate(IMPORTS):
        found = torch.load(tmp_path / f"{number}.pt")
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=lambda said, way=way: f"{way}: {said}")


def test_the_loader_stands_alone_and_the_client_ships_the_same_file():
    root = Path(__file__).resolve().parents[2]
    ours, theirs = root / "composition/moe/lora_moe_peft.py", root / "hubctl/lora_moe_peft.py"
    assert theirs.is_symlink() and theirs.resolve() == ours
    assert "import composition" not in ours.read_text() and "from composition" not in ours.read_text()
