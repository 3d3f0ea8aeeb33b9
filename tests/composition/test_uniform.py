"""The uniform form: the same ΔW, one rank, one scale, no gaps; and peft loads all of it."""

import itertools
import json
import math
import re
import subprocess
import sys
import time

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file, save_file

from composition.errors import CompositionError
from composition.facts import ModuleFacts
from composition.formats import made_files, read_adapter
from composition.formats.kohya_writer import kohya_files
from composition.formats.peft import plain_config
from composition.formats.peft.layouts.choosing import laid_out
from composition.formats.peft.layouts.completing import kind_of, missing, module_at, place_of, shown
from composition.formats.peft.layouts.uniform import uniform_files
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE, factor_names
from composition.formats.peft.save import lay_out
from composition.formats.sources import local_files
from composition.formats.validate import validate_adapter
from composition.running.base_models import module_shapes
from composition.weights import Factors, LoraWeights, save_peft
from tests import pico

SHAPES = module_shapes(pico.pico_llama().config.to_dict())
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def write(files, folder):
    folder.mkdir()
    for path, source in files.items():
        with source.open() as stream:
            data = stream.read()
        assert len(data) == source.size
        (folder / path).write_bytes(data)
    return folder


def uniform(folder, out, shapes=SHAPES):
    return write(uniform_files(local_files(folder), shapes), out)


def config_of(folder):
    return json.loads((folder / CONFIG_FILE).read_text())


def exact(factors):
    """ΔW in float64: no product of stored values is rounded."""
    return factors.B.double() @ factors.A.double() * factors.scale


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", pico.KINDS)
def test_the_update_is_the_same_and_every_module_has_one_rank_and_scale_one(kind, dtype, tmp_path):
    source = read_adapter(pico.write_adapter(tmp_path / "a", dtype=dtype, **pico.KINDS[kind]))
    made = read_adapter(uniform(tmp_path / "a", tmp_path / "u"))
    assert {(made.module_facts(m).r, made.module_facts(m).scale) for m in made} == {(16, 1.0)}
    for module in made:
        if module in source:
            wanted = exact(source[module])
            power = math.frexp(source[module].scale)[0] == 0.5
            bound = 0 if power else 2**-23 * wanted.abs().max()
            assert (exact(made[module]) - wanted).abs().max() <= bound
        else:
            assert not made[module].A.any() and not made[module].B.any()


@pytest.mark.parametrize("kind", pico.KINDS)
def test_peft_answers_the_same_and_fills_every_factor(kind, tmp_path):
    pico.write_adapter(tmp_path / "a", **pico.KINDS[kind])
    made = uniform(tmp_path / "a", tmp_path / "u")
    assert torch.allclose(pico.peft_logits(made), pico.peft_logits(tmp_path / "a"), atol=2e-6)
    model, stored = PeftModel.from_pretrained(pico.pico_llama(), made), load_file(made / WEIGHTS_FILE)
    live = {name.replace(".default", ""): value for name, value in model.state_dict().items() if "lora_" in name}
    assert live.keys() == stored.keys()
    assert all(torch.equal(live[name].to(stored[name].dtype), stored[name]) for name in stored)


def test_the_config_is_as_short_as_servers_want_it(tmp_path):
    pico.write_adapter(tmp_path / "a", **pico.KINDS["both_patterns"])
    config = config_of(uniform(tmp_path / "a", tmp_path / "u"))
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (16, 16, False)
    assert (config["rank_pattern"], config["alpha_pattern"]) == ({}, {})
    assert config["target_modules"] == sorted(pico.ALL_LINEAR)
    assert config["base_model_name_or_path"] == pico.BASE


@pytest.mark.parametrize(("rank", "made"), [(1, 16), (16, 16), (17, 32), (24, 32), (33, 64)])
def test_the_rank_is_the_next_power_of_two(rank, made, tmp_path):
    pico.write_adapter(tmp_path / "a", r=rank, target_modules=["down_proj"])
    assert config_of(uniform(tmp_path / "a", tmp_path / "u"))["r"] == made


def test_gaps_are_filled_by_the_base(tmp_path):
    pico.write_adapter(tmp_path / "a", r=4, target_modules=r"model\.layers\.1\.(self_attn\.v|mlp\.up)_proj")
    names = set(read_adapter(uniform(tmp_path / "a", tmp_path / "u")))
    wanted = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
    assert names == {f"model.layers.{layer}.{name}" for layer in (0, 1) for name in wanted}


