"""Pages and JSON are compressed, files and secrets never; the API says "unchanged" to who has an answer already."""

import gzip
import json

import pytest
from django.test import Client

from hub.services import repositories
from tests.hub import factories
from tests.hub.api_client import Api

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
GZIP = {"Accept-Encoding": "gzip"}
MOST_RANDOM = 100  # Bytes that Django adds, a number of its own for each answer.


@pytest.fixture
def version(people, base):
    """`lab/shown`, with a card that repeats itself."""
    card = "# Card\n\n" + "The same line again.\n" * 200
    return factories.make_version(people.owner, "shown", namespace=people.lab, card=card)


@pytest.mark.parametrize("path", ["/", "/lab/shown", "/api/v1/repositories", "/api/v1/schema", "/api/models/lab/shown"])
def test_pages_and_json_are_compressed_for_who_takes_it(version, path):
    plain, packed = Client().get(path), Client().get(path, headers=GZIP)
    assert "Content-Encoding" not in plain
    assert packed["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in packed["Vary"]
    assert int(packed["Content-Length"]) == len(packed.content) < 0.6 * len(plain.content) + MOST_RANDOM
    unpacked = gzip.decompress(packed.content)
    if path.startswith("/api"):
        assert json.loads(unpacked) == json.loads(plain.content)
    else:
        assert unpacked.startswith(b"<!doctype html>") or unpacked.strip().startswith(b"<!")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/repositories/lab/shown/files/main/README.md",
        "/lab/shown/resolve/main/README.md",
        "/lab/shown/resolve/main/adapter_config.json",
    ],
)
def test_files_go_out_as_they_are(version, path):
    answer = Client().get(path, headers=GZIP)
    assert answer.status_code == 200
    assert "Content-Encoding" not in answer
    ranged = Client().get(path, headers=GZIP | {"Range": "bytes=0-3"})
    assert (ranged.status_code, len(b"".join(ranged))) == (206, 4)


def test_answers_that_show_secrets_are_not_compressed(people, version):
    client = Client()
    client.force_login(people.owner)
    for path in ("/tokens", "/account/second-factor", "/lab/-/webhooks"):
        answer = client.get(path, headers=GZIP)
        assert (answer.status_code, "Content-Encoding" in answer) == (200, False), path
    made = client.post("/tokens", {"name": "x", "scopes": ["read"]}, headers=GZIP)
    assert "Content-Encoding" not in made
    made = Api(people.owner).post("/tokens", {"name": "y", "scopes": ["read"]}, Accept_Encoding="gzip")
    assert "Content-Encoding" not in made


def test_the_same_page_never_has_a_size_that_tells_of_its_secrets(people, version):
    """The CSRF token and the padding differ in each answer, so that sizes do."""
    client = Client()
    client.force_login(people.owner)
    pages = [client.get("/lab/shown", headers=GZIP) for _ in range(12)]
    assert len({len(page.content) for page in pages}) > 1


def test_who_has_an_answer_is_told_that_it_is_unchanged(people, version):
    for path in ("/api/v1/repositories", "/api/v1/repositories/lab/shown/versions/v1", "/api/models?limit=5"):
        for headers in ({}, GZIP):
            first = Client().get(path, headers=headers)
            again = Client().get(path, headers=headers | {"If-None-Match": first["ETag"]})
            assert (again.status_code, again.content) == (304, b"")
            other = Client().get(path, headers=headers | {"If-None-Match": '"other"'})
            weak = [answer["ETag"].removeprefix("W/") for answer in (first, other)]
            assert other.status_code == 200 and weak[0] == weak[1]


def test_what_changed_or_is_seen_by_another_has_another_etag(people, version):
    path = "/api/v1/repositories"
    before = Client().get(path)["ETag"]
    repositories.update_repository(actor=people.owner, repository=version.repository, description="New")
    after = Client().get(path, headers={"If-None-Match": before})
    assert (after.status_code, after.json()["results"][0]["description"]) == (200, "New")
    factories.make_repository(people.owner, "secret", namespace=people.lab, visibility="private")
    assert Client().get(path)["ETag"] == after["ETag"]
    assert Api(people.reader).get("/repositories", If_None_Match=after["ETag"]).status_code == 200
    assert "ETag" not in Client().get("/api/v1/repositories/lab/none")


def test_nobody_between_keeps_an_answer_of_the_api_for_others(people, version):
    for api in (Api(), Api(people.owner)):
        answer = api.get("/repositories")
        assert answer["Cache-Control"] == "private, no-cache"
        assert {"Authorization", "Cookie"} <= {name.strip() for name in answer["Vary"].split(",")}
