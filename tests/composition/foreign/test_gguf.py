"""GGUF LoRAs are read back to the adapter that was converted: against the hub's own writer, against the package `gguf`,
and against llama.cpp's permutation written out."""

import json
import struct

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from composition.base_models import module_shapes
from composition.errors import CompositionError
from composition.formats import read_adapter
from composition.formats.foreign import gguf as importer
from composition.formats.foreign.gguf_file import read_head
from composition.formats.foreign.plan import Base, made_in_memory
from composition.formats.gguf.lora import gguf_files
from composition.formats.sources import MemoryFile
from composition.formats.validate import local_files, validate_adapter
from tests import foreign
from tests.field import pico_bases as field

LLAMA = field.config("llama")


def written(tensors: dict[str, np.ndarray], path, *, alpha: float = 8.0, arch: str = "llama", **more: str) -> dict:
    """A file by the package that llama.cpp's converter writes with."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for key, value in more.items():
        writer.add_string(key.replace("_", "."), value)
    for name, data in tensors.items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {"lora.gguf": MemoryFile(path.read_bytes())}


def permuted(b: np.ndarray, heads: int) -> np.ndarray:
    """`LlamaModel.permute` of llama.cpp's converter."""
    return b.reshape(heads, 2, b.shape[0] // heads // 2, *b.shape[1:]).swapaxes(1, 2).reshape(b.shape)


def made(files: dict, config: dict) -> dict[str, np.ndarray]:
    plan = importer.plan(files, Base(name="ada/base", shapes=module_shapes(config), config=config))
    return foreign.peft_deltas({name: file.data for name, file in made_in_memory(plan, files).items()})


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_the_package_wrote_is_read_to_the_same_update(tmp_path, dtype):
    heads, kv = LLAMA["num_attention_heads"], LLAMA["num_key_value_heads"]
    shapes = module_shapes(LLAMA)
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.o_proj": "attn_output",
             "mlp.gate_proj": "ffn_gate", "mlp.down_proj": "ffn_down"}  # fmt: skip
    picked = {f"model.layers.{i}.{name}": shapes[f"model.layers.{i}.{name}"] for i in range(2) for name in names}
    tensors, deltas = {}, {}
    for count, (module, (down, up)) in enumerate(foreign.image_factors(picked, 4).items()):
        down, up = down[: 4 - count % 2].astype(dtype), up[:, : 4 - count % 2].astype(dtype)
        layer, name = module.split(".")[2], module.split(".", 3)[3]
        tensor = f"blk.{layer}.{names[name]}.weight"
        turned = permuted(up, heads if "q_proj" in name else kv) if name[-6:] in ("q_proj", "k_proj") else up
        tensors |= {f"{tensor}.lora_a": down, f"{tensor}.lora_b": turned}
        deltas[module] = 8.0 / len(down) * (up.astype(np.float64) @ down.astype(np.float64))
    found = made(written(tensors, tmp_path / "lora.gguf"), LLAMA)
    assert found.keys() == deltas.keys()
    for module, delta in deltas.items():
        np.testing.assert_allclose(found[module], delta, rtol=1e-6, err_msg=module)


@pytest.mark.parametrize("base", ["llama", "phi3", "gemma3", "qwen2-tied", "qwen3moe", "qwen2vl"])
def test_what_the_hub_writes_it_reads_back(base):
    config = field.config(base)
    shapes = module_shapes(config)
    last = ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "down_proj", "gate_up_proj")
    pick = {name: shape for name, shape in shapes.items() if name.endswith(last) and len(shape) == 2}
    pick = {name: shape for name, shape in pick.items() if "vis" not in name}
    tensors, deltas = {}, {}
    for name, (down, up) in foreign.image_factors(pick, 4).items():
        tensors |= {f"base_model.model.{name}.lora_A.weight": down, f"base_model.model.{name}.lora_B.weight": up}
        deltas[name] = 3.0 * (up.astype(np.float64) @ down.astype(np.float64))
    said = {"peft_type": "LORA", "r": 4, "lora_alpha": 12, "target_modules": sorted(pick)}
    peft = {
        "adapter_config.json": MemoryFile(json.dumps(said).encode()),
        "adapter_model.safetensors": MemoryFile(save(tensors)),
    }
    wrote = gguf_files(peft, config)
    with wrote["adapter.gguf"].open() as stream:
        files = {"adapter.gguf": MemoryFile(stream.read())}
    found = made(files, config)
    assert found.keys() == deltas.keys()
    for name, delta in deltas.items():
        np.testing.assert_allclose(found[name], delta, rtol=1e-6, err_msg=name)