def test_without_the_base_only_gaps_between_the_adapters_own_layers_are_filled(tmp_path):
    torch.manual_seed(0)
    names = ["m.layers.1.q", "m.layers.3.q", "m.layers.2.o", "n.layers.7.q"]
    save_peft(LoraWeights({n: Factors(torch.randn(2, 6), torch.randn(4, 2)) for n in names}), tmp_path / "a")
    made = set(read_adapter(uniform(tmp_path / "a", tmp_path / "u", None)))
    assert made == {f"m.layers.{i}.{kind}" for i in (1, 2, 3) for kind in "qo"} | {"n.layers.7.q"}


def test_a_module_outside_keeps_full_names_as_targets(tmp_path):
    """A base with a second tower of the same last names: suffixes would make peft adapt that too."""
    pico.write_adapter(tmp_path / "a", r=4, target_modules=["q_proj", "v_proj"])
    shapes = {**SHAPES, "vision.layers.0.q_proj": [8, 8]}
    targets = config_of(uniform(tmp_path / "a", tmp_path / "u", shapes))["target_modules"]
    assert targets == sorted(f"model.layers.{i}.self_attn.{x}_proj" for i in (0, 1) for x in "qkv")


def test_kinds_and_places_are_inverse():
    for name in (*SHAPES, "a.0.b.11.c", "experts.3.w1", "lm_head", "a.0.1.b", "a.*.b", "a.007.b", "0.a", "a.1"):
        assert module_at(kind_of(name), place_of(name)) == name
    assert shown(kind_of("a.0.b.11.c")) == "a.*.b.*.c"


def facts_of(names):
    return dict.fromkeys(names, ModuleFacts(r=4, in_features=6, out_features=5, scale=1.0))


def test_experts_are_not_completed():
    """An adapter of one expert would grow to all of them, in all layers."""
    expert = "model.layers.{}.mlp.experts.{}.up_proj"
    base = {expert.format(layer, number): [5, 6] for layer in range(4) for number in range(8)}
    assert missing(facts_of([expert.format(2, 3)]), base) == {}


def test_a_second_number_may_be_a_part_of_the_layer():
    """T5: layer.0 of a block is its own attention, layer.1 of the decoder's that to the encoder."""
    own, cross = "decoder.block.{}.layer.0.SelfAttention.q", "decoder.block.{}.layer.1.EncDecAttention.q"
    base = {name.format(block): [5, 6] for name in (own, cross) for block in range(3)}
    assert list(missing(facts_of([own.format(1)]), base)) == [own.format(0), own.format(2)]


def test_strange_names_that_would_grow_without_bound_are_left_alone():
    few = facts_of(["x.0.a", "x.1.b", "x.3.*.c", "x.y.1.2.d"])
    assert list(missing(few, None)) == sorted(["x.0.b", "x.3.b", "x.1.a", "x.3.a", "x.0.*.c", "x.1.*.c"])
    begin = time.process_time()
    assert missing(facts_of(f"x.{number}.kind{number}" for number in range(20_000)), None) == {}
    assert time.process_time() - begin < 2


def test_nothing_is_missing_of_a_whole_adapter(tmp_path):
    facts = read_adapter(pico.write_kind(tmp_path / "a", "plain")).facts()
    assert missing(facts.modules, SHAPES) == missing(facts.modules, None) == {}


