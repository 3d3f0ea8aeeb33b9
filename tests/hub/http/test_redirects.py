"""HUB_DOWNLOADS=redirect: large stored files are fetched from S3 by an address for this one file and for minutes."""

import os
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from huggingface_hub import constants, hf_hub_download

from hub.models import Blob, ManifestEntry, Repository
from hub.storage import blobs
from tests.hub import factories
from tests.hub.api_client import Api

LARGE = os.urandom(3 << 20)
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hub(store, people, bucket, settings):
    """`lab/sentiment`, private, with a large file and a large picture."""
    settings.DOWNLOADS = "redirect"
    repository = factories.make_repository(people.owner, "sentiment", namespace=people.lab, visibility="private")
    factories.make_base()
    result = factories.publish(people.owner, repository, factories.adapter_files())
    sha256, size = factories.store({"large": LARGE})["large"]
    blob = Blob.objects.get_or_create(sha256=sha256, size=size)[0]
    for path in ("large.bin", "large.png"):
        ManifestEntry.objects.create(revision=result.revision, path=path, blob=blob)
    return people


PLACES = {
    "REST": "/api/v1/repositories/lab/sentiment/files/main/large.bin",
    "protocol": "/lab/sentiment/resolve/main/large.bin",
}


@pytest.mark.parametrize("door", PLACES)
def test_who_may_read_is_sent_to_the_store_and_others_see_nothing(hub, door):
    path = "http://testserver" + PLACES[door]
    for who in (hub.owner, hub.member, hub.reader):
        answer = Api(who).get(path)
        assert answer.status_code == 302, answer.content
        there = httpx.get(answer["Location"], trust_env=False)
        assert (there.status_code, there.content) == (200, LARGE)
        part = httpx.get(answer["Location"], headers={"Range": "bytes=1000000-1000009"}, trust_env=False)
        assert (part.status_code, part.content) == (206, LARGE[1000000:1000010])
        assert there.headers["content-disposition"].startswith("attachment") and "large.bin" in str(there.headers)
        assert "no-store" in answer["Cache-Control"]
    for who in (hub.stranger, None):
        answer = Api(who).get(path)
        assert answer.status_code in (401, 404) and "Location" not in answer


def test_the_address_is_of_this_object_and_of_minutes(hub, bucket):
    address = urlsplit(Api(hub.owner).get(PLACES["REST"].removeprefix("/api/v1"))["Location"])
    sha256 = ManifestEntry.objects.get(path="large.bin").blob_id
    assert address.path == f"/{bucket.name}/hub/{blobs.name(sha256)}"
    given = parse_qs(address.query)
    seconds = int(given["X-Amz-Expires"][0])
    assert seconds <= 300 and given["X-Amz-Signature"], given


def test_what_the_hub_alone_can_answer_comes_from_the_hub(hub):
    api, large = Api(hub.owner), PLACES["REST"].removeprefix("/api/v1")
    whole = api("HEAD", large)
    assert (whole.status_code, whole["Content-Length"]) == (200, str(len(LARGE)))
    assert api.get(large, If_None_Match=whole["ETag"]).status_code == 304
    assert api.get(large, Range="bytes=0-9", If_Range=whole["ETag"]).status_code == 206
    assert api.get(large, Range=f"bytes={len(LARGE)}-").status_code == 416
    for path in ("adapter_config.json", "large.png"):
        assert api.get(large.replace("large.bin", path)).status_code == 200, path
    made = api.get(large.replace("large.bin", "adapter_model.safetensors") + "?uniform=1")
    assert made.status_code == 200


def test_the_internal_address_is_not_told(hub, settings, bucket):
    options = {**settings.STORAGES["blobs"]["OPTIONS"], "public_endpoint": "https://files.example.org"}
    settings.STORAGES = {**settings.STORAGES, "blobs": {**settings.STORAGES["blobs"], "OPTIONS": options}}
    answer = Api(hub.owner).get(PLACES["REST"].removeprefix("/api/v1"))
    assert answer["Location"].startswith(f"https://files.example.org/{bucket.name}/")


def test_a_folder_has_no_addresses(store, people, settings):
    settings.DOWNLOADS = "redirect"
    repository = factories.make_repository(people.owner, "sums", namespace=people.lab, kind="dataset")
    row = b'{"prompt": "1+1", "completion": "2"}\n'
    factories.publish(people.owner, repository, {"train.jsonl": row * 40_000})
    assert Api(people.owner).get("/repositories/datasets/lab/sums/files/main/train.jsonl").status_code == 200


def test_it_counts_as_a_download_once(hub):
    api = Api(hub.owner)
    weights = ManifestEntry.objects.get(path="adapter_model.safetensors")
    ManifestEntry.objects.filter(pk=weights.pk).update(blob=ManifestEntry.objects.get(path="large.bin").blob)
    place = "/repositories/lab/sentiment/files/main/adapter_model.safetensors"
    for header in ({}, {"Range": "bytes=5-"}):
        assert api.get(place, **header).status_code == 302
    assert Repository.objects.get(name="sentiment").downloads == 1


def test_the_stock_client_follows(hub, live_server, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    secret = Api(hub.owner).headers["Authorization"].removeprefix("Bearer ")
    got = hf_hub_download(
        "lab/sentiment", "large.bin", endpoint=live_server.url, token=secret, cache_dir=tmp_path / "cache"
    )
    with open(got, "rb") as file:
        assert file.read() == LARGE
    etag = Api(hub.owner)("HEAD", "http://testserver" + PLACES["protocol"])["ETag"].strip('"')
    assert os.path.basename(os.path.realpath(got)) == etag, "the client's cache knows the file by the hub's ETag"
