"""Adapters of tools for language models become PEFT's: the same update, by each tool's own formula.

mlx-lm's is `LoRALinear.fuse`, mistral-finetune's `merge_weight`, torchtune's `tune_to_peft_adapter_weights`; the slow
references in `tests.foreign` are written from them. That peft loads the result is proven with a real model.
"""

import json

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load, save

from composition.errors import CompositionError
from composition.formats import read_adapter
from composition.formats.foreign import grouped, megatron, mistral, mlx, torchtune
from composition.formats.foreign.names import Modules
from composition.formats.foreign.plan import Base, made_in_memory
from composition.formats.sources import MemoryFile
from composition.formats.validate import validate_adapter
from tests import foreign
from tests.field import pico_bases as field
from tests.pico import ALL_LINEAR, pico_llama

HEADS = (4, 2)
LINEARS = {
    name: tuple(shape)
    for name, shape in field.shapes("llama").items()
    if name.rpartition(".")[2] in ALL_LINEAR and len(shape) == 2
}


def sources(files: dict[str, bytes]) -> dict[str, MemoryFile]:
    return {name: MemoryFile(data) for name, data in files.items()}


def made(files: dict[str, bytes], module, base: str = "llama") -> dict[str, bytes]:
    known = Base(name="ada/base", shapes=field.shapes(base), config=field.config(base))
    found = sources(files)
    return {name: file.data for name, file in made_in_memory(module.plan(found, known), found).items()}


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, delta in expected.items():
        np.testing.assert_allclose(found[name], delta, rtol=1e-6, atol=1e-9, err_msg=name)


def config_heads() -> tuple[int, int]:
    config = field.config("llama")
    return config["num_attention_heads"], config["num_key_value_heads"]


