"""Bases over REST: registering by a config, finding by name or alias."""

import pytest

from hub.models import BaseModel, Job
from tests.hub import factories
from tests.hub.api_client import Api, problem

pytestmark = pytest.mark.django_db
NEW = {"name": "org/tiny", "config": factories.PICO_CONFIG, "aliases": ["/models/tiny"], "license": "mit"}


def test_registering_queues_the_reading_of_its_shapes(owner):
    answer = Api(owner).post("/bases", NEW)
    assert answer.status_code == 201, answer.content
    assert answer.json()["base"]["ready"] is False
    assert Job.objects.get(pk=answer.json()["job"]).kind == "fingerprint"
    for name in ("org/tiny", "Org/Tiny", "/models/tiny"):
        found = Api().get(f"/bases/{name}").json()
        assert (found["name"], found["config"]) == ("org/tiny", factories.PICO_CONFIG)


def test_derived_bases_name_their_parent(owner, base):
    wanted = {**NEW, "derived_from": "pico/llama", "relation": "quantized", "revision": "q4"}
    assert Api(owner).post("/bases", wanted).json()["base"]["derived_from"] == "pico/llama"
    problem(Api(owner).post("/bases", {**NEW, "derived_from": "no/such"}), 404, "base_not_found")
    problem(Api().get("/bases/org/tiny?revision=q5"), 404, "base_not_found")


def test_a_base_says_how_many_visible_adapters_it_has(owner, base, people):
    factories.make_version(owner, "a")
    factories.make_version(owner, "b", visibility="private")
    assert Api().get("/bases/pico/llama").json()["adapters"] == 1
    assert Api(owner).get("/bases").json()["results"][0]["adapters"] == 2
    assert "shapes" not in Api().get("/bases").json()["results"][0]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "tiny"}, "name"),
        ({"name": 5}, "name"),
        ({"config": "x"}, "config"),
        ({"config": {}}, "config"),
        ({"relation": "cousin"}, "relation"),
        ({"relation": "pruned"}, "relation"),
        ({"aliases": "x"}, "aliases"),
        ({"aliases": ["x"] * 51}, "aliases"),
        ({"revision": "a/b"}, "revision"),
        ({"source": []}, "source"),
        ({"weights": "/etc"}, "weights"),
    ],
)
def test_bad_ones_name_the_field(owner, change, field):
    assert problem(Api(owner).post("/bases", {**NEW, **change}), 422, "invalid")["field"] == field
    assert not BaseModel.objects.exists()


def test_code_in_a_config_is_refused(owner):
    config = {**factories.PICO_CONFIG, "auto_map": {"AutoModel": "evil.Model"}}
    problem(Api(owner).post("/bases", {**NEW, "config": config}), 422, "base.code")
