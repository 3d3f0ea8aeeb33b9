"""A base whose config.json holds Infinity is registered by the client and over REST; other bodies stay strict JSON."""

from pathlib import Path

import pytest
from django.test import Client

from hub.models import BaseModel
from tests.hub.api_client import Api, problem

pytestmark = pytest.mark.django_db(transaction=True)
BASES = Path(__file__).parents[1] / "field" / "bases"


@pytest.mark.parametrize("name", ["mamba2", "mamba2_v5"])
def test_the_client_registers_it_and_a_worker_reads_its_shapes(name, hubctl, signed_in, worker):
    done = hubctl("base", "add", f"pico/{name}", "--config", BASES / f"{name}.json", "--wait")
    assert done.code == 0, done.err
    base = BaseModel.objects.get(name=f"pico/{name}")
    assert len(base.shapes) == 8
    assert base.config["time_step_limit"] == [0.0, {"__float__": "Infinity"}]
    again = hubctl("base", "add", f"pico/{name}", "--config", BASES / "mamba2.json", "--json")
    assert again.json["job"] is None, "both spellings are one config"


@pytest.mark.parametrize("name", ["mamba2", "mamba2_v5"])
def test_the_page_takes_both_spellings(name, ada, served):
    page = Client()
    page.force_login(ada)
    done = page.post("/bases/new", {"name": f"pico/{name}", "config": (BASES / f"{name}.json").read_text()})
    assert done.status_code == 302, done.content.decode()
    assert BaseModel.objects.get().config["time_step_limit"] == [0.0, {"__float__": "Infinity"}]


@pytest.mark.parametrize(("name", "word"), [("lfs", "git lfs pull"), ("bom", "byte order mark")])
def test_what_is_no_config_is_named_by_page_and_client(name, word, hubctl, signed_in, served):
    page = Client()
    page.force_login(signed_in)
    text = (BASES / f"{name}.json").read_text()
    assert word in page.post("/bases/new", {"name": "pico/x", "config": text}).content.decode()
    assert word in hubctl("base", "add", "pico/x", "--config", BASES / f"{name}.json").err
    assert not BaseModel.objects.exists()


def send(user, method, path, body):
    """A body of JSON as it is written, Infinity and all."""
    api = Api(user)
    return api.http.generic(method, f"/api/v1{path}", body, content_type="application/json", headers=api.headers)


def test_rest_takes_both_spellings_in_one_body_and_refuses_others(signed_in, served):
    literal = (BASES / "mamba2.json").read_text()
    answer = send(signed_in, "POST", "/bases", f'{{"name": "pico/a", "config": {literal}}}')
    assert answer.status_code == 201, answer.content
    assert Api().get("/bases/pico/a").json()["config"]["time_step_limit"][1] == {"__float__": "Infinity"}
    refused = send(signed_in, "POST", "/repositories", '{"namespace": "ada", "name": "x", "kind": Infinity}')
    assert "not a JSON number" in problem(refused, 400, "json.malformed")["detail"]
    problem(send(signed_in, "PATCH", "/bases/pico/a", '{"owner": NaN}'), 400, "json.malformed")
    named = send(signed_in, "POST", "/bases", f'{{"name": Infinity, "config": {literal}}}')
    assert named.status_code in (400, 422)
    layers = literal.replace('"num_hidden_layers": 2', '"num_hidden_layers": Infinity')
    assert layers != literal
    problem(send(signed_in, "POST", "/bases", f'{{"name": "pico/b", "config": {layers}}}'), 422, "base.config")
