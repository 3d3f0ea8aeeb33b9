"""Downloading: bytes in blocks, ranges as RFC 9110 has them, the digest as ETag, never rendered by a browser."""

import hashlib

import pytest

from hub.models import Repository
from tests.hub import factories
from tests.hub.api_client import Api, problem

pytestmark = pytest.mark.django_db
URL = "/repositories/lab/sentiment/files/v1/adapter_model.safetensors"


@pytest.fixture
def weights(owner, base, repository) -> bytes:
    """The weights of v1 of `lab/sentiment`."""
    files = factories.adapter_files(card="# Card\n")
    factories.publish(owner, repository, files)
    return files["adapter_model.safetensors"]


def content(response) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else response.content


def test_the_whole_file(weights):
    got = Api().get(URL)
    assert got.status_code == 200
    assert content(got) == weights
    assert got.headers["ETag"] == f'"{hashlib.sha256(weights).hexdigest()}"'
    assert got.headers["Content-Length"] == str(len(weights))
    assert got.headers["Content-Disposition"] == 'attachment; filename="adapter_model.safetensors"'
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Content-Type"] == "application/octet-stream"
    assert got.headers["Accept-Ranges"] == "bytes"
    assert "Content-Encoding" not in got.headers


def test_head_has_the_headers_and_no_bytes(weights):
    got = Api()("HEAD", URL)
    assert got.status_code == 200
    assert got.headers["Content-Length"] == str(len(weights))
    assert content(got) == b""
    assert Repository.objects.get().downloads == 0


@pytest.mark.parametrize(
    ("given", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=10-10", 10, 10),
        ("bytes=100-", 100, -1),
        ("bytes=-7", -7, -1),
        ("bytes=5-999999999", 5, -1),
        ("bytes=-999999999", 0, -1),
    ],
)
def test_one_range(weights, given, first, last):
    size = len(weights)
    first, last = first % size if first < 0 else first, size + last if last < 0 else last
    got = Api().get(URL, Range=given)
    assert got.status_code == 206
    assert content(got) == weights[first : last + 1]
    assert got.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
    assert got.headers["Content-Length"] == str(last + 1 - first)


@pytest.mark.parametrize("given", ["bytes=999999999-", "bytes=-0"])
def test_a_range_behind_the_end(weights, given):
    got = Api().get(URL, Range=given)
    assert problem(got, 416, "range")["size"] == len(weights)
    assert got.headers["Content-Range"] == f"bytes */{len(weights)}"


@pytest.mark.parametrize("given", ["bytes=0-1,4-5", "bytes=9-2", "bytes=-", "lines=0-1", "bytes=a-b", "bytes=0x1-2"])
def test_what_is_no_single_range_gives_the_whole(weights, given):
    got = Api().get(URL, Range=given)
    assert got.status_code == 200
    assert content(got) == weights


def test_if_range_guards_a_resume(weights):
    etag = Api()("HEAD", URL).headers["ETag"]
    assert Api().get(URL, Range="bytes=5-", If_Range=etag).status_code == 206
    assert Api().get(URL, Range="bytes=5-", If_Range='"other"').status_code == 200
    assert Api().get(URL, Range="bytes=5-", If_Range="Mon, 23 Nov 2026 00:00:00 GMT").status_code == 200


def test_if_none_match(weights):
    etag = Api()("HEAD", URL).headers["ETag"]
    for given in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        got = Api().get(URL, If_None_Match=given)
        assert (got.status_code, got.content) == (304, b"")
    assert Api().get(URL, If_None_Match='"x"').status_code == 200


def test_downloads_count_weights_from_their_first_byte(weights):
    api = Api()
    for headers in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=10-19"}, {"Range": "bytes=-1"}):
        api.get(URL, **headers)
    api.get("/repositories/lab/sentiment/files/v1/README.md")
    api.get(URL, If_None_Match="*")
    assert Repository.objects.get().downloads == 2


def test_the_same_bytes_by_every_name(weights, owner, repository):
    api = Api(owner)
    manifest = api.get("/repositories/lab/sentiment/files/main").json()
    api.put("/repositories/lab/sentiment/tags/best", {"ref": "v1"})
    for ref in ("v1", "main", "latest", "best", manifest["revision"]):
        assert api.get(f"/repositories/lab/sentiment/files/{ref}").json() == manifest


def test_latest_of_a_repository_with_a_card_only_is_its_main(owner, repository):
    factories.publish(owner, repository, {"README.md": b"# Soon\n"})
    manifest = Api().get("/repositories/lab/sentiment/files/latest").json()
    assert manifest["version"] is None
    assert [row["path"] for row in manifest["files"]] == ["README.md"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("v1/other.txt", "file_not_found"),
        ("v2/README.md", "revision_not_found"),
        ("no-such/README.md", "revision_not_found"),
        ("0" * 40 + "/README.md", "revision_not_found"),
        ("v1/../../../etc/passwd", "file_not_found"),
        ("v1/%2e%2e%2fx", "file_not_found"),
    ],
)
def test_what_is_not_there(weights, path, code):
    problem(Api().get(f"/repositories/lab/sentiment/files/{path}"), 404, code)


def test_an_id_of_another_repository_is_not_found_here(weights, owner, people):
    """Ids are looked up within the repository: a private revision can't be read through a public one."""
    secret = factories.make_repository(owner, "secret", namespace=people.lab, visibility="private")
    oid = factories.publish(owner, secret, {"README.md": b"# Secret\n"}).revision.oid
    problem(Api().get(f"/repositories/lab/sentiment/files/{oid}/README.md"), 404, "revision_not_found")
    problem(Api().get(f"/repositories/lab/secret/files/{oid}/README.md"), 404, "not_found")


def test_an_accept_header_changes_nothing(weights):
    assert Api().get(URL, Accept="application/x-safetensors").status_code == 200


def test_blocks_are_of_one_mebibyte(tmp_path):
    from hub.http.file_responses import BLOCK, blocks

    path = tmp_path / "big"
    path.write_bytes(bytes(2 * BLOCK + 10))
    assert [len(block) for block in blocks(path.open("rb"), 5, 2 * BLOCK + 5)] == [BLOCK, BLOCK]
