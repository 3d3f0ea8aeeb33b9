"""What servers make of our files: each row built by our own methods, the rules against small copies of the servers.

`served_by_*` load a folder as each server does, on tensors: which config fields it reads, what it multiplies, what it
leaves out. The figures are those of the table in docs/inference-servers.md.
"""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from composition.facts import AdapterFacts, ModuleFacts
from composition.formats import read_adapter
from composition.formats.peft.layouts.choosing import advice
from composition.formats.servers import SERVERS, served_of, verdicts
from composition.formats.sources import local_files
from composition.formats.validate import validate_adapter
from composition.generative.generate import adapter_of
from composition.generative.state import State
from composition.lego import LegoRecipe, lego
from composition.merging.cat import cat
from composition.merging.svd import svd
from composition.moe.assemble import assemble
from composition.moe.save import save_assembly
from composition.moe.unstack import cat_of
from composition.recipes import CatRecipe, CrossLoraRecipe, PortLlmRecipe, SmoraRecipe, SvdRecipe
from composition.running.base_models import module_shapes
from composition.weights import Factors, LoraWeights, save_peft
from tests import pico
from transfer.shortcuts.cross_lora import cross_lora
from transfer.shortcuts.portllm import portllm

SHAPES = module_shapes(pico.pico_llama().config.to_dict())
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
QV = ["q_proj", "v_proj"]
NAMES = [row.name for row in SERVERS]


def adapter(folder, name, **config):
    config = {"r": 8, "lora_alpha": 8, "target_modules": ATTENTION, **config}
    return read_adapter(pico.write_adapter(folder / name, seed=ord(name[0]), **config))


def lego_of(rank):
    return lambda at: lego([adapter(at, "a"), adapter(at, "b")], LegoRecipe(rank=rank, n_init=1)).weights


def qv_only(merge):
    return lambda at: merge([adapter(at, "a"), adapter(at, "b", target_modules=QV)]).weights


def one_layer_more(at):
    return cat([adapter(at, "a"), adapter(at, "b", layers_to_transform=[1])], CatRecipe()).weights


def with_patterns(at):
    own = {"lora_alpha": 16, "rank_pattern": {"k_proj": 4}, "alpha_pattern": {"v_proj": 4}}
    return portllm([adapter(at, "a", **own)], PortLlmRecipe(), base_name="kin", shapes=SHAPES).weights


def keep_norm(at):
    for seed in (0, 1):
        pico.pico_llama(seed).save_pretrained(at / f"base{seed}")
    recipe = CrossLoraRecipe(subspace=24, keep_norm=True)
    bases = {"source": at / "base0", "target": at / "base1"}
    return cross_lora([adapter(at, "a")], recipe, base_name="kin", **bases).weights


def mixture(at):
    experts = [adapter(at, "a", lora_alpha=16), adapter(at, "b", target_modules=QV)]
    save_assembly(assemble(experts, SmoraRecipe(train="prototype")), at / "mix")
    return cat_of(at / "mix")


def generated(at):
    from tests.composition.generators import pico_generator

    generator = pico_generator(rank=8, alpha=8.0)
    shape = State.zero(generator).S.shape
    drawn = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = adapter_of(generator, State(drawn, 9, generator.digest()), pico.pico_llama())
    upper = {module: weights[module] for module in weights if ".layers.1." in module}
    assert all(factors.delta().any() for factors in upper.values())
    return LoraWeights(upper, base_model=pico.BASE)


def uploaded(**config):
    return lambda at: adapter(at, "a", **config)


