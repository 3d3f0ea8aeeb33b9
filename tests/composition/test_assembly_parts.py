"""Parts of a mixture as bytes, without torch: the same as torch cuts and saves, in any range, and nothing is held."""

import subprocess
import sys

import pytest
import torch
from peft import PeftModel

from composition.errors import CompositionError
from composition.formats import made_files, read_adapter
from composition.formats.mixture.parts import cat_files, expert_files, read_stack
from composition.formats.sources import local_files
from composition.moe.assemble import assemble
from composition.moe.save import save_assembly
from composition.moe.unstack import cat_of, expert_of
from composition.recipes import MeteoraRecipe, SmoraRecipe
from composition.weights import Factors, LoraWeights, save_peft
from tests import pico
from tests.composition.mixtures import read_experts, same

FREE = [MeteoraRecipe(train="prototype"), SmoraRecipe(train="prototype")]
NAMES = ("adapter_config.json", "adapter_model.safetensors")


def stack_of(folder):
    files = local_files(folder)
    return read_stack(*(files[name] for name in NAMES))


def write(files, folder):
    folder.mkdir()
    for path, source in files.items():
        with source.open() as stream:
            data = stream.read()
        assert len(data) == source.size
        (folder / path).write_bytes(data)
    return folder


def assert_same_files(one, other):
    for name in NAMES:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float16], ids=str)
def experts(request, tmp_path):
    return read_experts(tmp_path, dtype=request.param)


@pytest.mark.parametrize("recipe", FREE, ids=lambda recipe: recipe.kind)
def test_parts_are_what_torch_cuts_and_saves(experts, recipe, tmp_path):
    mix = tmp_path / "mix"
    save_assembly(assemble(experts, recipe), mix)
    stack = stack_of(mix)
    for expert in experts:
        cut = write(expert_files(stack, expert.name), tmp_path / f"cut-{expert.name}")
        assert same(read_adapter(cut), expert)
        save_peft(expert_of(mix, expert.name), tmp_path / f"saved-{expert.name}")
        assert_same_files(cut, tmp_path / f"saved-{expert.name}")
    save_peft(cat_of(mix), tmp_path / "saved-cat")
    assert_same_files(write(cat_files(stack), tmp_path / "cat"), tmp_path / "saved-cat")


@pytest.mark.parametrize("scale", [-1.5, 0.0, -0.0])
def test_the_sign_of_a_scale_goes_into_b(scale, tmp_path):
    torch.manual_seed(0)
    experts = []
    for name, one in (("a", scale), ("b", 2.0)):
        factors = Factors(torch.randn(3, 8), torch.randn(6, 3), one)
        experts.append(LoraWeights({"model.layers.0.self_attn.q_proj": factors}, base_model="o/b", name=name))
    mix = tmp_path / "mix"
    save_assembly(assemble(experts, SmoraRecipe(train="prototype")), mix)
    save_peft(expert_of(mix, "a"), tmp_path / "saved")
    assert_same_files(write(expert_files(stack_of(mix), "a"), tmp_path / "cut"), tmp_path / "saved")


def test_any_range_of_a_part_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(made_files, "READ", 300)
    save_assembly(assemble(read_experts(tmp_path), FREE[0]), tmp_path / "mix")
    part = expert_files(stack_of(tmp_path / "mix"), "b")[NAMES[1]]
    with part.open() as stream:
        whole = stream.read()
    for begin, end in ((0, 1), (7, 40), (1000, 1001), (part.size // 3, part.size // 2), (part.size - 5, part.size)):
        with part.open() as stream:
            assert stream.seek(begin) == begin
            assert stream.read(end - begin) == whole[begin:end]
    with part.open() as stream:
        assert stream.seek(0, 2) == part.size == len(whole)
        assert stream.read(1) == b""


def test_peft_runs_the_cut_like_the_source(tmp_path):
    experts = read_experts(tmp_path)
    save_assembly(assemble(experts, FREE[0]), tmp_path / "mix")
    cut = write(expert_files(stack_of(tmp_path / "mix"), "b"), tmp_path / "cut")
    words, both = torch.arange(3, 11)[None], (tmp_path / "b", cut)
    with torch.no_grad():
        one, other = (PeftModel.from_pretrained(pico.pico_llama(), folder).eval()(words).logits for folder in both)
    assert torch.equal(one, other)


def test_an_unknown_expert_is_named_with_those_there_are(tmp_path):
    save_assembly(assemble(read_experts(tmp_path), FREE[0]), tmp_path / "mix")
    with pytest.raises(CompositionError, match="a, b, c") as refusal:
        expert_files(stack_of(tmp_path / "mix"), "z")
    assert refusal.value.code == "assembly.no_expert"


def test_cutting_needs_no_torch():
    code = "import sys, composition.formats.mixture.parts; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
