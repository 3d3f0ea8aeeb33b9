"""`hubctl export merged`: from a hub's version and a base's folder to a model that loads without peft."""

import pytest
import torch
from gguf import GGUFReader
from peft import PeftModel
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tests.composition import gguf_bases
from tests.hub import factories

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def base_folder(tmp_path):
    """The base that `factories.make_base` registers, with weights."""
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_a_version_and_its_base_become_one_model(hubctl, ada, base, base_folder, tmp_path):
    factories.make_version(ada, "mine", base=base, rank=4, seed=1)
    shown = hubctl("export", "merged", "ada/mine@v1", "--base-folder", base_folder, "--to", tmp_path / "out", "--json")
    assert shown.code == 0, shown.err
    assert shown.json["adapter"] == "ada/mine@v1" and shown.json["changed"] > 0
    assert hubctl("pull", "ada/mine", "-o", tmp_path / "adapter").code == 0
    attached = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base_folder), str(tmp_path / "adapter"))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.arange(8)[None]
    with torch.no_grad():
        assert torch.equal(merged(ids).logits, attached.merge_and_unload()(ids).logits)
    assert "ada/mine@v1" in (tmp_path / "out/README.md").read_text()


def test_a_folder_here_needs_no_hub(hubctl, adapter, base_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = hubctl("export", "merged", "./adapter", "--base-folder", "base")
    assert shown.code == 0, shown.err
    assert (tmp_path / "adapter-merged/model.safetensors").is_file()


def test_refusals_have_the_codes_of_the_client(hubctl, ada, base, adapter, tmp_path, monkeypatch):
    factories.make_version(ada, "secret", base=base, visibility="private")
    assert hubctl("export", "merged", "ada/secret", "--base-folder", tmp_path, "--to", tmp_path / "x").code == 4
    shown = hubctl("export", "merged", str(adapter), "--base-folder", tmp_path / "nowhere", "--to", tmp_path / "x")
    assert shown.code == 1 and "export.base: There is no folder" in shown.err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    shown = hubctl("export", "merged", str(adapter), "--base-folder", tmp_path)
    assert shown.code == 1 and "pip install torch" in shown.err


def test_pull_as_gguf(hubctl, ada, base, tmp_path):
    factories.make_version(ada, "mine", base=base, rank=4, seed=1)
    shown = hubctl("pull", "ada/mine", "--as", "gguf", "-o", tmp_path / "out")
    assert shown.code == 0, shown.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["adapter.gguf"]


def test_merged_into_a_gguf_base(hubctl, ada, base, tmp_path):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG))
    file = gguf_bases.write_gguf(model, tmp_path / "base.gguf", gguf_bases.HALF)
    factories.make_version(ada, "mine", base=base, rank=4, seed=1)
    given = ("export", "merged", "ada/mine@v1", "--base-folder", file, "--to", tmp_path / "out.gguf")
    assert hubctl(*given, "--dtype", "f32").code == 1
    shown = hubctl(*given, "--as", "gguf", "--dtype", "f32", "--json")
    assert shown.code == 0, shown.err
    assert shown.json["adapter"] == "ada/mine@v1" and shown.json["changed"] == 4
    tensors = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "out.gguf").tensors}
    assert tensors["blk.0.attn_q.weight"] == "F32" and tensors["blk.0.ffn_up.weight"] == "F16"
    shown = hubctl(*given, "--as", "gguf")
    assert shown.code == 1 and "export.folder" in shown.err


def test_check_says_what_a_folder_holds(hubctl, adapter, base_folder, tmp_path):
    merged = tmp_path / "merged"
    assert hubctl("export", "merged", str(adapter), "--base-folder", base_folder, "--to", merged).code == 0
    shown = hubctl("export", "check", str(adapter), "--base-folder", base_folder, "--merged", merged)
    assert (shown.code, "merged (4 the same bits)" in shown.out) == (0, True), shown.out
    shown = hubctl("export", "check", str(adapter), "--base-folder", base_folder, "--merged", base_folder)
    assert (shown.code, "not merged (4 the base's)" in shown.out) == (1, True), shown.out
