"""What a merged export leaves behind when it is cut, whose tensor a module is, and what is refused with which way."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, LlavaForConditionalGeneration, MixtralConfig, MixtralForCausalLM

from composition.merged_model import write
from composition.merged_model.names import BaseNames
from composition.merged_model.refusal import ExportRefused
from composition.merged_model.write import export_merged
from tests.composition.test_merged_model import assert_same_bits, by_peft, rewrite, save_base, stored
from tests.pico import pico_llama, write_adapter, write_kind

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def base(tmp_path):
    return save_base(tmp_path / "base", shard="8KB")


@pytest.fixture
def adapter(tmp_path):
    return write_kind(tmp_path / "adapter", "plain")


def refusal(*arguments) -> ExportRefused:
    with pytest.raises(ExportRefused) as refused:
        export_merged(*arguments)
    return refused.value


class TestCuts:
    def test_a_cut_leaves_no_folder_and_the_next_one_takes_up_its_shards(self, base, adapter, tmp_path, monkeypatch):
        out, whole = tmp_path / "out", tmp_path / "whole"
        export_merged(base, adapter, whole)
        shards, written, real = sorted(p.name for p in whole.glob("*.safetensors")), [], write._write_shard
        assert len(shards) > 3

        def cut(path, *rest):
            if len(written) == 2:
                path.with_name(path.name + ".part").write_bytes(b"half")
                raise KeyboardInterrupt
            written.append(path.name)
            real(path, *rest)

        monkeypatch.setattr(write, "_write_shard", cut)
        with pytest.raises(KeyboardInterrupt):
            export_merged(base, adapter, out)
        assert not out.exists()
        first = written.copy()
        monkeypatch.setattr(write, "_write_shard", lambda path, *rest: (written.append(path.name), real(path, *rest)))
        export_merged(base, adapter, out)
        assert sorted(written) == shards and not set(written[2:]) & set(first)
        names = sorted(p.name for p in out.iterdir())
        assert names == sorted(p.name for p in whole.iterdir()) and not (tmp_path / "out.part").exists()
        assert all((out / name).read_bytes() == (whole / name).read_bytes() for name in names)

    def test_shards_of_another_adapter_are_not_taken_up(self, base, adapter, tmp_path):
        other = write_kind(tmp_path / "other", "plain", seed=7)
        export_merged(base, other, tmp_path / "there")
        (tmp_path / "there").rename(tmp_path / "out.part")
        export_merged(base, adapter, tmp_path / "out")
        export_merged(base, adapter, tmp_path / "whole")
        assert_same_bits(stored(tmp_path / "out"), stored(tmp_path / "whole"))

    def test_a_folder_with_something_in_it_is_left_alone(self, base, adapter, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine").write_text("x")
        assert refusal(base, adapter, tmp_path / "out").code == "export.folder"
        assert refusal(base, adapter, base / "out").code == "export.folder"
        assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine"]


class TestNames:
    def test_a_vision_base_whose_files_have_older_names(self, tmp_path):
        text = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
        text |= {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 64}
        vision = {"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 24, "patch_size": 8}
        vision |= {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16, "projection_dim": 16}
        config = AutoConfig.for_model("llava", text_config=text, vision_config=vision, image_token_index=63)
        torch.manual_seed(0)
        base = tmp_path / "base"
        LlavaForConditionalGeneration(config).save_pretrained(base)
        model = LlavaForConditionalGeneration.from_pretrained(base)
        adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(0, 0.1)
        adapted.save_pretrained(tmp_path / "adapter")
        assert "language_model.model.layers.0.self_attn.q_proj.weight" in stored(base)
        assert "model.language_model.layers.0.self_attn.q_proj" in dict(model.named_modules())
        assert export_merged(base, tmp_path / "adapter", tmp_path / "ours")["changed"] == 4
        model = LlavaForConditionalGeneration.from_pretrained(base)
        merged = PeftModel.from_pretrained(model, str(tmp_path / "adapter")).merge_and_unload()
        merged.save_pretrained(tmp_path / "theirs")
        assert_same_bits(stored(tmp_path / "ours"), stored(tmp_path / "theirs"))

    def test_experts_one_by_one_as_transformers_4_trained_them(self, tmp_path):
        """PEFT fuses their factors for transformers 5's layers; the files of the base still hold one expert each."""
        sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "vocab_size": 32}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 3}
        torch.manual_seed(0)
        base = save_base(tmp_path / "base", MixtralForCausalLM(MixtralConfig(**sizes, **heads)))
        (tmp_path / "adapter").mkdir()
        tensors = {}
        for expert in range(3):
            for name, wide, high in (("w1", 16, 24), ("w2", 24, 16), ("w3", 16, 24)):
                stem = f"base_model.model.model.layers.0.block_sparse_moe.experts.{expert}.{name}.lora"
                tensors |= {f"{stem}_A.weight": torch.randn(4, wide), f"{stem}_B.weight": torch.randn(high, 4)}
        save_file(tensors, tmp_path / "adapter/adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["w1", "w2", "w3"]}
        (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(config))
        assert export_merged(base, tmp_path / "adapter", tmp_path / "ours")["changed"] == 9
        assert_same_bits(stored(tmp_path / "ours"), by_peft(base, tmp_path / "adapter", tmp_path / "theirs"))

    def test_two_that_fit_equally_well_are_refused(self):
        names = BaseNames(["a.layers.0.q_proj.weight", "b.layers.0.q_proj.weight", "a.layers.1.q_proj.weight"])
        assert names.find("a.layers.0.q_proj.weight") == "a.layers.0.q_proj.weight"
        assert names.find("model.layers.1.q_proj.weight") == "a.layers.1.q_proj.weight"
        assert names.find("layers.2.q_proj.weight") is None
        with pytest.raises(ExportRefused, match="may be"):
            names.find("c.layers.0.q_proj.weight")


class TestRefusals:
    def test_the_wrong_base(self, adapter, tmp_path):
        model = pico_llama()
        model.config.num_hidden_layers = 1
        small = save_base(tmp_path / "small", type(model)(model.config))
        assert refusal(small, adapter, tmp_path / "out").code == "export.not_in_base"
        model.config.hidden_size, model.config.num_hidden_layers = 16, 2
        narrow = save_base(tmp_path / "narrow", type(model)(model.config))
        assert refusal(narrow, adapter, tmp_path / "out").code == "export.shape"
        assert not (tmp_path / "out.part").exists()

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"init_lora_weights": "pissa_niter_4"}, "start"),
            ({"init_lora_weights": "olora"}, "start"),
            ({"peft_type": "LOHA"}, "not_lora"),
            ({"alora_invocation_tokens": [1, 2]}, "method"),
            ({"target_parameters": ["experts.down_proj"]}, "method"),
            ({"layer_replication": [[0, 1], [0, 2]]}, "method"),
            ({"use_shimmer": True}, "method"),
            ({"use_dora": True}, "adapter"),
        ],
    )
    def test_a_method_that_a_sum_can_not_express(self, fields, code, base, adapter, tmp_path):
        rewrite(adapter, **fields)
        assert refusal(base, adapter, tmp_path / "out").code == f"export.{code}"

    def test_what_peft_would_not_load(self, base, adapter, tmp_path):
        rewrite(adapter, r=3)
        assert "config says rank 3" in refusal(base, adapter, tmp_path / "out").message
        rewrite(adapter, r=4)
        path = adapter / "adapter_model.safetensors"
        save_file({name.removeprefix("base_model.model."): t for name, t in load_file(path).items()}, path)
        assert "base_model.model." in refusal(base, adapter, tmp_path / "out").message

    def test_a_quantised_base(self, base, adapter, tmp_path):
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
        assert refusal(base, adapter, tmp_path / "out").code == "export.quantised"

    @pytest.mark.parametrize(
        ("files", "said"),
        [
            ({}, "hf download"),
            ({"model.Q4.gguf": b"GGUF"}, "composition.running.convert_gguf"),
            ({"config.json": b"{}", "pytorch_model.bin": b"PK"}, "save_pretrained"),
            ({"config.json": b"{}", "model.safetensors": b"version https://git-lfs.github.com/spec/v1"}, "git lfs"),
        ],
    )
    def test_a_folder_without_safetensors_says_how_to_get_one(self, files, said, adapter, tmp_path):
        folder = tmp_path / "given"
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        assert said in refusal(folder, adapter, tmp_path / "out").message

    def test_a_cut_base(self, base, adapter, tmp_path):
        last = sorted(base.glob("*.safetensors"))[-1]
        last.write_bytes(last.read_bytes()[:-10])
        assert refusal(base, adapter, tmp_path / "out").code == "export.weights"
        last.unlink()
        assert last.name in refusal(base, adapter, tmp_path / "out").message


def test_a_larger_vocabulary_of_the_adapter_goes_into_the_config(tmp_path):
    base = save_base(tmp_path / "base")
    model = pico_llama()
    model.resize_token_embeddings(70, mean_resizing=False)
    adapter = write_adapter(
        tmp_path / "adapter", model=model, r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"]
    )
    export_merged(base, adapter, tmp_path / "ours")
    assert json.loads((tmp_path / "ours/config.json").read_text())["vocab_size"] == 70
    ours = stored(tmp_path / "ours")
    assert ours["lm_head.weight"].shape == ours["model.embed_tokens.weight"].shape == (70, 32)


def test_the_client_ships_the_same_files_and_they_stand_alone():
    ours, theirs = ROOT / "composition/merged_model", ROOT / "hubctl/merged_model"
    assert theirs.is_symlink() and theirs.resolve() == ours
    code = (
        "import sys, hubctl.merged_model.write, hubctl.merged_model.into_gguf\n"
        "taken = {name.split('.')[0] for name in sys.modules} & {'composition', 'torch', 'numpy', 'django'}\n"
        "assert not taken, taken\n"
        "import hubctl.merged_model.arithmetic, hubctl.merged_model.gguf_rows\n"
        "assert 'composition' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