class TestMlx:
    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_the_update_is_the_tool_s(self, dtype):
        files, deltas = foreign.mlx_lm(LINEARS, scale=20.0, r=8, dtype=dtype)
        built = made(files, mlx)
        assert_equal(foreign.peft_deltas(built), deltas)
        assert json.loads(built["adapter_config.json"])["lora_alpha"] == 160
        assert {value.dtype for value in load(built["adapter_model.safetensors"]).values()} == {np.dtype(dtype)}

    def test_peft_gives_the_logits_of_mlx_s_formula(self, tmp_path):
        model = pico_llama()
        shapes = {
            name: (m.out_features, m.in_features) for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)
        }
        files, deltas = foreign.mlx_lm(shapes, scale=0.1)
        for name, data in made_for(files, shapes).items():
            (tmp_path / name).write_bytes(data)
        tokens = torch.arange(12).reshape(2, 6)
        with torch.no_grad():
            adapted = PeftModel.from_pretrained(pico_llama(), tmp_path)(tokens).logits
            for name, delta in deltas.items():
                model.get_submodule(name).weight += torch.from_numpy(delta).float()
            assert torch.allclose(adapted, model(tokens).logits, atol=1e-4)

    @pytest.mark.parametrize(
        ("config", "expected"),
        [
            ({"lora_parameters": {"rank": 8, "scale": 10.0, "alpha": 16.0}, "fine_tune_type": None}, 20.0),
            ({"lora_parameters": {"rank": 8, "scale": 10.0, "alpha": 16.0}}, 10.0),
            ({"lora_parameters": {"rank": 8, "scale": 10.0}}, 10.0),
        ],
    )
    def test_the_scale_is_read_as_the_version_that_wrote_it(self, config, expected):
        files, deltas = foreign.mlx_lm(LINEARS, r=8, scale=1.0, **config)
        said = {key: value for key, value in json.loads(files["adapter_config.json"]).items() if value is not None}
        files["adapter_config.json"] = json.dumps(said).encode()
        assert_equal(foreign.peft_deltas(made(files, mlx)), {name: expected * delta for name, delta in deltas.items()})

    def test_layers_that_were_left_out_stay_out(self):
        few = {name: shape for name, shape in LINEARS.items() if ".1." in name}
        built = made(foreign.mlx_lm(few)[0], mlx)
        assert json.loads(built["adapter_config.json"])["target_modules"] == sorted(few)
        built = made(foreign.mlx_lm(LINEARS)[0], mlx)
        assert json.loads(built["adapter_config.json"])["target_modules"] == sorted(ALL_LINEAR)

    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("language_model.model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.q_proj"),
            ("layers.1.self_attn.q_proj", "model.layers.1.self_attn.q_proj"),
            ("encoder.blocks.1.self_attn.q_proj", "encoder.blocks.1.self_attn.q_proj"),
            ("self_attn.q_proj", "self_attn.q_proj"),
            ("head", "head"),
        ],
    )
    def test_names_are_found_by_their_end_from_the_layer_s_number_on(self, name, found):
        assert Modules(Base(shapes=LINEARS)).named([name]) == found

    def test_dora_is_peft_s(self, tmp_path):
        """mlx: m / ‖W + ΔW‖ · (W + ΔW), norms over a row; the same as peft's merged weight."""
        model = pico_llama()
        name = "model.layers.0.self_attn.q_proj"
        files, deltas = foreign.mlx_lm({name: (32, 32)}, scale=0.5, fine_tune_type="dora")
        weight = model.get_submodule(name).weight.detach().double().numpy()
        m = np.linspace(0.5, 1.5, 32).astype(np.float32)
        files["adapters.safetensors"] = save(load(files["adapters.safetensors"]) | {f"{name}.m": m})
        for path, data in made_for(files, {name: (32, 32)}).items():
            (tmp_path / path).write_bytes(data)
        merged = PeftModel.from_pretrained(pico_llama(), tmp_path).merge_and_unload()
        adapted = weight + deltas[name]
        expected = m[:, None] / np.linalg.norm(adapted, axis=1, keepdims=True) * adapted
        np.testing.assert_allclose(merged.get_submodule(name).weight.detach(), expected, rtol=1e-4, atol=1e-5)

    def test_experts_become_one_update_each(self):
        count, r, scale, random = 4, 2, 3.0, np.random.default_rng(0)
        tensors, expected = {}, {}
        for layer in range(2):
            for last, (out, into) in {"gate_proj": (16, 32), "up_proj": (16, 32), "down_proj": (32, 16)}.items():
                a = random.standard_normal((count, r, into)).astype(np.float32)
                b = random.standard_normal((count, out, r)).astype(np.float32)
                stem = f"model.layers.{layer}.mlp.switch_mlp.{last}"
                tensors |= {f"{stem}.lora_a": a, f"{stem}.lora_b": b}
                for e in range(count):
                    expected[f"model.layers.{layer}.mlp.experts.{e}.{last}"] = scale * b[e].astype(np.float64) @ a[e]
        files, _ = foreign.mlx_lm(r=r, scale=scale)
        files["adapters.safetensors"] = save(tensors)
        found = foreign.peft_deltas(made(files, mlx, "qwen3moe"))
        assert_equal(found, expected)
        facts = validate_adapter(sources(files), base_shapes=field.shapes("qwen3moe"))
        assert facts.modules

    def test_an_embedding_is_peft_s_embedding(self):
        entries, dim = field.shapes("llama")["model.embed_tokens"]
        tensors = {"model.embed_tokens.lora_a": np.ones((entries, 2), np.float32)}
        tensors["model.embed_tokens.lora_b"] = np.ones((2, dim), np.float32)
        files = foreign.mlx_lm()[0] | {"adapters.safetensors": save(tensors)}
        facts = validate_adapter(sources(files), base_shapes=field.shapes("llama"))
        assert [entry["code"] for entry in facts.needs_base] == ["embedding"]
        assert any("tied embeddings" in warning for warning in facts.warnings)

    def test_a_folder_is_read_here_too(self, tmp_path):
        files, deltas = foreign.mlx_lm(LINEARS)
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        weights = read_adapter(tmp_path)
        for name, delta in deltas.items():
            np.testing.assert_allclose(weights[name].delta().numpy(), delta, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize(
        ("change", "code", "says"),
        [
            ({"fine_tune_type": "full"}, "import.kind", "whole layers"),
            ({"lora_parameters": {"rank": 4}}, "import.config", "lora_parameters.scale"),
            ({"lora_parameters": "x"}, "import.config", "lora_parameters.scale"),
        ],
    )
    def test_a_config_that_says_too_little(self, change, code, says):
        with pytest.raises(CompositionError) as refusal:
            validate_adapter(sources(foreign.mlx_lm(LINEARS, **change)[0]), base_shapes=field.shapes("llama"))
        assert (refusal.value.code, says in refusal.value.message) == (code, True)

    @pytest.mark.parametrize(
        ("tensors", "code"),
        [
            ({}, "import.no_factors"),
            ({"a.lora_a": np.ones((4, 2), np.int32), "a.lora_b": np.ones((2, 4), np.int32)}, "import.dtype"),
            ({"a.lora_a": np.ones((4, 2)), "a.lora_b": np.ones((3, 4))}, "import.shape"),
            ({"a.lora_a": np.ones((4, 0)), "a.lora_b": np.ones((0, 4))}, "import.shape"),
            ({"a.lora_a": np.ones(4), "a.lora_b": np.ones(4)}, "import.shape"),
            ({"a.lora_a": np.ones((4, 2))}, "import.unpaired"),
            ({"a.lora_a": np.ones((4, 2)), "a.weight": np.ones((4, 4))}, "import.tensor_unknown"),
        ],
    )
    def test_weights_that_are_no_factors(self, tensors, code):
        files = foreign.mlx_lm()[0] | {"adapters.safetensors": save(tensors)}
        with pytest.raises(CompositionError) as refusal:
            validate_adapter(sources(files))
        assert refusal.value.code == code

    def test_a_config_alone_is_named(self):
        files, _ = foreign.mlx_lm()
        del files["adapters.safetensors"]
        with pytest.raises(CompositionError) as refusal:
            validate_adapter(sources(files), base_shapes=field.shapes("llama"))
        assert refusal.value.code == "import.file_missing"
        assert "mlx-lm" in refusal.value.message


def made_for(files: dict[str, bytes], shapes: dict) -> dict[str, bytes]:
    found = sources(files)
    plan = mlx.plan(found, Base(name="pico/llama", shapes=shapes))
    return {name: file.data for name, file in made_in_memory(plan, found).items()}


class TestNative:
    @pytest.mark.parametrize(("tool", "module"), [("mistral", mistral), ("torchtune", torchtune)])
    def test_the_update_is_the_tool_s_with_its_rows_put_back(self, tool, module):
        files, deltas = foreign.native(LINEARS, heads=config_heads(), tool=tool, scale=2.5)
        assert_equal(foreign.peft_deltas(made(files, module)), deltas)

    def test_qwen2_s_rows_stay_where_they_are(self):
        shapes = {
            name: tuple(shape)
            for name, shape in field.shapes("qwen2-tied").items()
            if name.endswith(("q_proj", "k_proj", "up_proj"))
        }
        files, deltas = foreign.native(shapes, heads=(1, 1), tool="torchtune", turned=False)
        assert_equal(foreign.peft_deltas(made(files, torchtune, "qwen2-tied")), deltas)

    def test_mistral_reads_without_a_base(self, tmp_path):
        """params.json has the heads."""
        files, deltas = foreign.native(LINEARS, heads=config_heads())
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        weights = read_adapter(tmp_path)
        name = "model.layers.0.self_attn.q_proj"
        np.testing.assert_allclose(weights[name].delta().numpy(), deltas[name], rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize(
        ("tool", "drop", "code"),
        [("mistral", "params.json", "import.config"), ("torchtune", "adapter_config.json", "import.config")],
    )
    def test_the_scale_is_not_guessed(self, tool, drop, code):
        files, _ = foreign.native(LINEARS, heads=HEADS, tool=tool)
        del files[drop]
        with pytest.raises(CompositionError) as refusal:
            validate_adapter(sources(files), base_shapes=field.shapes("llama"))
        assert refusal.value.code == code
        assert refusal.value.facts["format"] in refusal.value.message

    def test_a_base_whose_order_is_not_known_is_refused(self):
        files, _ = foreign.native(LINEARS, heads=HEADS)
        with pytest.raises(CompositionError) as refusal:
            mistral.plan(sources(files), Base(shapes=field.shapes("llama"), config={"model_type": "olmo"}))
        assert refusal.value.code == "import.base"


class TestMegatron:
    """NeMo's exporters: `split_qkv` (groups of heads), `split_fc1` (halves), the same A for all of a layer."""

    def files(self, *, canonical: bool = False) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
        heads, kv = config_heads()
        size = LINEARS["model.layers.0.self_attn.q_proj"][0] // heads
        random, tensors, deltas, alpha, r = np.random.default_rng(3), {}, {}, 6.0, 3
        for layer in range(2):
            stem, out = f"module.decoder.layers.{layer}", f"model.layers.{layer}"
            for linear, names in (
                ("self_attention.linear_qkv", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
                ("self_attention.linear_proj", ("self_attn.o_proj",)),
                ("mlp.linear_fc1", ("mlp.gate_proj", "mlp.up_proj")),
                ("mlp.linear_fc2", ("mlp.down_proj",)),
            ):
                a = random.standard_normal((r, LINEARS[f"{out}.{names[0]}"][1])).astype(np.float32)
                b = {n: random.standard_normal((LINEARS[f"{out}.{n}"][0], r)).astype(np.float32) for n in names}
                deltas |= {f"{out}.{n}": alpha / r * part.astype(np.float64) @ a for n, part in b.items()}
                if canonical and len(names) > 1:
                    for n, part in b.items():
                        word = n.rpartition(".")[2].removesuffix("_proj")
                        tensors[f"{stem}.{linear}.adapter.adapter_{word}.linear_in.weight"] = a
                        tensors[f"{stem}.{linear}.adapter.adapter_{word}.linear_out.weight"] = part
                    continue
                whole = np.concatenate(list(b.values()))
                if len(names) == 3:
                    q, k, v = (part.reshape(-1, size, r) for part in b.values())
                    each = heads // kv
                    groups = [np.concatenate([q[g * each :][:each], k[g : g + 1], v[g : g + 1]]) for g in range(kv)]
                    whole = np.concatenate(groups).reshape(-1, r)
                tensors[f"{stem}.{linear}.adapter.linear_in.weight"] = a
                tensors[f"{stem}.{linear}.adapter.linear_out.weight"] = whole
        config = json.dumps({"r": r, "lora_alpha": alpha}).encode()
        return {"adapter.safetensors": save(tensors), "adapter_config.json": config}, deltas

    @pytest.mark.parametrize("canonical", [False, True])
    def test_layers_are_taken_apart(self, canonical):
        files, deltas = self.files(canonical=canonical)
        assert_equal(foreign.peft_deltas(made(files, megatron)), deltas)
        assert validate_adapter(sources(files), base_shapes=field.kept_shapes("llama")).needs_base == []

    def test_without_alpha_it_is_not_guessed(self):
        files, _ = self.files()
        del files["adapter_config.json"]
        with pytest.raises(CompositionError) as refusal:
            validate_adapter(sources(files), base_shapes=field.kept_shapes("llama"))
        assert (refusal.value.code, "NeMo" in refusal.value.message) == ("import.config", True)


def test_grouped_experts_are_nemo_s_own_split():
    """nemo_automodel: A of gate and up the same, transposed; B's first half the gate's, its second the up's."""
    folder = field.HERE / "cases" / "b11_nemo_grouped_experts"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    tensors, scale = load(files["adapter_model.safetensors"]), 8 / 4
    expected = {}
    for layer in range(2):
        stem = f"base_model.model.model.layers.{layer}"
        experts = {key: tensors[f"{stem}.mlp.experts.lora_{key}"].astype(np.float64) for key in (
            "gate_and_up_A", "gate_and_up_B", "down_A", "down_B"
        )}  # fmt: skip
        for e in range(4):
            both = scale * (experts["gate_and_up_A"][e] @ experts["gate_and_up_B"][e]).T
            name = f"model.layers.{layer}.mlp.experts.{e}"
            expected |= {f"{name}.gate_proj": both[: len(both) // 2], f"{name}.up_proj": both[len(both) // 2 :]}
            expected[f"{name}.down_proj"] = scale * (experts["down_A"][e] @ experts["down_B"][e]).T
        a, b = (tensors[f"{stem}.self_attn.q_proj.lora_{half}.weight"].astype(np.float64) for half in "AB")
        expected[f"model.layers.{layer}.self_attn.q_proj"] = scale * b @ a
    assert_equal(foreign.peft_deltas(made(files, grouped, "qwen3moe")), expected)


def test_shards_are_joined_to_the_file_that_peft_would_have_written():
    from tests.hub import factories

    files = factories.adapter_files()
    whole = load(files.pop("adapter_model.safetensors"))
    names = sorted(whole)
    parts = {name: save({key: whole[key] for key in keys}) for name, keys in (
        ("adapter_model-00001-of-00002.safetensors", names[:3]), ("adapter_model-00002-of-00002.safetensors", names[3:])
    )}  # fmt: skip
    found = sources(files | parts | {"adapter_model.safetensors.index.json": b"{}"})
    facts = validate_adapter(found, base_shapes=factories.pico_shapes())
    assert len(facts.modules) == 4
    assert facts.warnings[0].startswith("Imported from PEFT in several files")
    del found["adapter_model-00002-of-00002.safetensors"]
    with pytest.raises(CompositionError) as refusal:
        validate_adapter(found, base_shapes=factories.pico_shapes())
    assert refusal.value.code == "import.file_missing"
