"""Every refusal is problem JSON with a stable code; bodies are read strictly; our own faults give an id, no trace."""

import json
import logging

import pytest

from composition.errors import CompositionError
from hub import queries
from hub.api.bodies import LARGEST_BODY
from hub.models import Repository
from tests.hub.api_client import Api, problem

pytestmark = pytest.mark.django_db
NEW = b'{"namespace": "lab", "name": "x", "kind": "adapter"}'


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", ["", "/nothing", "/repositories/a", "/repositories/a/b/c/d/e", "/jobs/x", "/me/"])
def test_unknown_routes(method, path):
    answer = Api()(method, path or "/")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "/repositories/a%00b/x",
        "/repositories/a%0ab/x",
        "/repositories/../x",
        "/jobs/" + "9" * 30,
        "/jobs/-1",
        "/tokens/٣",
        "/uploads/not-a-uuid",
        "/bases/" + "x" * 3000,
        "/bases/%00",
        "/bases/a%0ab",
    ],
)
def test_hostile_addresses_are_not_found(owner, path):
    answer = Api(owner).get(path)
    assert answer.status_code in (404, 405), answer.content


def test_the_largest_number_that_fits_an_address_is_looked_up(owner):
    problem(Api(owner).get("/jobs/" + "9" * 18), 404, "not_found")


def test_a_method_a_route_does_not_have(owner):
    answer = Api(owner).put("/me", {})
    problem(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"name": NaN}',
        b'{"name": Infinity}',
        b'{"name": "a", "name": "b"}',
        b'{"name": "\\ud800"}',
        b'{"name": "a\\u0000b"}',
        b"[" * 100_000,
        b'{"n": ' + b"9" * 10_000 + b"}",
        b"name=x",
    ],
)
def test_malformed_json(owner, body):
    refused = Api(owner)("POST", "/repositories", raw=body)
    if body:
        problem(refused, 400, "json.malformed")
    else:
        problem(refused, 422, "invalid")


def test_an_escaped_backslash_before_u0000_is_no_nul(owner, people):
    body = json.dumps({"namespace": "lab", "name": "x", "kind": "adapter", "description": "\\u0000"})
    assert Api(owner)("POST", "/repositories", raw=body.encode()).json()["description"] == "\\u0000"


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"null", b"true"])
def test_json_that_is_no_object(owner, body):
    problem(Api(owner)("POST", "/repositories", raw=body), 422, "invalid")


def test_a_body_too_large(owner):
    problem(Api(owner)("POST", "/repositories", raw=b" " * (LARGEST_BODY + 1) + NEW), 413, "body.too_large")
    assert not Repository.objects.exists()


def test_our_own_fault_is_logged_under_the_id_it_gives(owner, monkeypatch, caplog):
    monkeypatch.setattr(queries, "tokens", lambda viewer: 1 / 0)
    with caplog.at_level(logging.ERROR):
        refused = problem(Api(owner).get("/tokens"), 500, "internal")
    assert refused["id"] in refused["detail"]
    assert "ZeroDivisionError" not in json.dumps(refused)
    record = next(record for record in caplog.records if refused["id"] in record.getMessage())
    assert record.exc_info[0] is ZeroDivisionError


def test_a_composition_error_keeps_its_code_and_facts(owner, monkeypatch):
    def refuse(viewer):
        raise CompositionError(
            "merge.bases_differ", "They differ.", adapter="a", status="mine", headers={1}, bad=float("nan")
        )

    monkeypatch.setattr(queries, "tokens", refuse)
    refused = problem(Api(owner).get("/tokens"), 422, "merge.bases_differ")
    assert (refused["adapter"], refused["headers"], refused["bad"]) == ("a", "{1}", "NaN")


def test_nobody_is_asked_to_sign_in_only_where_the_route_needs_it(repository):
    for method, path in (
        ("GET", "/me"),
        ("GET", "/tokens"),
        ("GET", "/jobs"),
        ("GET", "/organisations"),
        ("POST", "/repositories"),
        ("POST", "/jobs"),
        ("PATCH", "/repositories/lab/sentiment"),
    ):
        answer = Api()(method, path, {})
        problem(answer, 401, "not_signed_in")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    problem(Api()("PATCH", "/repositories/lab/other", {}), 404, "not_found")


def test_an_address_with_a_line_break_is_an_unknown_route_of_the_api():
    answer = Api().get("/jobs/1%0A")
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
