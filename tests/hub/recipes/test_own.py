"""Jobs as YAML: read back they ask for the same; what is unknown, hostile or about other bytes is refused."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hub.access import Viewer
from hub.errors import HubError, Invalid
from hub.models import Job, Visibility
from hub.services.parsing.plain_yaml import mapping_of
from hub.services.recipes import own
from hub.services.recipes.reading import read_file
from tests.hub import asking, factories
from tests.hub.api_client import Api

pytestmark = pytest.mark.django_db


@pytest.fixture
def pair(people, base):
    return [
        factories.make_version(people.owner, name, namespace=people.lab, base=base, seed=n)
        for n, name in enumerate("ab")
    ]


@pytest.fixture
def job(people, pair) -> Job:
    recipe = {"rank": 3, "weights": [0.7, -0.2], "dtype": "bfloat16"}
    return asking.queue_job(actor=people.owner, kind="svd", recipe=recipe, inputs=pair, output=("lab", "ab"))


def test_a_job_read_back_asks_for_the_same(people, job, pair):
    viewer = Viewer(user=people.owner)
    text = own.write(viewer, job)
    told = yaml.safe_load(text)
    assert told["inputs"][0] == {
        "name": "lab/a@v1",
        "revision": pair[0].revision.oid,
        "digest": pair[0].content_digest,
        "weight": 0.7,
    }
    api = Api(people.owner)
    body = api("POST", "/recipes", {"text": text}).json()
    assert body.pop("notes") == []
    again = Job.objects.get(pk=api("POST", "/jobs", body).json()["id"])
    assert again.recipe == job.recipe
    assert [row.version for row in again.inputs.all()] == pair
    assert again.output_path == job.output_path and again.output_visibility == job.output_visibility


def test_over_rest_it_is_yaml(people, job):
    answer = Api(people.owner)("GET", f"/jobs/{job.pk}/recipe")
    assert answer["Content-Type"].startswith("application/yaml")
    assert yaml.safe_load(answer.content)["kind"] == "svd"


def test_other_bytes_than_the_recipe_was_made_with_are_refused(people, job):
    text = own.write(Viewer(user=people.owner), job)
    for name in ("digest", "revision"):
        told = yaml.safe_load(text)
        told["inputs"][1][name] = "0" * 40
        with pytest.raises(Invalid, match=f"leave out the {name}") as refusal:
            read_file(Viewer(user=people.owner), yaml.safe_dump(told))
        assert refusal.value.code == "recipe.other_bytes"


def test_hidden_inputs_stay_hidden(people, job, pair):
    text = own.write(Viewer(user=people.owner), job)
    pair[0].repository.visibility = Visibility.PRIVATE
    pair[0].repository.save()
    with pytest.raises(Invalid, match="inputs that you don't see"):
        own.write(Viewer(user=people.stranger), job)
    with pytest.raises(HubError) as refusal:
        read_file(Viewer(user=people.stranger), text)
    assert refusal.value.status == 404


def test_private_texts_have_no_place_in_a_file(people, pair):
    factories.make_base("pico/next")
    files = {"seeds": '{"prompt": "a", "completion": "b"}\n' * 5}
    job = asking.queue_job(
        actor=people.owner,
        kind="trans-lora",
        recipe={"filter": "none"},
        inputs=pair[:1],
        base=factories.make_base("pico/other"),
        files=files,
        output=("lab", "moved"),
    )
    with pytest.raises(Invalid, match="private texts"):
        own.write(Viewer(user=people.owner), job)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a mapping"),
        ("- a", "not a mapping"),
        ("kind: [", "can't be read in line"),
        ("kind: svd\nkind: cat", "'kind' is given twice"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("kind: !!python/object/apply:os.system [ls]", "can't be read"),
        ("kind: " + "[" * 60_000, "nested over 12 deep"),
        ("kind: " + "x" * 70_000, "over 64,000 characters"),
        ("a: 2026-99-99", "impossible"),
        ("? [a]\n: 1", "can't be read"),
        ("kind: sdv", "kind: expected the name of a method"),
        ("kind: 5", "kind: expected text"),
        ("kind: svd\nrnak: 4", "no 'rnak'"),
        ("kind: svd\nfields: 4", "fields: expected"),
        ("kind: svd\ninputs: lab/a", "inputs: expected a list"),
        ("kind: svd\ninputs: [5]", "inputs: expected a name"),
        ("kind: svd\ninputs: [{name: lab/a, wieght: 1}]", "inputs: expected a name"),
        ("kind: svd\ninputs: [{name: lab/a, weight: 1}, lab/b]", "every input a weight"),
        ("kind: svd\nfields: {weights: [1]}\ninputs: [{name: lab/a, weight: 1}]", "give them once"),
        ("kind: svd\ndatasets: [{name: lab/a, weight: 1}]", "a dataset never"),
    ],
)
def test_what_is_wrong_is_said(people, text, said):
    with pytest.raises(Invalid, match=said) as refusal:
        read_file(Viewer(user=people.owner), text)
    assert refusal.value.code == "recipe.file"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["kind", "inputs", "fields", "datasets", "models", "merge_method", "x"]), PLAIN))
def test_any_mapping_is_a_body_or_a_refusal(data):
    try:
        read_file(Viewer(user=None), yaml.safe_dump(data))
    except HubError as refusal:
        assert refusal.code.startswith("recipe.") or refusal.status == 404 or refusal.code == "invalid"


@given(st.text(max_size=80))
def test_any_text_is_a_mapping_or_a_refusal(text):
    try:
        assert isinstance(mapping_of(text, what="It", code="recipe.file"), dict)
    except Invalid as refusal:
        assert refusal.code == "recipe.file"
