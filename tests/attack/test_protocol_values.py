"""Values that no client sends, in every body of the protocol that is written to: refused in words, never a 500."""

import json
import random

import pytest

from hub.services.sharing import pulls
from tests.hub import factories
from tests.hub.hf.asking import Asker

pytestmark = pytest.mark.django_db
HERE, GIT = "/api/models/lab/sentiment", "/lab/sentiment.git/info/lfs"
VALUES = [
    *(None, True, 0, -1, 1.5, 10**30, "", "x", "\u202e<script>", "a/b", "a/b/c", "../..", "x" * 5000, "٣", "²"),
    *([], [1], {}, {"a": 1}, [[]], [{}], ["x"], "refs/pr/1", "refs/pr/999999999", "0" * 64),
]
KEYS = """
    name organization type private visibility gated fromRepo toRepo tag message startingPoint title description
    pullRequest status comment user requestId files target deletions objects operation transfers ref oid size parts
    content repoType gitIgnore paths
""".split()
ROUTES = [
    *("/api/repos/create", "/api/repos/move", "/api/validate-yaml", "/lab/sentiment/ask-access", f"{GIT}/verify"),
    *(f"{GIT}/objects/batch", f"/api/lfs/objects/{'0' * 64}"),
    *(f"{HERE}/{rest}" for rest in ("settings", "tag/main", "branch/new", "lfs-files/batch", "lfs-files/duplicate")),
    *(
        f"{HERE}/discussions{rest}"
        for rest in ("", "/1/title", "/1/status", "/1/merge", "/1/comment", f"/{'9' * 17}/title")
    ),
    *(f"{HERE}/user-access-request/{rest}" for rest in ("handle", "grant", "pending")),
    *(f"{HERE}/super-squash/{rest}" for rest in ("main", "refs%2Fpr%2F1")),
    *(f"{HERE}/preupload/{rest}" for rest in ("main", "refs%2Fpr%2F1", f"refs%2Fpr%2F{'9' * 11}")),
    *(f"{HERE}/commit/{rest}" for rest in ("main", "main?create_pr=1")),
]


def body_for(route: str, choose: random.Random) -> dict:
    """Some keys with any values; where a list decides, often one that gets further."""
    said = {key: choose.choice(VALUES) for key in choose.sample(KEYS, 4)}
    if "batch" in route and choose.random() < 0.5:
        sizes = (0, 1, 2**61, 2**62, 10**12, True)
        said |= {"objects": [{"oid": "0" * 64, "size": choose.choice(sizes)}], "operation": "upload"}
    if "preupload" in route and choose.random() < 0.7:
        said["files"] = [{key: choose.choice(VALUES) for key in ("path", "size", "sample")}]
    if "status" in route:
        said["status"] = choose.choice(("open", "closed", "draft", 5))
    if "repos" in route and choose.random() < 0.6:
        said |= {
            "fromRepo": "lab/sentiment",
            "toRepo": choose.choice(("lab/sentiment", "lab/Sentiment", "lab/api", "x/y")),
        }
    return said


@pytest.mark.parametrize("seed", range(2))
def test_no_value_is_answered_500(seed, people, base, store, repository):
    factories.push(people.owner, repository, factories.adapter_files(card="# Hi\n"))
    pulls.open_pull(actor=people.owner, repository=repository, title="x")
    asked, choose = [Asker(people.owner), Asker(people.stranger)], random.Random(seed)
    for _ in range(300):
        route, method = choose.choice(ROUTES), choose.choice(("POST", "POST", "POST", "PUT", "DELETE", "GET"))
        said = body_for(route, choose)
        answer = choose.choice(asked)(method, route, said)
        assert answer.status_code < 500, (method, route, said)
        if answer.status_code >= 400 and method != "GET":
            assert json.loads(answer.content)["error"], (method, route)
