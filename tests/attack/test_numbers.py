"""Whatever value stands in whatever field: the answer says what is wrong, and it is never our fault."""

import dataclasses
import json

import pytest

from composition.errors import RecipeError
from composition.registry import METHODS, recipe_from_dict
from tests.hub.api_client import Api
from tests.hub.every_kind import FINE, lab_once, shared_lab  # noqa: F401

pytestmark = pytest.mark.django_db
LONG = "9" * 400
# As JSON is written, since some of them are no Python value.
WRITTEN = ["1e999", "-1e999", "NaN", LONG, f"-{LONG}", "9" * 5000, "9223372036854775808", "1e308", "-1", "0.5"]
WRITTEN += ["null", "true", "[]", "{}", "[[[]]]", "[1e999]", f"[{LONG}]", '""', r'"\u0000"', r'"\ud800"', '"a/b@v1"']
WRITTEN += [json.dumps("x" * 100_000), json.dumps("9" * 5000), '{"path": 1}', r'{"\u0000": 1}']
VALUES = [
    float("inf"),
    float("nan"),
    int(LONG),
    -int(LONG),
    1e308,
    2**63,
    -1,
    0.5,
    None,
    True,
    [],
    {},
    "",
    "x" * 10**5,
    "9" * 5000,
]
VALUES += [[int(LONG)], [float("inf")], [[]], [None], [{}]]
MARK = "value goes here"


@pytest.mark.parametrize("kind", METHODS)
def test_no_value_breaks_a_recipe(kind):
    for field in dataclasses.fields(METHODS[kind].recipe):
        for value in VALUES:
            try:
                recipe_from_dict({"kind": kind, field.name: value})
            except RecipeError as refusal:
                assert len(refusal.message) < 2000


@pytest.mark.parametrize("kind", METHODS)
def test_every_whole_number_of_a_recipe_has_both_bounds(kind):
    """Without an upper one it may be larger than what a tensor library or a column holds."""
    for field in dataclasses.fields(METHODS[kind].recipe):
        if field.metadata["type"] == "integer":
            assert None not in (field.metadata["minimum"], field.metadata["maximum"]), f"{kind}.{field.name}"


FIELDS = ("recipe", "inputs", "datasets", "output", "base", "files", "keep", "visibility", "generator", "onto")
OF_THE_KIND = ("recipe", "files")


@pytest.mark.parametrize(
    ("kind", "whole"),
    [("lego", True), *((kind, False) for kind in FINE if kind != "lego")]
    + [pytest.param(kind, True, marks=pytest.mark.slow) for kind in FINE if kind != "lego"],
)
def test_no_value_breaks_a_check(kind, whole, shared_lab):  # noqa: F811
    """Most are refused before the kind matters: in the fields that all kinds share, a kind has a quarter of them."""
    api = Api(shared_lab.member)
    first, sent = list(FINE).index(kind), {"content_type": "application/json", "headers": api.headers}
    for place, name in enumerate(FIELDS):
        every = whole or name in OF_THE_KIND
        for written in WRITTEN if every else WRITTEN[(first + place) % 4 :: 4]:
            raw = json.dumps({**FINE[kind], name: MARK}).replace(json.dumps(MARK), written).encode()
            answer = api.http.generic("POST", "/api/v1/jobs/check", raw, **sent)
            assert answer.status_code < 500, (raw[:300], answer.content)
