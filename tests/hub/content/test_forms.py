"""A stored version in another form, over HTTP: the table's rows, who may ask, digests, ranges, downloads, refusals."""

import hashlib
import io
import json

import numpy as np
import pytest
from django.test import Client
from safetensors.numpy import load

from composition.formats.peft.layouts.uniform import uniform_files
from composition.formats.sources import MemoryFile
from hub.models import Repository, Visibility
from hub.services.content import forms
from tests.hub import factories
from tests.hub.api_client import Api, problem

pytestmark = pytest.mark.django_db
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
FILES = "/repositories/lab/sentiment/files/v1"
LAYERS = {f"model.layers.{layer}.self_attn.{name}" for layer in (0, 1) for name in ("q_proj", "k_proj", "v_proj")}


@pytest.fixture
def stored() -> dict[str, bytes]:
    """An rsLoRA adapter of q and v: SGLang and llama.cpp read it √r too weak."""
    return factories.adapter_files(rank=4, seed=1, card="# Mine\n", config={"use_rslora": True})


@pytest.fixture
def version(people, base, repository, stored):
    return factories.publish(people.owner, repository, stored, base=base).version


def content(response) -> bytes:
    assert response.status_code in (200, 206), response.content
    return b"".join(response.streaming_content) if response.streaming else response.content


