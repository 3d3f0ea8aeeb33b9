"""A version exported as a GGUF file: who may ask, what comes, what is refused, and the page that names it."""

import hashlib
import json

import pytest
from django.test import Client
from gguf import GGUFReader

from hub.models import Repository, Visibility
from tests.hub import factories
from tests.hub.api_client import Api, problem
from tests.hub.content.test_forms import content

pytestmark = pytest.mark.django_db
FILES = "/repositories/lab/sentiment/files/v1"
FILE = f"{FILES}/adapter.gguf?as=gguf"


@pytest.fixture
def version(people, base, repository):
    files = factories.adapter_files(rank=4, seed=1, card="# Mine\n", config={"use_rslora": True})
    return factories.publish(people.owner, repository, files, base=base).version


def test_one_file_comes_with_its_digest_and_counts_as_a_download(version, tmp_path):
    (row,) = Api().get(f"{FILES}?as=gguf").json()["files"]
    data = content(Api().get(FILE))
    assert row == {"path": "adapter.gguf", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert content(Api().get(FILE, Range="bytes=100-")) == data[100:]
    (tmp_path / "adapter.gguf").write_bytes(data)
    config = json.loads(content(Api().get(f"{FILES}/adapter_config.json")))
    reader = GGUFReader(tmp_path / "adapter.gguf")
    assert {tensor.name for tensor in reader.tensors} >= {"blk.0.attn_q.weight.lora_a", "blk.1.attn_v.weight.lora_b"}
    assert reader.get_field("adapter.lora.alpha").contents() == pytest.approx(config["lora_alpha"] * 4**0.5)
    assert reader.get_field("general.base_model.0.name").contents() == "pico/llama"
    assert Repository.objects.get().downloads == 1


def test_a_private_version_is_exported_to_its_members_only(people, version):
    Repository.objects.update(visibility=Visibility.PRIVATE)
    for user in (None, people.stranger):
        problem(Api(user).get(f"{FILES}?as=gguf"), 404, "not_found")
        problem(Api(user).get(FILE), 404, "not_found")
    for user in (people.reader, people.member, people.owner):
        assert content(Api(user).get(FILE))[:4] == b"GGUF"


def test_a_base_whose_order_of_weights_is_unknown(people, version):
    version.base.config = {**version.base.config, "model_type": "mamba2"}
    version.base.save()
    said = problem(Api().get(f"{FILES}?as=gguf"), 422, "form.gguf_architecture")["detail"]
    assert "mamba2" in said and "convert_lora_to_gguf.py" in said


def test_the_page_gives_llama_cpp_the_exported_file(version):
    page = Client().get("/lab/sentiment").content.decode()
    command = "hubctl pull lab/sentiment@v1 --as gguf -o sentiment-v1-gguf\n"
    assert f"{command}llama-server -m base.gguf --lora sentiment-v1-gguf/adapter.gguf" in page