def test_q8_0_is_read_to_the_numbers_that_llama_cpp_computes_with(tmp_path):
    random = np.random.default_rng(0)
    down, up = random.standard_normal((32, 32)).astype(np.float32), random.standard_normal((16, 32)).astype(np.float32)
    quantised = [gguf.quants.quantize(half, gguf.GGMLQuantizationType.Q8_0) for half in (down, up)]
    writer = gguf.GGUFWriter(tmp_path / "q.gguf", "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, 32.0)
    for half, data in zip("ab", quantised, strict=True):
        name = f"blk.0.attn_v.weight.lora_{half}"
        writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = made({"q.gguf": MemoryFile((tmp_path / "q.gguf").read_bytes())}, LLAMA)
    a, b = (gguf.quants.dequantize(data, gguf.GGMLQuantizationType.Q8_0) for data in quantised)
    np.testing.assert_allclose(found["model.layers.0.self_attn.v_proj"], b.astype(np.float64) @ a, rtol=1e-6)


def test_a_folder_is_read_here_with_the_base_and_refused_without():
    folder = field.HERE / "cases" / "b14_gguf_lora"
    assert sorted(read_adapter(folder, base=field.shapes("llama"))) == [
        f"model.layers.{layer}.self_attn.q_proj" for layer in range(2)
    ]
    with pytest.raises(CompositionError) as refusal:
        read_adapter(folder)
    assert refusal.value.code == "import.needs_base"


def test_an_embedding_is_transposed_as_llama_cpp_has_it(tmp_path):
    entries, dim = module_shapes(LLAMA)["model.embed_tokens"]
    a, b = np.ones((entries, 2), np.float32), np.ones((dim, 2), np.float32)
    files = written({"token_embd.weight.lora_a": a, "token_embd.weight.lora_b": b}, tmp_path / "e.gguf")
    facts = validate_adapter(files, base_shapes=field.kept_shapes("llama"))
    assert [entry["code"] for entry in facts.needs_base] == ["embedding"]


def test_alpha_zero_means_scale_one(tmp_path):
    shape = module_shapes(LLAMA)["model.layers.0.self_attn.v_proj"]
    a, b = np.ones((2, shape[1]), np.float32), np.ones((shape[0], 2), np.float32)
    tensors = {"blk.0.attn_v.weight.lora_a": a, "blk.0.attn_v.weight.lora_b": b}
    found = made(written(tensors, tmp_path / "z.gguf", alpha=0.0), LLAMA)
    assert float(found["model.layers.0.self_attn.v_proj"][0, 0]) == 2.0


class TestRefused:
    @pytest.fixture
    def tensors(self) -> dict[str, np.ndarray]:
        out, into = module_shapes(LLAMA)["model.layers.0.self_attn.v_proj"]
        half = {"lora_a": np.ones((2, into), np.float32), "lora_b": np.ones((out, 2), np.float32)}
        return {f"blk.0.attn_v.weight.{name}": data for name, data in half.items()}

    def refused(self, files, base="llama") -> CompositionError:
        with pytest.raises(CompositionError) as refusal:
            validate_adapter(files, base_shapes=field.kept_shapes(base))
        return refusal.value

    def test_another_architecture_than_the_base_s(self, tmp_path, tensors):
        error = self.refused(written(tensors, tmp_path / "a.gguf", arch="qwen2"))
        assert (error.code, "'qwen2'" in error.message) == ("import.base", True)

    def test_a_model_is_no_adapter(self, tmp_path, tensors):
        writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
        writer.add_type(gguf.GGUFType.MODEL)
        writer.add_tensor("blk.0.attn_v.weight", tensors["blk.0.attn_v.weight.lora_a"])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        error = self.refused({"m.gguf": MemoryFile((tmp_path / "m.gguf").read_bytes())})
        assert (error.code, "registered as a base" in error.message) == ("import.kind", True)

    def test_a_tensor_that_the_base_lacks(self, tmp_path, tensors):
        tensors = {name.replace("blk.0", "blk.7"): data for name, data in tensors.items()}
        assert self.refused(written(tensors, tmp_path / "n.gguf")).code == "import.module_unknown"

    def test_one_half(self, tmp_path, tensors):
        tensors.popitem()
        assert self.refused(written(tensors, tmp_path / "h.gguf")).code == "import.unpaired"

    def test_a_base_whose_names_are_not_known(self, tmp_path, tensors):
        assert self.refused(written(tensors, tmp_path / "t.gguf"), base="t5").code == "import.base"

    @given(st.data())
    def test_cut_and_changed_files_end_in_a_refusal_or_are_whole(self, data):
        case = next(iter(local_files(field.HERE / "cases" / "b14_gguf_lora").values()))
        with case.open() as stream:
            good = stream.read()
        cut = data.draw(st.integers(0, len(good) - 1))
        place = data.draw(st.integers(0, 440))
        changed = bytearray(good)
        changed[place] ^= data.draw(st.integers(1, 255))
        for broken in (good[:cut], bytes(changed)):
            try:
                read_head(MemoryFile(broken), "x.gguf")
            except CompositionError as error:
                assert error.code in ("gguf.broken", "gguf.too_large")

    def test_a_head_that_announces_too_much_costs_nothing(self):
        head = b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1)
        error = self.refused({"x.gguf": MemoryFile(head)})
        assert error.code == "gguf.too_large"