SCALES = st.one_of(
    st.sampled_from([1.0, -1.0, 0.0, 0.5, 2.0, 16.0, -4.0, 2.0**-12]), st.floats(0.01, 100), st.floats(-100, -0.01)
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.integers(1, 21), SCALES, st.sampled_from([*DTYPES, torch.float64])), min_size=1,
                  max_size=4),
    seed=st.integers(0, 2**16),
)  # fmt: skip
def test_any_ranks_scales_and_dtypes(rows, seed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("u")
    torch.manual_seed(seed)
    modules = {
        f"model.layers.{i}.x": Factors(torch.randn(r, 7).to(dtype), torch.randn(5, r).to(dtype), scale)
        for i, (r, scale, dtype) in enumerate(rows)
    }
    save_peft(LoraWeights(modules), folder / "a")
    source, made = read_adapter(folder / "a"), read_adapter(uniform(folder / "a", folder / "u", None))
    tensors = load_file(folder / "u" / WEIGHTS_FILE)
    rank = made.module_facts("model.layers.0.x").r
    for module, old in source.items():
        A, B = (tensors[name] for name in factor_names(module))
        assert A.shape == (rank, 7) and A.dtype == old.A.dtype
        assert A[: old.rank].equal(old.A) and not A[old.rank :].any() and not B[:, old.rank :].any()
        wanted = old.B.double() * old.scale
        error = (B[:, : old.rank].double() - wanted).abs()
        power = math.frexp(old.scale)[0] == 0.5
        bits = 0.0 if power else 2.0**-53 if B.dtype == torch.float64 else 2.0**-24
        assert (error <= bits * wanted.abs()).all()
        kept = power and (old.scale == 1.0 or old.B.dtype != torch.float16)
        assert B.dtype == (old.B.dtype if kept or old.B.dtype == torch.float64 else torch.float32)


def test_float16_neither_overflows_nor_loses_its_small_values(tmp_path):
    ends = torch.tensor([[60000.0, 6e-8, -6.1e-5, 1e-4]]).half().T
    for name, scale in (("up", 4.0), ("down", 2.0**-6)):
        save_peft(LoraWeights({"x": Factors(torch.ones(1, 3).half(), ends, scale)}), tmp_path / name)
        made = read_adapter(uniform(tmp_path / name, tmp_path / f"{name}-u", None))["x"]
        assert torch.equal(made.B[:, :1].double(), ends.double() * scale)


PIECES = st.lists(st.sampled_from(["a", "b", "ab", "a.b", "aXb", "q[", "1"]), min_size=1, max_size=4).map(".".join)


@settings(max_examples=200, deadline=None)
@given(modules=st.lists(PIECES, min_size=1, max_size=8, unique=True))
def test_a_patterns_key_picks_its_module_alone(modules):
    """Against peft's own rule, `(.*\\.)?(key)$`, run on all names."""
    for module, key in plain_config._pattern_keys(modules, modules).items():
        assert [other for other in modules if re.match(rf"(.*\.)?({key})$", other)] == [module]
        alone = re.fullmatch(r"[\w.-]+", module) and all(
            other == module or not re.match(rf"(.*\.)?({module})$", other) for other in modules
        )
        assert (key == module) == bool(alone)


def test_a_config_of_many_modules_is_written_in_time():
    """36,096 modules of two ranks: all against all would be a billion matches."""
    rows = itertools.product(range(94), range(128), ("gate_proj", "up_proj", "down_proj"))
    names = [f"model.layers.{layer}.mlp.experts.{expert}.{last}" for layer, expert, last in rows]
    facts = {n: ModuleFacts(r=8 + (i % 3 == 0), in_features=4, out_features=4, scale=1.0) for i, n in enumerate(names)}
    begin = time.process_time()
    assert len(json.loads(plain_config.plain_config(facts, base_model=None))["rank_pattern"]) == 12032
    assert time.process_time() - begin < 5


def test_conv1d_keeps_its_mark_and_its_answers(tmp_path):
    model = pico.pico_gpt2()
    shapes = module_shapes(model.config.to_dict())
    pico.write_adapter(
        tmp_path / "a", model=model, r=4, target_modules=["attn.c_attn"], layers_to_transform=[1], fan_in_fan_out=True
    )
    made = uniform(tmp_path / "a", tmp_path / "u", shapes)
    assert len(read_adapter(made)) == 2 and config_of(made)["fan_in_fan_out"]
    assert torch.allclose(
        pico.peft_logits(made, pico.pico_gpt2()), pico.peft_logits(tmp_path / "a", pico.pico_gpt2()), atol=2e-6
    )


def test_twice_uniform_is_once(tmp_path):
    pico.write_kind(tmp_path / "a", "both_patterns")
    once = uniform(tmp_path / "a", tmp_path / "u")
    twice = uniform(once, tmp_path / "uu")
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        assert (once / name).read_bytes() == (twice / name).read_bytes()


def test_the_writers_layout_and_the_stream_make_the_same_bytes(tmp_path):
    weights = read_adapter(pico.write_kind(tmp_path / "a", "rank_pattern"))
    save_peft(weights, tmp_path / "compact")
    streamed = uniform(tmp_path / "compact", tmp_path / "streamed")
    for layout in ("uniform", "auto"):
        save_peft(weights, tmp_path / layout, layout=layout, base_shapes=SHAPES)
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            assert (tmp_path / layout / name).read_bytes() == (streamed / name).read_bytes()
    validate_adapter(local_files(streamed), base_shapes=SHAPES)


def test_auto_keeps_what_every_server_reads_right(tmp_path):
    pico.write_adapter(tmp_path / "a", r=8, lora_alpha=16)
    assert laid_out(local_files(tmp_path / "a"), "auto", SHAPES) == {}
    assert laid_out(local_files(tmp_path / "a"), "compact", SHAPES) == {}
    with pytest.raises(CompositionError, match="auto, compact, uniform"):
        laid_out(local_files(tmp_path / "a"), "loose", SHAPES)


def test_a_folder_that_peft_wrote_is_laid_out_where_it_lies(tmp_path):
    """What a transfer ends with: rsLoRA becomes uniform, DoRA stays with auto and is refused with uniform."""
    pico.write_kind(tmp_path / "rs", "rslora")
    before = pico.peft_logits(tmp_path / "rs")
    lay_out(tmp_path / "rs", "auto", SHAPES)
    assert (config_of(tmp_path / "rs")["r"], config_of(tmp_path / "rs")["use_rslora"]) == (16, False)
    assert torch.allclose(pico.peft_logits(tmp_path / "rs"), before, atol=2e-6)
    assert not list((tmp_path / "rs").glob("*.part"))
    pico.write_adapter(tmp_path / "dora", r=4, use_dora=True)
    files = {path.name: path.read_bytes() for path in (tmp_path / "dora").iterdir()}
    lay_out(tmp_path / "dora", "auto", SHAPES)
    with pytest.raises(CompositionError, match="DoRA"):
        lay_out(tmp_path / "dora", "uniform", SHAPES)
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "dora").iterdir()}


