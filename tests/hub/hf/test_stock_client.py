"""The unmodified client reads from a served hub: huggingface_hub, transformers and peft, each in its own process."""

import json
import shutil
from pathlib import Path

import pytest

from hub.models import Repository
from tests.hub import factories
from tests.hub.conftest import no_earlier_tries  # noqa: F401
from tests.hub.hf import client
from tests.hubctl.conftest import make_token, served  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)

READS = """
    from huggingface_hub import HfApi, ModelCard, hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    api = HfApi()

    def refused(call, *arguments, **named):
        try:
            call(*arguments, **named)
        except Exception as error:
            return [type(error).__name__, str(error)]

    said["whoami"] = api.whoami()["name"]
    said["made"] = str(api.create_repo("dates", exist_ok=True, private=True))
    said["again"] = str(api.create_repo("dates", exist_ok=True))
    said["twice"] = refused(api.create_repo, "dates")
    said["files"] = api.list_repo_files("ada/first")
    said["sha"] = api.model_info("ADA/First").sha
    said["blobs"] = [row.lfs and row.lfs.sha256 for row in api.model_info("ada/first", files_metadata=True).siblings]
    said["found"] = [row.id for row in api.list_models(filter=["base_model:adapter:pico/llama", "peft"])]
    said["all"] = sorted(row.id for row in api.list_models(author="ada", limit=50))
    said["tree"] = [row.path for row in api.list_repo_tree("ada/first", recursive=True, expand=True)]
    said["named"] = [row.path for row in api.get_paths_info("ada/first", ["README.md", "none"])]
    api.create_branch("ada/first", branch="side/one", revision="v1")
    api.create_tag("ada/first", tag="x/1", revision=said["sha"][:7])
    said["refs"] = [row.ref for rows in vars(api.list_repo_refs("ada/first")).values() for row in rows or []]
    said["commits"] = [row.title for row in api.list_repo_commits("ada/first", revision="side/one", formatted=True)]
    said["card"] = ModelCard.load("ada/first").data.license
    v1 = snapshot_download("ada/first", revision="v1")
    said["old"] = open(f"{v1}/README.md").read()
    said["new"] = open(hf_hub_download("ada/first", "README.md", revision="side/one")).read()
    said["alias"] = snapshot_download("ada/first.v1").endswith(api.model_info("ada/first", revision="v1").sha)
    header = api.parse_safetensors_file_metadata("ada/first", "adapter_model.safetensors")
    said["tensors"] = [header.parameter_count, len(header.tensors)]
    said["exists"] = [api.file_exists("ada/first", "README.md"), api.file_exists("ada/first", "none"),
                      api.revision_exists("ada/first", "none"), api.repo_exists("ada/none")]
    said["missing"] = [refused(hf_hub_download, "ada/first", "none")[0],
                       refused(hf_hub_download, "ada/first", "README.md", revision="none")[0],
                       refused(hf_hub_download, "ada/none", "README.md")[0],
                       refused(HfApi(token=False).model_info, "ada/dates")[0]]
    api.move_repo("ada/first", "ada/renamed")
    hf_hub_download("ada/first", "README.md", force_download=True)
    said["moved"] = api.model_info("ada/first").id
    api.update_repo_settings("ada/renamed", gated="auto", visibility="private")
    shown = api.model_info("ada/renamed")
    said["settings"] = [shown.gated, shown.private]
    api.auth_check("ada/renamed", write=True)
    api.delete_repo("ada/dates")
    api.delete_repo("ada/dates", missing_ok=True)
    said["gone"] = refused(api.delete_repo, "ada/dates")[0]
"""


@pytest.fixture
def ada(served):  # noqa: F811
    return factories.make_user("ada")


