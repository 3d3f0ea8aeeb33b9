"""Generators as repositories: taken in by their files and their base, refused with what is wrong, found again."""

import json

import pytest

from composition.errors import CompositionError
from hub.access import ANONYMOUS, Viewer
from hub.errors import Invalid
from hub.queries.generator import generators_of
from tests.hub import factories
from tests.hub.api_client import Api
from tests.hub.factories import generator_files

pytestmark = pytest.mark.django_db


@pytest.fixture
def repository(people):
    return factories.make_repository(people.owner, "gen", namespace=people.lab, kind="generator")


def push(people, repository, files, **options):
    return factories.push(people.owner, repository, files, **options).version


def test_a_push_is_a_version_with_facts_and_facets(people, base, repository):
    version = push(people, repository, generator_files())
    assert (version.base, version.facts["adapter_rank"], version.facts["sizes"]["inner"]) == (base, 4, 6)
    assert "curve" not in version.facts["training"]
    repository.refresh_from_db()
    assert (repository.rank, repository.base, repository.peft_type) == (4, base, "")
    assert push(people, repository, {"README.md": b"# Better words\n"}) == version
    assert push(people, repository, generator_files(seed=1)).number == 2


def test_the_config_counts_by_its_values(people, base, repository):
    files = generator_files()
    version = push(people, repository, files)
    spaced = json.dumps(json.loads(files["generator_config.json"]), indent=4).encode()
    assert push(people, repository, {"generator_config.json": spaced}) == version


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"generator.safetensors": generator_files()["generator.safetensors"]}, "generator.missing_file"),
        ({**generator_files(), "generator_config.json": b"[1]"}, "generator.config"),
        ({**generator_files(), "generator_config.json": b'{"format_version": 9}'}, "generator.version"),
        (generator_files(rank=5, r=9), "generator.tensors"),
        (generator_files(layers=3), "generator.shape"),
        ({**generator_files(), "generator.safetensors": b"\x00" * 16}, "safetensors"),
        (
            {**generator_files(), "extra.safetensors": generator_files()["generator.safetensors"]},
            "generator.extra_file",
        ),
    ],
)
def test_what_is_wrong_is_named(people, base, repository, files, code):
    with pytest.raises(CompositionError) as refusal:
        push(people, repository, files)
    assert refusal.value.code.startswith(code)
    assert not repository.versions.exists()


def test_an_unknown_base_is_told_with_the_files_own_name(people, base, repository):
    with pytest.raises(Invalid, match=r"generator_config\.json names the base 'org/else'") as refusal:
        push(people, repository, generator_files(base_name="org/else"))
    assert refusal.value.code == "base.unknown"
    assert push(people, repository, generator_files(base_name="org/else"), base=base).base == base


def test_generators_are_listed_own_ones_first_and_private_ones_to_members(people, base):
    old = factories.make_generator(people.owner, "old", base=base, namespace=people.lab, visibility="private")
    new = factories.make_generator(people.stranger, "new", base=base, seed=1)
    assert generators_of(Viewer(user=people.reader), base) == [old, new]
    assert generators_of(Viewer(user=people.stranger), base) == [new]
    assert generators_of(ANONYMOUS, base) == [new]
    found = Api(people.reader).get("/repositories?kind=generator&base=pico/llama&rank=4").json()["results"]
    assert {row["full_name"] for row in found} == {"lab/old", "stranger/new"}


def test_rest_makes_adapters_from_documents(people, base):
    factories.make_generator(people.owner, base=base, namespace=people.lab)
    body = {
        "kind": "generate",
        "recipe": {"window": 32},
        "base": "pico/llama",
        "output": "lab/doc",
        "files": {"context": [{"name": "a.md", "text": "Words."}, {"name": "a.md", "base64": "TW9yZS4="}]},
        "keep": ["state"],
    }
    assert Api(people.member).post("/jobs/check", body).json()["visibility"] == "private"
    made = Api(people.member).post("/jobs", body)
    assert made.status_code == 201, made.content
    told = made.json()
    assert (told["others"], told["keep"]) == ({"generator": "lab/gen@v1"}, ["state"])
    assert [file["name"] for file in told["files"]] == ["2-a.md", "a.md"]
    assert Api(people.owner).get(f"/jobs/{told['id']}").json()["files"] == []
    assert Api(people.reader).post("/jobs", body).status_code == 403
    assert Api(people.stranger).post("/jobs", body).status_code == 403
    assert Api().post("/jobs", body).status_code == 401


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"generator": "lab/none"}, 404),
        ({"onto": "lab/none@v1"}, 404),
        ({"inputs": ["lab/gen"]}, 422),
        ({"files": {"context": {"name": "x.docx", "base64": "UEsDBAo="}}}, 422),
        ({"files": {"seeds": "{}"}}, 422),
        ({"keep": ["weights"]}, 422),
        ({"base": None, "generator": None}, 422),
    ],
)
def test_rest_refuses_with_the_field(people, base, change, status):
    factories.make_generator(people.owner, base=base, namespace=people.lab)
    body = {"kind": "generate", "base": "pico/llama", "output": "lab/doc", "files": {"context": "Words."}}
    answer = Api(people.member).post("/jobs", body | change)
    assert answer.status_code == status, answer.content
    assert answer.json()["detail"]