def test_any_range_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(made_files, "READ", 300)
    pico.write_kind(tmp_path / "a", "both_patterns")
    made = uniform_files(local_files(tmp_path / "a"), SHAPES)[WEIGHTS_FILE]
    with made.open() as stream:
        whole = stream.read()
    assert len(whole) == made.size
    for begin, end in ((0, 9), (1000, 5000), (made.size // 2 - 7, made.size // 2 + 900), (made.size - 3, made.size)):
        with made.open() as stream:
            stream.seek(begin)
            assert stream.read(end - begin) == whole[begin:end]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"use_dora": True}, "DoRA rescales"),
        ({"modules_to_save": ["lm_head"]}, "whole layers"),
        ({"target_modules": ["embed_tokens"]}, "embedding table"),
    ],
)
def test_what_is_no_plain_lora_is_refused_with_the_reason(config, reason, tmp_path):
    pico.write_adapter(tmp_path / "a", r=4, **config)
    with pytest.raises(CompositionError, match=reason) as refusal:
        uniform_files(local_files(tmp_path / "a"), SHAPES)
    assert refusal.value.code == "form.not_plain"
    assert laid_out(local_files(tmp_path / "a"), "auto", SHAPES) == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors, config: config.update(r=5), "rank 4, and the config says 5"),
        (lambda tensors, config: tensors.update(extra=torch.ones(2)), "extra, which is no LoRA factor"),
        (lambda tensors, config: tensors.pop(next(iter(tensors))), "only one of its factors"),
        (lambda tensors, config: tensors.update({next(iter(tensors)): torch.ones(4, 32, 1)}), "not two matrices"),
        (
            lambda tensors, config: tensors.update(
                {next(iter(tensors)).replace(".weight", ".default.weight"): torch.ones(4, 32)}
            ),
            "twice",
        ),
    ],
)
def test_files_that_peft_would_not_load_as_they_are_have_no_other_form(change, reason, tmp_path):
    pico.write_adapter(tmp_path / "a", r=4)
    tensors, config = load_file(tmp_path / "a" / WEIGHTS_FILE), config_of(tmp_path / "a")
    change(tensors, config)
    save_file(tensors, tmp_path / "a" / WEIGHTS_FILE)
    (tmp_path / "a" / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(CompositionError, match=reason) as refusal:
        uniform_files(local_files(tmp_path / "a"), SHAPES)
    assert refusal.value.code == "form.not_plain"


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize("form", [uniform_files, lambda files: kohya_files(files, {"_class_name": "UNet2DModel"})])
def test_a_file_that_is_missing_is_named(name, form, tmp_path):
    pico.write_adapter(tmp_path / "a", r=4)
    (tmp_path / "a" / name).unlink()
    with pytest.raises(CompositionError, match=f"there is no {name}"):
        form(local_files(tmp_path / "a"))


def test_it_needs_no_torch():
    code = "import sys, composition.formats.peft.layouts.choosing, composition.formats.servers\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