OK = "right"
# Row of the table: how the adapter is made; server → "right", "refuses", or {module's last name: factor} where wrong.
ROWS = {
    "lego k=16": (lego_of(16), {}),
    "lego k=8": (lego_of(8), {}),
    "lego k=12": (lego_of(12), {"lorax": {"k_proj": 0.75, "v_proj": 0.75, "o_proj": 0.75}}),
    "lego k=4": (lego_of(4), {"lorax": {"k_proj": 0.5, "v_proj": 0.5, "o_proj": 0.5}}),
    "lego, one has q and v only": (
        qv_only(lambda both: lego(both, LegoRecipe(rank=16, n_init=1))),
        {"sglang": "refuses", "llama.cpp": {"k_proj": 2.0, "o_proj": 2.0}, "lorax": {"v_proj": 2.0}},
    ),
    "svd, one has q and v only": (
        qv_only(lambda both: svd(both, SvdRecipe(rank=16))),
        {"sglang": "refuses", "llama.cpp": {"k_proj": 2.0, "o_proj": 2.0}, "lorax": {"v_proj": 2.0}},
    ),
    "cat, one has q and v only": (
        qv_only(lambda both: cat(both, CatRecipe())),
        {"sglang": "refuses", "llama.cpp": {"k_proj": 2.0, "o_proj": 2.0}, "lorax": {"v_proj": 2.0}},
    ),
    "cat, one in some layers only": (
        one_layer_more,
        {"sglang": "refuses", "llama.cpp": {f"0.self_attn.{name}": 2.0 for name in ATTENTION}, "lorax": "refuses"},
    ),
    "portllm of a source with patterns": (
        with_patterns,
        {
            "vllm-0.31": {"k_proj": 0.5, "v_proj": 4.0},
            "sglang": "refuses",
            "llama.cpp": {"v_proj": 4.0},
            "lorax": {"k_proj": 0.5, "v_proj": 4.0},
        },
    ),
    "cross-lora keep_norm": (keep_norm, dict.fromkeys(NAMES[1:], "wrong")),
    "mixture as cat, unequal scales": (
        mixture,
        {
            "vllm-0.31": {"k_proj": 0.5, "o_proj": 0.5},
            "sglang": "refuses",
            "lorax": {"k_proj": 0.5, "v_proj": 2.0, "o_proj": 0.5},
        },
    ),
    "generated, upper layers only": (generated, {"lorax": {"": 0.0}}),
    "rank 3, as in examples/adapters": (
        uploaded(r=3, lora_alpha=6),
        {"lorax": {"k_proj": 3 / 8, "v_proj": 3 / 8, "o_proj": 3 / 8}},
    ),
    "rsLoRA": (
        uploaded(r=16, lora_alpha=16, use_rslora=True),
        {"sglang": {"": 1 / 4}, "llama.cpp": {"": 1 / 4}},
    ),
    "q and o only": (uploaded(target_modules=["q_proj", "o_proj"]), {"sglang": "refuses"}),
    "up only": (uploaded(target_modules=["up_proj"]), {"sglang": "refuses"}),
}


@pytest.fixture(scope="module", params=ROWS)
def row(request, tmp_path_factory):
    """(what is expected, the folder as compact, the folder as uniform) of a row."""
    folder = tmp_path_factory.mktemp("row")
    make, expected = ROWS[request.param]
    weights = make(folder)
    if request.param.startswith(("rsLoRA", "rank 3", "q and", "up")):  # as it was pushed
        compact = folder / "a"
    else:
        compact = folder / "compact"
        save_peft(weights, compact)
    save_peft(weights, folder / "uniform", layout="uniform", base_shapes=SHAPES)
    save_peft(weights, folder / "auto", layout="auto", base_shapes=SHAPES)
    return expected, compact, folder / "uniform"


def judged(folder):
    facts = validate_adapter(local_files(folder), base_shapes=SHAPES)
    return facts, {one.server: one for one in verdicts(facts, SHAPES)}


def factor_of(expected, module):
    return next((factor for ending, factor in expected.items() if module.endswith(ending)), 1.0)


def test_the_figures_of_the_table(row):
    expected, compact, _ = row
    facts, found = judged(compact)
    for server in NAMES:
        wanted, verdict = expected.get(server, OK), found[server]
        if isinstance(wanted, str):
            assert (server, verdict.answer) == (server, wanted), verdict
            assert bool(verdict.why) == (wanted != OK)
            continue
        for module in facts.modules:
            assert verdict.factors.get(module, 1.0) == pytest.approx(factor_of(wanted, module), rel=1e-6), server


