"""A format the hub never heard of, added to the table, passes every door: REST, checks, version, page, merge.

And the formats that are stored already keep their digests.
"""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from composition.formats import FORMATS, read_adapter
from composition.formats.sources import MemoryFile
from hub import broker
from hub.models import Job, Repository, Version
from hub.services.content.manifest import Entry, content_digest, content_of, format_of, manifest_of
from tests import toy_format
from tests.hub import factories
from tests.hub.api_client import Api, problem
from workers.runner import run
from workers.worker import Worker

Q = [f"model.layers.{layer}.self_attn.q_proj" for layer in range(2)]


def toy_files(seed: int = 0, r: int = 2, base: str = "pico/llama") -> dict[str, bytes]:
    """A toy adapter of the pico base's two query projections."""
    random = np.random.default_rng(seed)
    shapes = {f"{module}.{half}": shape for module in Q for half, shape in (("down", (r, 16)), ("up", (16, r)))}
    tensors = {name: random.standard_normal(shape).astype("float32") for name, shape in shapes.items()}
    return {"toy.json": json.dumps({"base": base, "scale": 0.5}).encode(), "toy.safetensors": save(tensors)}


@pytest.fixture
def toy():
    with FORMATS.registered(toy_format.ROW) as row:
        yield row


@pytest.mark.django_db
@pytest.mark.usefixtures("store", "base", "toy")
class TestPublished:
    def test_it_is_pushed_over_rest_and_becomes_a_version(self, owner, repository):
        api = Api(owner)
        answer = api.push("lab/sentiment", toy_files() | {"README.md": b"# A toy\n"})
        assert answer["version"] == "v1"
        version = api.get("/repositories/lab/sentiment/versions/v1").json()
        assert (version["facts"]["peft_type"], version["base"]) == ("TOY", "pico/llama")
        assert [row["full_name"] for row in api.get("/repositories?peft_type=TOY").json()["results"]] == [
            "lab/sentiment"
        ]
        manifest = manifest_of(Version.objects.get().revisions.get())
        assert set(content_of("adapter", manifest)) == {"toy.json", "toy.safetensors"}

    def test_its_config_counts_by_value_and_its_weights_by_bytes(self, owner, repository):
        first = factories.publish(owner, repository, toy_files()).version
        spaced = json.dumps(json.loads(toy_files()["toy.json"]), indent=4).encode()
        assert factories.publish(owner, repository, {"toy.json": spaced}).version == first
        assert (
            factories.publish(owner, repository, {"toy.safetensors": toy_files(1)["toy.safetensors"]}).version != first
        )

    def test_its_refusals_reach_the_client(self, owner, repository):
        api = Api(owner)
        for files, code in (
            ({"toy.json": toy_files()["toy.json"]}, "toy.file_missing"),
            (toy_files(base="nobody/knows"), "base.unknown"),
        ):
            upload = api.begin("lab/sentiment", files).json()
            for name, data in files.items():
                api.send(upload["id"], name, data, 0)
            refused = problem(api.post(f"/uploads/{upload['id']}/commit"), 422, code)
        assert refused["detail"].startswith("toy.json names the base 'nobody/knows'")

    def test_downloads_of_its_weights_are_counted(self, owner, repository):
        factories.publish(owner, repository, toy_files())
        for name in ("toy.json", "toy.safetensors"):
            assert Api(owner).get(f"/repositories/lab/sentiment/files/v1/{name}").status_code == 200
        assert Repository.objects.get().downloads == 1

    def test_its_page_offers_what_it_can_be_used_with(self, owner, repository, client):
        factories.publish(owner, repository, toy_files())
        page = client.get("/lab/sentiment").content.decode()
        assert "for f in toy.json toy.safetensors; do" in page
        assert "PeftModel" not in page


@pytest.mark.django_db(transaction=True)
class TestMerged:
    @pytest.fixture
    def ask(self, owner, base, repository) -> dict:
        """A merge of a toy and a PEFT adapter, as REST takes it."""
        plain = factories.make_version(owner, "plain", base=base, targets=("q_proj",))
        with FORMATS.registered(toy_format.ROW):
            given = factories.publish(owner, repository, toy_files()).version
        return {"kind": "svd", "recipe": {"rank": 6}, "inputs": [str(given), str(plain)], "output": "owner/merged"}

    def test_it_merges_with_a_peft_adapter(self, owner, ask, toy, settings, tmp_path):
        settings.WORKER_CACHE, settings.WORKER_THREADS = tmp_path / "cache", 1
        api = Api(owner)
        assert api.post("/jobs/check", ask).json()["ok"]
        job = api.post("/jobs", ask).json()
        worker = Worker("here", [broker.CPU])
        run(worker.claim(job["id"]), worker)
        done = Job.objects.get(pk=job["id"])
        assert (done.state, done.error) == ("done", None)
        parts = [read_adapter(worker.input_folder(row)) for row in done.inputs.all()]
        entries = manifest_of(done.result.revisions.get())
        merged = read_adapter(worker.cache.folder(content_of("adapter", entries)))
        for module in Q:
            expected = sum(part[module].delta() for part in parts) / 2
            assert torch.allclose(merged[module].delta(), expected, atol=1e-5)
        assert format_of("adapter", entries).name == "peft"

    def test_one_that_does_not_merge_is_refused_by_the_dry_run(self, owner, repository, base):
        with FORMATS.registered(replace(toy_format.ROW, read=None, merges=False)):
            given = factories.publish(owner, repository, toy_files()).version
        plain = factories.make_version(owner, "plain", base=base)
        ask = {"kind": "svd", "recipe": {"rank": 2}, "inputs": [str(plain), str(given)], "output": "owner/merged"}
        (refused,) = Api(owner).post("/jobs/check", ask).json()["problems"]
        assert refused["code"] == "merge.needs_base"
        assert "It is stored as Toy, which can't be merged." in refused["message"]


LORA, MIXTURE = b'{"r": 8, "peft_type": "LORA"}', b'{"peft_type": "METEORA", "experts": []}'
GENERATOR = {"generator_config.json": b'{"a": 1.5, "b": null}', "generator.safetensors": b"weights"}
STORED = [
    ("adapter", {"adapter_config.json": LORA, "adapter_model.safetensors": b"weights"}, "b7fc5db15d4eb798"),
    ("adapter", {"adapter_config.json": MIXTURE, "adapter_model.safetensors": b"weights"}, "9caa32afc785bfb8"),
    ("generator", GENERATOR, "07f9d63fdd52a5ad"),
    ("dataset", {"test.jsonl": b"{}", "sub/Train.JSONL": b"{}"}, "2ad361855a3f85d2"),
]


@pytest.mark.parametrize(("kind", "files", "digest"), STORED, ids=["peft", "mixture", "generator", "dataset"])
def test_versions_that_are_stored_keep_their_digest(kind, files, digest, toy):
    """The digest tells whether a push is a new version, so what is stored would be published anew if it changed."""
    beside = files | {"README.md": b"# Card", "router.json": b"{}"}
    manifest = {path: Entry(hashlib.sha256(data).hexdigest(), len(data)) for path, data in beside.items()}
    sources = {path: MemoryFile(data) for path, data in beside.items()}
    assert content_digest(kind, manifest, sources).startswith(digest)
