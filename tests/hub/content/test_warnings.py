"""What the check found and did not refuse is said in the answer of the push and stays on the version."""

import json

import pytest
from django.test import Client

from tests.hub import factories
from tests.hub.api_client import Api

pytestmark = pytest.mark.django_db


def future_files():
    """A LoRA whose config a newer peft wrote, with a method that ours doesn't know."""
    files = factories.adapter_files()
    config = json.loads(files["adapter_config.json"]) | {"peft_version": "0.30.0", "use_brand_new_variant": True}
    return files | {"adapter_config.json": json.dumps(config).encode()}


def test_the_answer_of_a_push_carries_the_warnings_and_the_version_keeps_them(owner, people, base, repository):
    api = Api(owner)
    done = api.push("lab/sentiment", future_files())
    (warning,) = done["warnings"]
    assert "use_brand_new_variant" in warning
    assert "not merged" in warning
    assert api.push("lab/sentiment", future_files())["warnings"] == [warning]
    assert Api(people.member).get("/repositories/lab/sentiment/versions/v1").json()["facts"]["warnings"] == [warning]
    page = Client().get("/lab/sentiment/at/v1").content.decode()
    assert "use_brand_new_variant" in page
    assert "Merges refuse this adapter" in page


def test_a_push_without_a_version_or_without_doubts_has_none(owner, base, repository):
    api = Api(owner)
    assert api.push("lab/sentiment", {"README.md": b"# Soon"})["warnings"] == []
    assert api.push("lab/sentiment", factories.adapter_files())["warnings"] == []


def test_merges_say_why_they_refuse_it(owner, base, repository):
    api = Api(owner)
    api.push("lab/sentiment", future_files())
    factories.make_version(owner, "other")
    wanted = {"kind": "lego", "inputs": ["lab/sentiment@v1", "owner/other@v1"], "recipe": {"rank": 4}}
    answer = api.post("/jobs/check", wanted | {"output": "owner/both"})
    assert "use_brand_new_variant" in answer.content.decode()
    started = api.post("/jobs", wanted | {"output": "owner/both"})
    assert started.status_code == 422
    assert "use_brand_new_variant" in started.json()["detail"]
