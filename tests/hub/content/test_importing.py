"""An adapter of another tool is pushed: a version in PEFT's form, the originals beside it, the same ids every time."""

import json

import numpy as np
import pytest
from safetensors.numpy import load

from hub.models import Ref
from hub.services.content.manifest import content_of, manifest_of
from hub.storage import blobs
from tests import foreign
from tests.hub import factories
from tests.hub.api_client import Api, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]


def stored(result) -> dict[str, bytes]:
    return {path: blobs.open(entry.sha256).read() for path, entry in manifest_of(result.revision).items()}


def deltas_of(files: dict[str, bytes]) -> dict[str, np.ndarray]:
    """ΔW of a plain PEFT adapter of one rank and alpha, by peft's formula."""
    config, tensors = json.loads(files["adapter_config.json"]), load(files["adapter_model.safetensors"])
    assert not config["rank_pattern"], config["alpha_pattern"]
    stems = {name.rpartition(".lora_")[0] for name in tensors}
    scale = config["lora_alpha"] / config["r"]
    return {
        stem.removeprefix("base_model.model."): scale
        * tensors[f"{stem}.lora_B.weight"].astype(np.float64)
        @ tensors[f"{stem}.lora_A.weight"].astype(np.float64)
        for stem in stems
    }


class TestAFolderOfMlx:
    def test_it_becomes_a_version_of_both_forms(self, owner, repository, base):
        files, deltas = foreign.mlx_lm()
        card = "---\nlicense: mit\n---\n# Mine\n\nWords.\n"
        result = factories.push(owner, repository, files | {"README.md": card.encode(), "notes.txt": b"kept"})
        made = stored(result)
        assert result.version.label == "v1"
        assert {path for path in made if path.startswith("original/")} == {f"original/{name}" for name in files}
        assert all(made[f"original/{name}"] == data for name, data in files.items())
        assert made["notes.txt"] == b"kept"
        found = deltas_of(made)
        assert found.keys() == deltas.keys()
        for module, delta in deltas.items():
            np.testing.assert_allclose(found[module], delta, rtol=1e-12)
        text = made["README.md"].decode()
        assert text.startswith(card.rstrip())
        assert "`original/adapters.safetensors`" in text
        assert set(content_of("adapter", manifest_of(result.revision))) == {
            "adapter_config.json",
            "adapter_model.safetensors",
        }
        facts = result.version.facts
        assert (facts["peft_type"], facts["lora_alpha"], facts["ranks"]) == ("LORA", 80, [4, 4])
        assert facts["warnings"][0] == "Imported from mlx-lm: the files as they were pushed are in original/."
        repository.refresh_from_db()
        assert (repository.license, repository.rank) == ("mit", 4)

    def test_the_same_push_changes_nothing_and_has_the_same_id_elsewhere(self, owner, people, repository, base):
        files, _ = foreign.mlx_lm()
        first = factories.push(owner, repository, files, message="one")
        again = factories.push(owner, repository, files, message="one")
        assert (again.created, again.revision) == (False, first.revision)
        assert manifest_of(first.revision) == manifest_of(again.revision)

    def test_another_push_is_the_next_version_and_takes_old_originals_away(self, owner, repository, base):
        files, _ = foreign.mlx_lm()
        factories.push(owner, repository, files | {"0000100_adapters.safetensors": files["adapters.safetensors"]})
        other, deltas = foreign.mlx_lm(seed=7)
        result = factories.push(owner, repository, other)
        made = stored(result)
        assert result.version.label == "v2"
        assert "original/0000100_adapters.safetensors" not in made
        np.testing.assert_allclose(
            deltas_of(made)["model.layers.1.self_attn.v_proj"], deltas["model.layers.1.self_attn.v_proj"]
        )

    def test_a_plain_adapter_over_it_leaves_no_originals(self, owner, repository, base):
        factories.push(owner, repository, foreign.mlx_lm()[0])
        result = factories.push(owner, repository, factories.adapter_files())
        assert not [path for path in stored(result) if path.startswith("original/")]
        assert result.version.label == "v2"

    def test_what_was_pulled_can_be_pushed_to_another_place(self, owner, people, repository, base):
        made = stored(factories.push(owner, repository, foreign.mlx_lm()[0]))
        other = factories.make_repository(owner, "copy")
        assert stored(factories.push(owner, other, made)) == made

    def test_the_base_is_named_by_the_config_or_by_the_push(self, owner, repository, base):
        files, _ = foreign.mlx_lm(base="mlx-community/pico-4bit")
        api = Api(owner)
        upload = api.begin("lab/sentiment", files).json()
        for name, data in files.items():
            api.send(upload["id"], name, data, 0)
        refused = problem(api.post(f"/uploads/{upload['id']}/commit"), 422, "base.unknown")
        assert "mlx-lm" in refused["detail"]
        assert "'mlx-community/pico-4bit'" in refused["detail"]
        assert not Ref.objects.exists()
        assert api.push("lab/sentiment", files, base="pico/llama")["version"] == "v1"

    def test_a_module_of_another_base_is_refused_and_leaves_nothing(self, owner, repository, base):
        files, _ = foreign.mlx_lm({"model.layers.5.self_attn.q_proj": (16, 16)})
        api = Api(owner)
        upload = api.begin("lab/sentiment", files).json()
        for name, data in files.items():
            api.send(upload["id"], name, data, 0)
        problem(api.post(f"/uploads/{upload['id']}/commit"), 422, "adapter.module_unknown")
        assert not Ref.objects.exists()


class TestAnImageModel:
    """A base by its diffusers config; LoRAs of sd-scripts for it are stored, merged, and not run."""

    @pytest.fixture
    def image(self, owner, work) -> str:
        api = Api(owner)
        made = api.post("/bases", {"name": "ada/xl", "config": {**SMALL_XL, "block_out_channels": [16, 32]}}).json()
        work(made["job"])
        assert api.get("/bases/ada/xl").json()["ready"]
        return "ada/xl"