def fetched(api: Api, query: str, files: str = FILES) -> dict[str, bytes]:
    """What the listing names, each checked by its size and digest."""
    rows = api.get(f"{files}?{query}").json()["files"]
    found = {row["path"]: content(api.get(f"{files}/{row['path']}?{query}")) for row in rows}
    for row in rows:
        data = found[row["path"]]
        assert (row["size"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    return found


def delta(files: dict[str, bytes], module: str) -> np.ndarray:
    """ΔW by the config's α/r, or α/√r."""
    config, tensors = json.loads(files[CONFIG]), load(files[WEIGHTS])
    root = config["r"] ** 0.5 if config.get("use_rslora") else config["r"]
    stem = f"base_model.model.{module}"
    factors = (tensors[f"{stem}.lora_{half}.weight"].astype(float) for half in "BA")
    return config["lora_alpha"] / root * np.matmul(*factors)


def test_the_uniform_form_is_the_same_update_beside_the_versions_other_files(version, stored):
    for query in ("uniform=1", "as=uniform", "uniform=true"):
        made = fetched(Api(), query)
        assert made["README.md"] == stored["README.md"]
        config = json.loads(made[CONFIG])
        assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (16, 16, False)
        tensors = load(made[WEIGHTS])
        assert {name.split("base_model.model.")[1].rsplit(".lora_", 1)[0] for name in tensors} == LAYERS
        for module in sorted(LAYERS):
            if module.endswith("k_proj"):
                assert not delta(made, module).any()
            else:
                np.testing.assert_allclose(delta(made, module), delta(stored, module), rtol=1e-6, atol=1e-7)


def test_the_config_names_the_base_by_its_id(people, base):
    """vLLM wants it equal to --model; a pushed config may have a path of somebody's machine."""
    own = {"config": {"base_model_name_or_path": "/home/me/llama"}, "namespace": people.lab}
    factories.make_version(people.owner, "local", base=base, **own)
    files = "/repositories/lab/local/files/v1"
    named = [json.loads(fetched(Api(), query, files)[CONFIG])["base_model_name_or_path"] for query in ("", "uniform=1")]
    assert named == ["/home/me/llama", "pico/llama"]


def test_the_listing_says_what_was_made(version):
    shown = Api().get(f"{FILES}?uniform=1").json()
    assert (shown["forms"], shown["version"], shown["source"]) == (["uniform"], "v1", "lab/sentiment@v1")
    plain = Api().get(FILES).json()
    assert "forms" not in plain and fetched(Api(), "uniform=0")[WEIGHTS] == fetched(Api(), "")[WEIGHTS]


def test_a_private_version_is_its_members_in_every_form(people, version):
    Repository.objects.update(visibility=Visibility.PRIVATE)
    for user in (None, people.stranger):
        for path in (f"{FILES}?uniform=1", f"{FILES}/{WEIGHTS}?uniform=1"):
            problem(Api(user).get(path), 404, "not_found")
        page = Client(raise_request_exception=False)
        if user:
            page.force_login(user)
        assert page.get(f"/lab/sentiment/raw/v1/{WEIGHTS}?uniform=1").status_code == 404
    for user in (people.reader, people.member, people.owner):
        made = fetched(Api(user), "uniform=1")
        page = Client()
        page.force_login(user)
        assert content(page.get(f"/lab/sentiment/raw/v1/{WEIGHTS}?uniform=1")) == made[WEIGHTS]


def test_it_is_resumed_and_counted_once(version):
    address = f"{FILES}/{WEIGHTS}?uniform=1"
    whole = Api().get(address)
    data, etag = content(whole), whole.headers["ETag"]
    assert etag == f'"{hashlib.sha256(data).hexdigest()}"'
    assert content(Api().get(address, Range="bytes=100-")) == data[100:]
    assert content(Api().get(address, Range="bytes=900-907")) == data[900:908]
    assert Api().get(address, If_None_Match=etag).status_code == 304
    head = Api()("HEAD", address)
    assert (head.headers["Content-Length"], content(head)) == (str(len(data)), b"")
    content(Api().get(f"{FILES}/{CONFIG}?uniform=1"))
    assert Repository.objects.get().downloads == 1


def test_what_is_no_plain_lora_is_refused_with_the_reason(people, base):
    heads = factories.adapter_tensors() | {"base_model.model.lm_head.weight": np.ones((64, 16), "float32")}
    saved = {"tensors": heads, "config": {"modules_to_save": ["lm_head"]}}
    factories.make_version(people.owner, "heads", namespace=people.lab, base=base, **saved)
    for path in ("/repositories/lab/heads/files/v1", f"/repositories/lab/heads/files/v1/{WEIGHTS}"):
        refused = problem(Api().get(f"{path}?uniform=1"), 422, "form.not_plain")
        assert "whole layers" in refused["detail"]
    assert Client().get(f"/lab/heads/raw/v1/{WEIGHTS}?uniform=1").status_code == 422


def test_forms_that_do_not_exist(version, people, dataset):
    assert "cat, uniform" in problem(Api().get(f"{FILES}?as=zip"), 422, "invalid")["detail"]
    problem(Api().get(f"{FILES}?uniform=yes"), 422, "invalid")
    problem(Api().get(f"{FILES}/notes.txt?uniform=1"), 404, "file_not_found")
    factories.publish(people.owner, dataset, factories.dataset_files())
    problem(Api().get("/repositories/lab/sums/files/v1?uniform=1"), 422, "form.not_plain")


def test_a_row_more_is_served_at_every_door_on_top_of_the_layout(version, monkeypatch):
    """What an export adds: one row. It is given the files in the layout that was asked for."""
    ranks = []

    def make(given):
        ranks.append(json.loads(given.files[CONFIG].open().read())["r"])
        assert given.base_shapes == factories.pico_shapes()
        return {"adapter.toy": MemoryFile(b"toy" * 100)}

    row = forms.Form(name="toy", help="a toy", stage=forms.EXPORT, make=make, weights=("adapter.toy",))
    monkeypatch.setitem(forms.FORMS, "toy", row)
    assert fetched(Api(), "as=toy") == fetched(Api(), "as=toy&uniform=1") == {"adapter.toy": b"toy" * 100}
    assert set(ranks) == {4, 16}
    assert Api().get(f"{FILES}?as=toy&uniform=1").json()["forms"] == ["uniform", "toy"]
    assert content(Client().get("/lab/sentiment/raw/v1/adapter.toy?as=toy")) == b"toy" * 100
    assert Repository.objects.get().downloads == 3


def test_the_bytes_are_those_that_the_pure_function_makes(version, stored):
    files = {path: MemoryFile(data) for path, data in stored.items()}
    expected = {
        path: io.BytesIO(f.open().read()).read() for path, f in uniform_files(files, factories.pico_shapes()).items()
    }
    assert {path: data for path, data in fetched(Api(), "uniform=1").items() if path in expected} == expected


def test_the_version_says_on_which_servers_it_is_right(version):
    rows = {row["server"]: row for row in Api().get("/repositories/lab/sentiment/versions/v1").json()["servers"]}
    assert {name: row["answer"] for name, row in rows.items()} == {
        "vllm": "right",
        "vllm-0.31": "right",
        "sglang": "wrong",
        "llama.cpp": "wrong",
        "lorax": "wrong",
    }
    assert rows["sglang"]["factors"] == pytest.approx([0.5, 0.5])
    assert (rows["sglang"]["why"], rows["sglang"]["modules"]) == ("The update is ×0.5 on q_proj, v_proj.", 4)
    assert all(row["uniform"] for row in rows.values())


def test_no_server_is_named_for_a_dataset(people, dataset):
    factories.publish(people.owner, dataset, factories.dataset_files())
    assert Api().get("/repositories/lab/sums/versions/v1").json()["servers"] == []


def test_the_page_gives_each_server_the_form_that_it_reads(version):
    page = Client().get("/lab/sentiment").content.decode()
    assert "SGLang: wrong, right with <code>--uniform</code>" in page
    assert "hubctl pull lab/sentiment@v1 --uniform -o sentiment-v1-uniform\npython -m sglang.launch_server" in page
    assert "hubctl pull lab/sentiment@v1 -o sentiment-v1\nvllm serve pico/llama" in page
