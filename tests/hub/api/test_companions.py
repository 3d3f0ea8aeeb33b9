"""Companions over REST: private beside a public adapter, unless an admin says otherwise."""

import pytest

from hub.models import Blob, Companion
from tests.hub.api_client import Api, problem

pytestmark = pytest.mark.django_db
URL = "/repositories/lab/sentiment/companions"
ADD = f"{URL}?kind=seeds&name=seeds.jsonl"
ROWS = b'{"prompt": "a", "completion": "b"}\n'


def add(user, query: str = "", data: bytes = ROWS):
    return Api(user)("POST", ADD + query, raw=data)


def test_private_for_members_only(people, repository):
    made = add(people.member)
    assert made.status_code == 201, made.content
    assert made.json()["visibility"] == "private"
    for user, status, count in ((None, 404, 0), (people.stranger, 404, 0), (people.reader, 200, 1)):
        assert len(Api(user).get(URL).json()["results"]) == count
        assert Api(user).get(f"{URL}/seeds/seeds.jsonl").status_code == status
    got = Api(people.reader).get(f"{URL}/seeds/seeds.jsonl", Range="bytes=2-7")
    assert b"".join(got.streaming_content) == ROWS[2:8]


def test_a_writer_may_not_publish_it_an_admin_may(people, repository):
    problem(add(people.member, "&visibility=public"), 403, "permission_denied")
    add(people.member)
    one = f"{URL}/seeds/seeds.jsonl"
    problem(Api(people.member)("PATCH", one, {"visibility": "public"}), 403, "permission_denied")
    assert Api(people.owner)("PATCH", one, {"visibility": "public"}).json()["visibility"] == "public"
    assert Api().get(one).status_code == 200


def test_adding_again_replaces_and_removing_removes(people, repository):
    add(people.member)
    again = add(people.member, data=ROWS * 2).json()
    assert again["size"] == 2 * len(ROWS)
    assert Companion.objects.count() == 1
    assert Api(people.member).delete(f"{URL}/seeds/seeds.jsonl").status_code == 204
    problem(Api(people.member).delete(f"{URL}/seeds/seeds.jsonl"), 404, "not_found")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?kind=seeds", "invalid"),
        ("?kind=SEEDS&name=a.jsonl", "invalid"),
        ("?kind=seeds&name=a.jsonl&visibility=x", "invalid"),
        ("?kind=seeds&name=a.jsonl&colour=x", "invalid"),
        ("?kind=seeds&name=../a.jsonl", None),
        ("?kind=seeds&name=a.zip", None),
    ],
)
def test_bad_ones_leave_nothing(owner, repository, query, code):
    refused = Api(owner)("POST", URL + query, raw=ROWS)
    problem(refused, 422, code or refused.json()["code"])
    assert not Companion.objects.exists()
    assert not Blob.objects.exists()
