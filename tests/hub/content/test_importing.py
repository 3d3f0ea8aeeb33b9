"""An adapter of another tool is pushed: a version in PEFT's form, the originals beside it, the same ids every time."""

import numpy as np
import pytest

from hub import broker
from hub.models import BaseModel, Job, Ref
from hub.services.content.manifest import content_of, manifest_of
from hub.storage import blobs
from tests import foreign
from tests.composition.foreign.bases import SMALL_XL
from tests.hub import factories
from tests.hub.api_client import Api, problem
from workers.runner import run
from workers.worker import Worker

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]


def stored(result) -> dict[str, bytes]:
    return {path: blobs.open(entry.sha256).read() for path, entry in manifest_of(result.revision).items()}


deltas_of = foreign.peft_deltas


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

    def test_nothing_that_was_pushed_is_lost(self, owner, repository, base):
        """A config that the format doesn't read, under the name of PEFT's."""
        files, _ = foreign.native({"model.layers.0.self_attn.v_proj": (8, 16)}, heads=(2, 1))
        files["adapter_config.json"] = b'{"note": "mine"}'
        made = stored(factories.push(owner, repository, files, base=base))
        assert all(made[f"original/{name}"] == data for name, data in files.items())

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


@pytest.mark.django_db(transaction=True)
class TestAnImageModel:
    """A base by its diffusers config; LoRAs of sd-scripts for it are stored, browsed, merged, and not run."""

    @pytest.fixture
    def api(self, owner, settings, tmp_path) -> Api:
        settings.WORKER_CACHE, settings.WORKER_THREADS = tmp_path / "cache", 1
        return Api(owner)

    @pytest.fixture
    def image(self, api) -> str:
        made = api.post("/bases", {"name": "owner/xl", "config": SMALL_XL}).json()
        self.work(made["job"]["id"] if isinstance(made["job"], dict) else made["job"])
        return "owner/xl"

    def work(self, job: str) -> Job:
        worker = Worker("here", [broker.CPU])
        run(worker.claim(job), worker)
        done = Job.objects.get(pk=job)
        assert (done.state, done.error) == ("done", None)
        return done

    def linear(self) -> dict:
        found = BaseModel.objects.get(name="owner/xl").shapes
        return {name: shape for name, shape in found.items() if len(shape) == 2 and "attn" in name}

    def test_two_are_pushed_and_merged(self, api, image, owner, client):
        expected = {}
        for name, alpha in (("one", 2.0), ("two", 4.0)):
            factories.make_repository(owner, name)
            files, deltas = foreign.kohya(self.linear(), style="stability", alpha=alpha)
            pushed = api.push(f"owner/{name}", files, base=image)
            assert pushed["version"] == "v1"
            expected = {module: expected.get(module, 0) + delta / 2 for module, delta in deltas.items()}
        facts = api.get("/repositories/owner/one/versions/v1").json()["facts"]
        assert (facts["needs_base"], facts["task_type"]) == ([], None)
        assert [row["full_name"] for row in api.get(f"/repositories?base={image}").json()["results"]]
        page = client.get("/owner/one").content.decode()
        assert "from diffusers import UNet2DConditionModel" in page
        assert "hubctl pull owner/one@v1 --as kohya -o one-v1" in page
        assert "AutoModelForCausalLM" not in page
        assert "vllm" not in page
        ask = {"kind": "cat", "recipe": {}, "inputs": ["owner/one", "owner/two"], "output": "owner/both"}
        ask["recipe"] = {"weights": [0.5, 0.5]}
        checked = api.post("/jobs/check", ask).json()
        assert checked["ok"], checked
        done = self.work(api.post("/jobs", ask).json()["id"])
        found = deltas_of({p: blobs.open(e.sha256).read() for p, e in manifest_of(done.result.revisions.get()).items()})
        assert found.keys() == expected.keys()
        for module, delta in expected.items():
            np.testing.assert_allclose(found[module], delta, rtol=1e-4, atol=1e-5)

    def test_a_job_that_runs_the_base_says_that_it_can_t(self, api, image, owner):
        factories.make_repository(owner, "one")
        api.push("owner/one", foreign.kohya(self.linear())[0], base=image)
        data = factories.make_repository(owner, "sums", kind="dataset")
        factories.publish(owner, data, factories.dataset_files())
        ask = {"kind": "evaluate", "recipe": {}, "inputs": ["owner/one"], "datasets": ["owner/sums"]}
        (refused,) = api.post("/jobs/check", ask).json()["problems"]
        assert refused["code"] == "base.not_run"
        assert "image model (UNet2DConditionModel)" in refused["message"]

    def test_a_file_without_a_base_is_named(self, api, image, owner):
        factories.make_repository(owner, "one")
        files, _ = foreign.kohya(self.linear())
        upload = api.begin("owner/one", files).json()
        for name, data in files.items():
            api.send(upload["id"], name, data, 0)
        refused = problem(api.post(f"/uploads/{upload['id']}/commit"), 422, "base.unknown")
        assert "kohya" in refused["detail"]
        assert "--base" in refused["detail"]