def test_uniform_is_right_on_every_server(row):
    expected, compact, uniform = row
    _, found = judged(uniform)
    assert {server: (one.answer, dict(one.factors)) for server, one in found.items()} == dict.fromkeys(NAMES, (OK, {}))
    stored, auto = read_adapter(compact), read_adapter(uniform.parent / "auto")
    assert list(auto) == list(read_adapter(uniform) if expected else stored)
    for module, made in read_adapter(uniform).items():
        if module in stored:
            assert torch.allclose(made.delta(), stored[module].delta(), rtol=1e-6, atol=1e-7)
        else:
            assert not made.delta().any()


def compare_with_loaders(folder):
    """Rule by rule against the loader's own steps on the tensors."""
    truth, (_, found) = read_adapter(folder), judged(folder)
    for server, load in LOADERS.items():
        try:
            served = load(folder)
        except (AssertionError, KeyError, ValueError, RuntimeError):
            assert found[server].answer == "refuses", (server, folder.name)
            continue
        assert found[server].answer != "refuses", (server, folder.name)
        for module in truth:
            wanted = truth[module].delta() * found[server].factors.get(module, 1.0)
            assert torch.allclose(served.get(module, wanted * 0), wanted, rtol=1e-4, atol=1e-5), (server, module)


def test_the_rules_do_what_the_servers_loaders_do(row):
    _, *folders = row
    for folder in folders:
        compare_with_loaders(folder)


MODULES = [name for name in SHAPES if ".layers." in name]


@settings(max_examples=60, deadline=None)
@given(
    chosen=st.lists(st.sampled_from(MODULES), min_size=1, unique=True),
    ranks=st.lists(st.sampled_from([1, 4, 8, 12, 16, 17, 32]), min_size=1, max_size=2),
    scales=st.lists(st.sampled_from([1.0, 2.0, 0.75, -1.0, 3.3]), min_size=1, max_size=2),
    seed=st.integers(0, 999),
)
def test_any_adapter_is_judged_as_it_is_loaded_and_right_once_it_is_uniform(
    chosen, ranks, scales, seed, tmp_path_factory
):
    folder, random = tmp_path_factory.mktemp("any"), torch.Generator().manual_seed(seed)

    def drawn(values):
        return values[int(torch.randint(len(values), (1,), generator=random))]

    modules = {}
    for name in chosen:
        (high, wide), r = SHAPES[name], drawn(ranks)
        A, B = (torch.randn(*shape, generator=random) for shape in ((r, wide), (high, r)))
        modules[name] = Factors(A, B, drawn(scales))
    weights = LoraWeights(modules, base_model=pico.BASE)
    for layout in ("compact", "uniform", "auto"):
        save_peft(weights, folder / layout, layout=layout, base_shapes=SHAPES)
        compare_with_loaders(folder / layout)
    answers = {
        name: {one.answer for one in judged(folder / name)[1].values()} for name in ("compact", "uniform", "auto")
    }
    assert answers["uniform"] == answers["auto"] == {OK}
    same = (folder / "auto" / "adapter_config.json").read_bytes() == (
        folder / "compact" / "adapter_config.json"
    ).read_bytes()
    assert same == (answers["compact"] == {OK})


