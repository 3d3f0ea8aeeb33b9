"""No address of the protocol breaks the hub: odd characters, odd methods, odd bodies get a refusal that can be read."""

import random

import pytest
from django.test import Client

from tests.hub import factories
from tests.hub.hf.asking import Asker

pytestmark = pytest.mark.django_db
PARTS = [
    *(
        "",
        "api",
        "models",
        "datasets",
        "spaces",
        "repos",
        "create",
        "delete",
        "move",
        "lab",
        "Sentiment",
        "sentiment.v1",
    ),
    *(
        "sentiment.v999999999999",
        "sentiment.git",
        "none",
        "resolve",
        "raw",
        "tree",
        "revision",
        "commits",
        "refs",
        "tag",
    ),
    *("branch", "compare", "paths-info", "settings", "auth-check", "write", "discussions", "main", "v1", "latest"),
    *(
        "main..v1",
        "..main",
        "0" * 40,
        "deadbeef",
        "refs%2Fpr%2F1",
        "%00",
        "a%00b",
        "%2F",
        "..",
        "%2e%2e",
        "%252e",
        "%ff",
    ),
    *("%C3%A9", "%E2%80%8F", "a%20b", "%0a", "x" * 300, "y" * 1500, "*", "~", "-", ".gitattributes", "README.md"),
]
QUERIES = [
    *("", "limit=0", "limit=x", "limit=99999999999999999999", "cursor=x", "cursor=%00", "cursor=W10", "expand=foo"),
    *(
        "expand[]=sha",
        "search=%00",
        "search=%ff",
        "filter=%00",
        "author=a%00",
        "sort=%00",
        "recursive=true&expand=true",
    ),
    *("as=gguf", "as=%00", "expert=%00", "uniform=2", "blobs=1&securityStatus=1", "gated=maybe", "include_prs=1"),
]
BODIES = [
    *(b"", b"{}", b"[]", b"null", b"\xff", b'{"name": 5}', b'{"name": "x", "organization": [1]}', b'{"type": {}}'),
    *(b'{"tag": {"a": 1}}', b'{"tag": "\\u0000"}', b'{"startingPoint": 5}', b'{"gated": []}', b'{"visibility": 7}'),
    *(b'{"fromRepo": "lab/sentiment", "toRepo": "lab/"}', b'{"toRepo": "a"}', b"paths=%00&paths=..&expand=x"),
]
METHODS = ["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
HEADERS: list[dict[str, str]] = [{}, {}, {"Range": "bytes=-5"}, {"Range": "bytes=999-"}, {"Accept": "text/html"}]


def addresses(seed: int, count: int):
    """Methods, addresses, bodies and headers, half of them of a repository that is there."""
    choose = random.Random(seed)
    starts = ["/api/models/lab/sentiment", "/api/datasets/lab/sums", "/lab/sentiment", "/datasets/lab/sums", "/api", ""]
    for _ in range(count):
        path = choose.choice(starts) + "".join(f"/{choose.choice(PARTS)}" for _ in range(choose.randrange(5)))
        query = choose.choice(QUERIES) if choose.random() < 0.4 else ""
        yield (
            choose.choice(METHODS),
            (path or "/") + (f"?{query}" if query else ""),
            choose.choice(BODIES),
            choose.choice(HEADERS),
        )


@pytest.mark.parametrize("seed", range(3))
def test_no_odd_address_is_answered_500(seed, people, base, store, repository, dataset):
    factories.push(people.owner, repository, factories.adapter_files(card="# Hi\n"))
    factories.push(people.owner, dataset, factories.dataset_files())
    tokens = [{}, Asker(people.owner).headers, {"Authorization": "Bearer"}, {"Authorization": "Basic eDp4"}]
    http = Client(raise_request_exception=False)
    for number, (method, address, body, headers) in enumerate(addresses(seed, 250)):
        kind = "application/x-www-form-urlencoded" if number % 5 == 0 else "application/json"
        sent = headers | tokens[number % len(tokens)]
        answer = http.generic(method, address, body, content_type=kind, headers=sent)
        assert answer.status_code < 500, (method, address, body, sent)
        if address.startswith("/api/") and not address.startswith("/api/v1") and answer.status_code >= 400:
            assert method == "HEAD" or answer.json()["error"], (method, address)
