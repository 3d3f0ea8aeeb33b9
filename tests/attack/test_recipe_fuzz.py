"""Thousands of requests for jobs of every kind, with anything anywhere: the dry run and the start answer each.

Seeded: a failure prints the body, and the same run gives it again.
"""

import dataclasses
import json
import random
from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.db import transaction

from composition.registry import METHODS
from tests.attack.test_numbers import WRITTEN
from tests.hub.api_client import Api
from tests.hub.every_kind import ANYTHING, FINE, make_lab

pytestmark = pytest.mark.django_db
MEMBERS = [
    "recipe",
    "inputs",
    "datasets",
    "output",
    "base",
    "files",
    "keep",
    "visibility",
    "generator",
    "onto",
    "without",
]
MEMBERS += ["kind", "unheard_of"]
NAMES = [*ANYTHING, "lab/secret", "lab/a@v1", "lab/a@v9", "lab/a@", "a", "/", "lab/none", "member/made", "pico/next"]
NAMES += ["pico/small", "pico/unread", "stranger/x", "lab/" + "a" * 97, "lab/MADE", "lab/x.v1", "-/-", "lab/a@latest"]
PLAIN = [0, 1, -1, 2, 3, 7, 64, 65536, 65537, 2**31, 2**63, -(2**63), 10**30, 0.0, -0.0, 1e-320, 0.5, 1.5, 1e308, True]
PLAIN += [
    False,
    None,
    "",
    "a",
    "0",
    "1",
    "1.5",
    "nan",
    " ",
    "\u202e",
    "e\u0301",
    "auto",
    "none",
    [],
    {},
    [None],
    [1],
    [[]],
]
WORDS = [recipe for method in METHODS.values() for recipe in (method.kind, method.verb)]


def anything(chance: random.Random, field: dict | None = None) -> object:
    """A value: what the field may be, its edges, a name, any plain value, or what JSON can write and Python can't."""
    kind = chance.randrange(6)
    if kind == 0 and field:
        edges = [field.get("minimum"), field.get("maximum"), field.get("default")]
        edges += [edge + step for edge in edges[:2] if isinstance(edge, int | float) for step in (-1, 1, 0.5)]
        return chance.choice([*edges, *(field.get("choices") or []), [edges[0]], {"a": edges[1]}])
    if kind == 1:
        return chance.choice(NAMES)
    if kind == 2:
        return [chance.choice([*NAMES, *PLAIN]) for _ in range(chance.randrange(5))]
    if kind == 3:
        return {chance.choice([*NAMES, *WORDS, *FILES]): anything(chance) for _ in range(chance.randrange(3))}
    if kind == 4:
        return Written(chance.choice(WRITTEN))
    return chance.choice(PLAIN)


FILES = ["seeds", "real", "context", "index", "text", "name", "base64", "companion", "path", "from"]


class Written(str):
    """JSON as it is written."""


def bodies(count: int, seed: int) -> Iterator[bytes]:
    """So many bodies: those that work, up to four members or fields of the recipe changed."""
    chance = random.Random(seed)
    kinds = sorted(FINE)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        body = json.loads(json.dumps(FINE[kind]))
        fields = {field.name: dict(field.metadata) for field in dataclasses.fields(METHODS[kind].recipe)}
        for _ in range(chance.randrange(5)):
            if chance.random() < 0.6 and fields and isinstance(body.get("recipe", {}), dict):
                name = chance.choice([*fields, "unheard_of"])
                body.setdefault("recipe", {})[name] = anything(chance, fields.get(name))
            elif chance.random() < 0.3 and isinstance(body.get("files"), dict):
                body["files"][chance.choice(FILES)] = anything(chance)
            else:
                body[chance.choice(MEMBERS)] = anything(chance)
        yield written(body).encode()


def written(value: object) -> str:
    """The value as JSON, with what is `Written` as it is."""
    if isinstance(value, Written):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{written(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value)


@pytest.mark.parametrize(
    ("count", "seed"), [(200, 1), *(pytest.param(1000, seed, marks=pytest.mark.slow) for seed in (2, 3, 4, 5, 6))]
)
def test_no_request_for_a_job_breaks_it(people, base, tmp_path, count, seed):
    api = Api(make_lab(people, base, tmp_path).member)
    sent = {"content_type": "application/json", "headers": api.headers}
    started = 0
    for body in bodies(count, seed):
        for door in ("/api/v1/jobs/check", "/api/v1/jobs"):
            cache.clear()
            with transaction.atomic():
                answer = api.http.post(door, body, **sent)
                transaction.set_rollback(True)
            assert answer.status_code < 500, (door, body[:3000], answer.content)
            assert len(answer.content) < 100_000, (door, body[:3000], "It says the value back at length.")
        started += answer.status_code == 201
    assert 0 < started < count, "Some are still requests that work."
