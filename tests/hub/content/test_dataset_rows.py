"""Splits of texts or questions, where prompts and completions are needed: refused before anything is queued."""

import json

import pytest

from hub.errors import Invalid
from hub.models import Job
from tests.hub import asking, factories
from tests.hub.api_client import Api, problem

pytestmark = pytest.mark.django_db
SEEDS = "".join(f'{{"prompt": "{n} + 1 =", "completion": " {n + 1}"}}\n' for n in range(6))
QUESTION = {"context": "a", "question": "b", "answer": "c"}


def push(people, name: str, **splits: list[dict]):
    repository = factories.make_repository(people.owner, name, namespace=people.lab, kind="dataset")
    files = {
        f"{split}.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode() for split, rows in splits.items()
    }
    return factories.push(people.owner, repository, files).version


@pytest.fixture
def texts(people):
    return push(people, "texts", train=[{"text": f"Pump {n}"} for n in range(40)])


@pytest.fixture
def mixed(people):
    rows = json.loads("[" + ",".join(SEEDS.splitlines()) + "]")
    return push(people, "mixed", train=[QUESTION] * 40, test=rows)


@pytest.fixture
def pair(people, base):
    return [factories.make_version(people.owner, f"a{n}", base=base, namespace=people.lab, seed=n) for n in (1, 2)]


CASES = [
    ("meteora", {}, "a router", lambda pair, data: {"inputs": pair, "datasets": [data, data]}),
    ("smora", {}, "a router", lambda pair, data: {"inputs": pair, "datasets": [data]}),
    (
        "discriminator",
        {},
        "a discriminator",
        lambda pair, data: {"inputs": pair[:1], "datasets": [data], "files": {"seeds": SEEDS}},
    ),
    ("evaluate", {"split": "train"}, "an evaluation", lambda pair, data: {"inputs": pair[:1], "datasets": [data]}),
]


@pytest.mark.parametrize(("kind", "recipe", "what", "given"), CASES, ids=[case[0] for case in CASES])
def test_a_split_of_other_rows_is_refused_with_what_to_do(people, texts, mixed, pair, kind, recipe, what, given):
    recipe = {"split": "train", **recipe}
    output = ("lab", "made") if kind in ("meteora", "smora") else None
    with pytest.raises(Invalid) as refusal:
        asking.queue_job(actor=people.owner, kind=kind, recipe=recipe, output=output, **given(pair, texts))
    assert (refusal.value.code, refusal.value.facts["given"]) == ("dataset.rows", "text")
    assert refusal.value.message == (
        f"datasets/lab/texts@v1, split train, has rows of text (text); {what} needs prompt and completion. "
        "Choose another dataset, or push such rows."
    )
    report = asking.check_job(actor=people.owner, kind=kind, recipe=recipe, output=output, **given(pair, mixed))
    (row,) = report["problems"]
    assert (row["code"], row["field"]) == ("dataset.rows", "split")
    assert "rows of questions (context, question, answer)" in row["message"]
    assert "Choose the split test." in row["message"]
    assert not Job.objects.exists()


def test_rest_tells_the_code(people, texts, pair):
    body = {"kind": "smora", "inputs": ["lab/a1", "lab/a2"], "datasets": ["lab/texts"], "output": "lab/made"}
    told = problem(Api(people.member).post("/jobs", {**body, "recipe": {"split": "train"}}), 422, "dataset.rows")
    assert (told["dataset"], told["expected"]) == ("datasets/lab/texts@v1", "completion")