def test_the_client_reads_makes_moves_and_deletes(ada, served, tmp_path):  # noqa: F811
    factories.make_base()
    first = factories.make_repository(ada, "first")
    factories.push(ada, first, factories.adapter_files(card="---\nlicense: mit\n---\n# One\n"))
    factories.push(ada, first, {"README.md": b"---\nlicense: mit\n---\n# Two\n"}, message="second card")
    said = client.run(READS, endpoint=served, home=tmp_path / "home", token=make_token(ada))
    assert said["whoami"] == "ada"
    assert said["made"] == said["again"] == f"{served}/ada/dates"
    assert said["twice"][0] == "HfHubHTTPError" and "already created this model repo" in said["twice"][1]
    assert said["files"] == said["tree"] == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert [bool(digest) for digest in said["blobs"]] == [False, False, True]
    assert said["found"] == ["ada/first"]
    assert said["all"] == ["ada/dates", "ada/first"]
    assert said["named"] == ["README.md"]
    assert {"refs/heads/main", "refs/heads/side/one", "refs/tags/x/1", "refs/tags/v1"} <= set(said["refs"])
    assert len(said["commits"]) == 1 and said["card"] == "mit"
    assert said["old"].endswith("# One\n") and said["new"] == said["old"]
    assert said["alias"] is True
    assert said["tensors"] == [{"F32": 448}, 8]
    assert said["exists"] == [True, False, False, False]
    assert said["missing"] == [
        "RemoteEntryNotFoundError",
        "RevisionNotFoundError",
        "RepositoryNotFoundError",
        "RepositoryNotFoundError",
    ]
    assert said["moved"] == "ada/renamed"
    assert said["settings"] == ["auto", True]
    assert said["gone"] == "RepositoryNotFoundError"
    assert Repository.objects.filter(name="dates", deleted_at=None).count() == 0


LOADS = """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from peft import PeftModel

    said["pico"] = AutoTokenizer.from_pretrained("pico").vocab_size
    said["google/pico"] = AutoTokenizer.from_pretrained("google/pico").vocab_size
    model = AutoModelForCausalLM.from_pretrained("google/pico")
    tokens = torch.arange(8)[None]
    plain = model(tokens).logits
    adapted = PeftModel.from_pretrained(model, "ada/first", revision="v1")
    said["differs"] = bool((adapted(tokens).logits - plain).abs().max() > 1e-4)
    adapted.save_pretrained("saved")
    try:
        AutoConfig.from_pretrained("nobody/nothing")
    except OSError as error:
        said["missing"] = str(error)
"""


@pytest.mark.slow
def test_a_base_that_only_the_clients_cache_holds_is_loaded_from_there(ada, served, tmp_path, monkeypatch):  # noqa: F811
    """With HF_ENDPOINT here, transformers and peft ask this hub for the base's files as well, optional ones too."""
    torch = pytest.importorskip("torch")
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = {key: value for key, value in factories.PICO_CONFIG.items() if key != "architectures"}
    for name in ("google--pico", "pico"):
        folder = tmp_path / f"home/hub/models--{name}"
        snapshot = folder / "snapshots" / ("a" * 40)
        LlamaForCausalLM(LlamaConfig(**config)).save_pretrained(snapshot)
        tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "w": 1}, unk_token="<unk>"))
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(snapshot)
        (snapshot / "generation_config.json").unlink()
        (folder / "refs").mkdir()
        (folder / "refs/main").write_text("a" * 40)
    factories.make_base()
    first = factories.make_repository(ada, "first", visibility="private")
    factories.push(ada, first, factories.adapter_files())
    monkeypatch.chdir(tmp_path)
    said = client.run(LOADS, endpoint=served, home=tmp_path / "home", token=make_token(ada), OMP_NUM_THREADS="1")
    assert said["google/pico"] == said["pico"] == 2
    assert said["differs"] is True
    assert json.loads(Path("saved/adapter_config.json").read_text())["r"] == 4
    assert "couldn't find them in the cached files" in said["missing"]
    shutil.rmtree(tmp_path / "home")