def stored(folder):
    """(config, {module: (A, B)})."""
    tensors = load_file(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    names = [name.removesuffix(".lora_A.weight") for name in tensors if name.endswith("lora_A.weight")]
    return config, {
        name.removeprefix("base_model.model."): (tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"])
        for name in sorted(names)
    }


def served_by_vllm_031(folder):
    config, pairs = stored(folder)
    scaling = config["lora_alpha"] / (math.sqrt(config["r"]) if config["use_rslora"] else config["r"])
    return {name: scaling * B @ A for name, (A, B) in pairs.items()}


def served_by_sglang(folder):
    config, pairs = stored(folder)
    scaling, fused = config["lora_alpha"] / config["r"], {}
    for layer in (0, 1):
        own = {n.rpartition(".")[2]: pair for n, pair in pairs.items() if f".layers.{layer}." in n}
        if "q_proj" in own:
            q, v = own.pop("q_proj"), own["v_proj"]
            k = own.pop("k_proj", tuple(torch.zeros_like(half) for half in v))
            fused[layer, "qkv_proj"] = [q, k, own.pop("v_proj")]
        if "gate_proj" in own:
            gate = own.pop("gate_proj")
            fused[layer, "gate_up_proj"] = [gate, own.pop("up_proj", tuple(torch.zeros_like(half) for half in gate))]
        for name, pair in own.items():
            if name in ("k_proj", "v_proj", "up_proj"):
                raise ValueError(f"Cannot find target module name for {name}")
            fused[layer, name] = [pair]
    names = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
    found = {}
    for (layer, name), parts in fused.items():
        stacked = torch.cat([A for A, _ in parts])
        buffer = torch.zeros(config["r"] * len(parts), stacked.shape[1])
        assert buffer.shape == stacked.shape
        for part, (A, B) in zip(names.get(name, (name,)), parts, strict=True):
            module = next((n for n in pairs if f".layers.{layer}." in n and n.endswith(f".{part}")), None)
            if module:
                found[module] = scaling * B @ A
    return found


def served_by_llama_cpp(folder):
    config, pairs = stored(folder)
    return {name: config["lora_alpha"] / A.shape[0] * B @ A for name, (A, B) in pairs.items()}


def served_by_lorax(folder):
    config, pairs = stored(folder)
    found, r = {}, config["r"]
    for kind in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"):
        part = "self_attn" if kind[0] in "qkvo" else "mlp"
        names = [f"model.layers.{layer}.{part}.{kind}" for layer in (0, 1)]
        if any(name not in pairs for name in names):
            continue
        scale = config["lora_alpha"] / (r**0.5 if config["use_rslora"] else r)
        padded = []
        for name in names:
            A, B = pairs[name]
            rank = 8 if A.shape[0] <= 8 else math.ceil(A.shape[0] / 16) * 16
            padded.append(torch.nn.functional.pad(A.T, (0, rank - A.shape[0])))
            found[name] = scale * B @ A
        torch.stack(padded)
        r = padded[0].shape[1]
    return found


LOADERS = {
    "vllm-0.31": served_by_vllm_031,
    "sglang": served_by_sglang,
    "llama.cpp": served_by_llama_cpp,
    "lorax": served_by_lorax,
}


def facts_of(ranks, scale=1.0, **more):
    modules = {
        f"model.layers.{i}.self_attn.o_proj": ModuleFacts(r=r, in_features=4, out_features=4, scale=scale)
        for i, r in enumerate(ranks)
    }
    given = {"peft_type": "LORA", "dtype": "F32", "parameters": 1, "bytes": 1, "target_modules": ["o_proj"], **more}
    return AdapterFacts(modules=modules, **given)


def test_facts_from_before_the_configs_rank_was_kept_tell_it_by_their_scales():
    assert served_of(facts_of([4, 8, 8], 2.0, lora_alpha=8.0)).r == 4
    assert served_of(facts_of([4, 4, 8], 3.0, lora_alpha=5.0)).r == 4
    assert served_of(facts_of([16], 4.0, lora_alpha=16.0, use_rslora=True)).r == 16
    assert AdapterFacts.from_dict({**facts_of([4]).to_dict(), "r": 9}).r == 9
    old = facts_of([4]).to_dict()
    del old["r"]
    assert AdapterFacts.from_dict(old).r is None


def test_a_rank_that_vllm_does_not_take():
    found = {one.verdict.server: one for one in advice(facts_of([600], r=600, lora_alpha=600.0))}
    assert "up to 512; this adapter has 600" in found["vllm"].verdict.why
    assert not found["vllm"].uniform and found["sglang"].uniform
    wide = {one.verdict.server: one for one in advice(facts_of([300, 8], r=8, lora_alpha=8.0))}
    assert wide["sglang"].uniform and wide["sglang"].rank == 512 and wide["vllm"].rank == 300


def test_what_is_no_plain_lora_is_refused_by_all_with_the_reason():
    dora = facts_of([8], r=8, lora_alpha=8.0, needs_base=[{"code": "dora", "reason": "DoRA rescales.", "do": ""}])
    for one in (*verdicts(dora), *verdicts(facts_of([], peft_type="LOHA"))):
        assert one.answer == "refuses" and ("DoRA" in one.why or "LOHA" in one.why)
    assert not any(one.uniform for one in advice(dora))
