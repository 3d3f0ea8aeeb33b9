"""The dry run and the start walk the same steps: whatever is wrong, the first problem of the one is the other's error.

A stored job can be prepared again, of every kind; then it is refused to whoever lost access in between.
"""

from pathlib import Path

import pytest
from django.db import transaction

from composition.errors import CompositionError
from composition.registry import METHODS, methods_of
from hub.errors import HubError, NotFound
from hub.models import ADAPTER, Job, Membership, Repository, Visibility
from hub.services.jobs.kinds import HOMES, kind_of
from hub.services.jobs.prepare import examine, prepare
from hub.services.jobs.queue import queue_job
from hub.services.jobs.report import check_job
from hub.services.jobs.request import JobRequest
from tests.hub import factories
from tests.hub.api_client import Api
from tests.hub.every_kind import (
    ANYTHING,
    ASK,
    FINE,
    JUDGE,
    LOST,
    MEASURE,
    MERGE,
    MIX,
    MOVE,
    READ,
    SEARCH,
    SEEDS,
    TRAIN,
    WEIGH,
    WRITE,
    A,
    B,
    asked,
    lab_once,  # noqa: F401
    own_output,
    shared_lab,  # noqa: F401
    swept,
)

pytestmark = pytest.mark.django_db
# What is changed of a request that works, and the code of the error; one row a way to be wrong.
DATA_FREE = [method.kind for method in methods_of("merge") if not method.needs.base_model]
BAD = [
    ({**MERGE, "kind": "magic"}, "recipe"),
    ({**MERGE, "recipe": {"rank": 0}}, "recipe"),
    ({**MERGE, "recipe": {"rnak": 4}}, "recipe"),
    ({**MERGE, "recipe": {"version": 9}}, "recipe"),
    ({**MERGE, "recipe": {"rank": 4000}}, "recipe"),
    ({**MERGE, "recipe": {"rank": 2, "weights": [1, 0]}}, "recipe"),
    ({**MERGE, "recipe": {"rank": 2, "weights": [1]}}, "recipe"),
    ({**MERGE, "inputs": []}, "invalid"),
    ({**MERGE, "inputs": ["lab/sums"]}, "invalid"),
    ({**MERGE, "inputs": [A, "lab/far"]}, "merge.bases_differ"),
    ({**MERGE, "inputs": [A, "lab/dora"]}, "merge.needs_base"),
    ({**MERGE, "datasets": ["lab/sums"]}, "invalid"),
    ({**MERGE, "base": "pico/next"}, "invalid"),
    ({**MERGE, "output": None}, "invalid"),
    ({**MERGE, "output": "nowhere/made"}, "not_found"),
    ({**MERGE, "output": "stranger/made"}, "permission_denied"),
    ({**MERGE, "output": "lab/made.v1"}, "invalid"),
    ({**MERGE, "output": "lab/gen"}, "invalid"),
    ({**MERGE, "inputs": [A, "lab/secret"], "output": "lab/b"}, "output.too_public"),
    ({**MERGE, "files": {"seeds": SEEDS}}, "invalid"),
    ({**MERGE, "keep": ["state"]}, "invalid"),
    ({**MERGE, "generator": "lab/gen"}, "invalid"),
    ({**MERGE, "recipe": {"rank": 0}, "inputs": [A, "lab/far"], "output": "lab/made.v1", "keep": ["x"]}, "recipe"),
    ({**MERGE, "kind": "average", "recipe": {}, "inputs": [A, "lab/wide"]}, "merge.ranks_differ"),
    ({**READ, "datasets": []}, "merge.no_data"),
    ({**READ, "datasets": ["lab/sums"]}, "merge.no_data"),
    ({**READ, "datasets": ["lab/sums"] * 3}, "invalid"),
    ({**READ, "datasets": ["lab/sums", A]}, "invalid"),
    ({**READ, "datasets": ["lab/questions"] * 2, "recipe": {}}, "dataset.rows"),
    ({**READ, "recipe": {"split": "dev"}}, "invalid"),
    ({**READ, "recipe": {"split": "test", "weights": [1, -1]}}, "recipe"),
    ({**READ, "inputs": [A, "lab/dora"]}, "merge.needs_base"),
    ({**READ, "kind": "lorahub", "datasets": []}, "merge.no_data"),
    ({**READ, "kind": "lora-soups", "datasets": ["lab/questions"], "recipe": {}}, "dataset.rows"),
    ({**READ, "kind": "adamerging", "recipe": {"split": "test", "by": "row"}}, "recipe"),
    ({**MIX, "inputs": [A]}, "invalid"),
    ({**MIX}, "assemble.no_data"),
    ({**MIX, "datasets": ["lab/texts"], "recipe": {"split": "train"}}, "dataset.rows"),
    ({**MIX, "datasets": ["lab/sums"], "recipe": {"split": "dev"}}, "invalid"),
    ({**MIX, "datasets": ["lab/sums"], "recipe": {"train": "prototype"}}, "invalid"),
    ({**MIX, "inputs": [A, A], "recipe": {"train": "prototype"}}, "assemble.named_twice"),
    ({**MIX, "inputs": [A, "lab/mix"], "recipe": {"train": "prototype"}}, "invalid"),
    ({**MIX, "inputs": ["lab/mix", A], "kind": "smora"}, "assemble.other_method"),
    ({**MIX, "inputs": ["lab/mix", "lab/wide"], "recipe": {"train": "router"}, "datasets": ["lab/sums"]}, "invalid"),
    ({**MOVE, "base": None}, "transfer.no_target"),
    ({**MOVE, "base": "pico/llama"}, "transfer.same"),
    ({**MOVE, "base": "pico/unread"}, "base.not_ready"),
    ({**MOVE, "files": {}}, "transfer.no_seeds"),
    ({**MOVE, "files": {"seeds": "no JSON"}}, "seeds.json"),
    ({**MOVE, "files": {"real": SEEDS}}, "invalid"),
    ({**MOVE, "files": {"seeds": {"companion": "none.jsonl"}}}, "not_found"),
    ({**MOVE, "recipe": {}}, "transfer.no_discriminator"),
    ({**MOVE, "datasets": ["lab/sums"]}, "invalid"),
    ({**MOVE, "kind": "portllm", "recipe": {}, "files": {}, "base": "pico/small"}, "transfer.shapes"),
    ({**MOVE, "kind": "loram", "recipe": {}, "files": {}}, "transfer.no_index"),
    ({**MOVE, "kind": "loram", "recipe": {}, "files": {"index": "[]"}}, "invalid"),
    ({**JUDGE, "files": {"seeds": SEEDS}}, "discriminator.too_few_real"),
    ({**JUDGE, "base": "pico/next"}, "invalid"),
    ({**JUDGE, "datasets": ["lab/sums", "lab/sums"]}, "invalid"),
    ({**WRITE, "files": {}}, "generate.empty"),
    ({**WRITE, "files": {"context": "\\0\\0\\0".replace("\\0", "\x01") * 20}}, "generate.binary"),
    ({**WRITE, "base": "pico/next"}, "generate.no_generator"),
    ({**WRITE, "base": None}, "invalid"),
    ({**WRITE, "base": "pico/next", "generator": "lab/gen"}, "generator.other_base"),
    ({**WRITE, "inputs": [A]}, "invalid"),
    ({**WRITE, "onto": A}, "invalid"),
    ({**WRITE, "keep": ["seeds"]}, "invalid"),
    ({**TRAIN, "datasets": []}, "invalid"),
    ({**TRAIN, "datasets": ["lab/sums"]}, "train.rows"),
    ({**TRAIN, "recipe": {**TRAIN["recipe"], "holdout": 900}}, "train.few_documents"),
    ({**TRAIN, "recipe": {"stage": "questions"}, "datasets": ["lab/questions"]}, "train.no_start"),
    ({**MEASURE, "inputs": []}, "invalid"),
    ({**MEASURE, "datasets": []}, "invalid"),
    ({**MEASURE, "recipe": {"split": "dev"}}, "invalid"),
    ({**MEASURE, "recipe": {"metrics": ["choice"]}}, "invalid"),
    ({**MEASURE, "base": "pico/next"}, "invalid"),
    ({**WEIGH, "inputs": [A]}, "invalid"),
    ({**WEIGH, "inputs": [A, "lab/far"]}, "merge.bases_differ"),
    ({**WEIGH, "inputs": [A, "lab/dora"]}, "merge.needs_base"),
    ({**WEIGH, "recipe": {"rank": 99}}, "recipe"),
    ({**WEIGH, "recipe": {"methods": ["zip"]}}, "recipe"),
    ({**WEIGH, "datasets": ["lab/sums"]}, "invalid"),
    ({**LOST, "inputs": [A]}, "merge.not_a_merge"),
    ({**LOST, "inputs": ["lab/ab", "lab/wide"]}, "invalid"),
    ({**LOST, "inputs": []}, "invalid"),
    ({**LOST, "datasets": []}, "invalid"),
    ({**LOST, "datasets": [A]}, "invalid"),
    ({**LOST, "datasets": ["lab/texts"], "recipe": {"split": "train"}}, "dataset.rows"),
    ({**LOST, "recipe": {"split": "dev"}}, "invalid"),
    ({**LOST, "recipe": {"metrics": ["choice"]}}, "invalid"),
    ({**LOST, "base": "pico/next"}, "invalid"),
    ({**SEARCH, "inputs": [A]}, "invalid"),
    ({**SEARCH, "inputs": [A, "lab/far"]}, "merge.bases_differ"),
    ({**SEARCH, "inputs": [A, "lab/dora"]}, "merge.needs_base"),
    ({**SEARCH, "inputs": [A, "lab/mix"]}, "merge.needs_base"),
    ({**SEARCH, "datasets": []}, "invalid"),
    ({**SEARCH, "datasets": [B]}, "invalid"),
    ({**SEARCH, "datasets": ["lab/texts"]}, "dataset.rows"),
    ({**SEARCH, "recipe": {"methods": "sdv"}}, "recipe"),
    ({**SEARCH, "recipe": {"methods": "svd", "ranks": [4000]}}, "recipe"),
    ({**SEARCH, "recipe": {"split": "dev"}}, "invalid"),
    ({**SEARCH, "recipe": {"metric": "choice"}}, "invalid"),
    ({**SEARCH, "recipe": {"budget": 1}}, "recipe"),
    ({**ASK, "recipe": {"prompt": " "}}, "recipe"),
    ({**ASK, "inputs": [A, B]}, "invalid"),
    ({"kind": "fingerprint"}, "invalid"),
    ({"kind": "fingerprint", "base": "pico/next", "inputs": [A]}, "invalid"),
]


@pytest.fixture
def lab(shared_lab):  # noqa: F811
    return shared_lab


def names(body: dict) -> str:
    return body["kind"] + ": " + ", ".join(sorted(body.keys() - {"kind"}))


def test_there_are_enough_ways_to_be_wrong():
    assert len(BAD) >= 40
    families = {type(kind_of(body["kind"])) for body, _ in BAD if body["kind"] in METHODS}
    elsewhere = {type(kind_of(kind)) for kind in METHODS if kind not in FINE}
    assert families == {type(home) for home in HOMES.all.values()} - (elsewhere - families)


def test_a_kind_without_rows_here_is_asked_for_in_a_test_of_its_own():
    tests = [path.read_text() for path in Path(__file__).parents[2].rglob("test_*.py")]
    own = [kind for kind in METHODS if kind not in FINE and kind not in DATA_FREE]
    forgotten = [kind for kind in own if not any(f'"kind": "{kind}"' in text for text in tests)]
    assert not forgotten, "Give them rows in FINE and BAD, or ask for them in a test of their own."


@pytest.mark.parametrize("kind", DATA_FREE)
def test_every_merge_from_files_alone_is_prepared_and_says_all_that_it_will_do(lab, kind):
    """Merges share one home: those that have no row in FINE differ in their recipes alone."""
    draft = prepare(lab.member, asked(lab.member, {**MERGE, "kind": kind, "recipe": {}}))
    assert draft.recipe == draft.recipe.settled(kind_of(kind).facts(draft.request))
    ranks = draft.recipe.output_ranks(kind_of(kind).facts(draft.request))
    assert getattr(draft.recipe, "rank", None) in (None, max(ranks.values()))
    again = prepare(lab.member, draft.request.replace(recipe=draft.recipe.to_dict()))
    assert again.recipe == draft.recipe


@pytest.mark.parametrize(("body", "code"), BAD, ids=[f"{n} {names(body)}" for n, (body, _) in enumerate(BAD)])
def test_the_first_problem_of_the_dry_run_is_the_error_of_the_start(lab, body, code):
    request = asked(lab.member, body)
    report = check_job(actor=lab.member, request=request)
    with pytest.raises((HubError, CompositionError)) as refusal:
        queue_job(actor=lab.member, request=request)
    error, first = refusal.value, report["problems"][0]
    assert not report["ok"] and not Job.objects.exists()
    assert error.code.startswith(code), error.message
    assert (first["code"], first["message"], first.get("field")) == (
        error.code,
        error.message,
        error.facts.get("field"),
    )


@pytest.mark.parametrize(
    ("kind", "share"), [(kind, 3) for kind in FINE] + [pytest.param(kind, 1, marks=pytest.mark.slow) for kind in FINE]
)
def test_whatever_is_put_wherever_it_is_answered_and_alike(lab, kind, share):
    """A kind is asked for with one in `share` of the names, the next kind with others."""
    for body in swept(FINE[kind], ANYTHING[list(FINE).index(kind) % share :: share]):
        request = asked(lab.member, body)
        report, error = check_job(actor=lab.member, request=request), None
        with transaction.atomic():
            try:
                queue_job(actor=lab.member, request=request)
            except (HubError, CompositionError) as refusal:
                error = refusal
            transaction.set_rollback(True)
        first = report["problems"][0] if report["problems"] else {}
        assert first.get("code") == (error and error.code), body
        assert first.get("message") == (error and error.message), body


def test_over_rest_they_agree_as_well(lab):
    member = Api(lab.member)
    for body, _ in BAD:
        checked, started = member("POST", "/jobs/check", body), member("POST", "/jobs", body)
        assert checked.status_code == 200, (body, checked.content)
        first, error = checked.json()["problems"][0], started.json()
        assert started.status_code >= 400, body
        assert (first["code"], first.get("field")) == (error["code"], error.get("field")), body


@pytest.mark.parametrize("kind", FINE)
def test_a_stored_job_is_prepared_again_to_the_same(lab, kind):
    job = queue_job(actor=lab.member, request=asked(lab.member, FINE[kind]))
    again = prepare(lab.member, JobRequest.of(Job.objects.get(pk=job.pk)))
    assert again.recipe.to_dict() == job.recipe
    assert [version.pk for version in again.request.versions] == [
        row.version_id for row in sorted(job.inputs.all(), key=lambda row: (row.role == "dataset", row.pk))
    ]
    assert again.base == job.base
    assert {(file.role, file.name, file.entry.sha256) for file in again.given} == set(
        job.files.values_list("role", "name", "digest")
    )
    assert (again.place or (None, ""))[0] == job.output_namespace


@pytest.mark.parametrize("kind", [kind for kind in FINE if FINE[kind].get("inputs") or FINE[kind].get("datasets")])
def test_who_lost_access_is_refused_when_it_is_prepared_again(lab, kind):
    job = queue_job(actor=lab.member, request=asked(lab.member, FINE[kind] | own_output(kind)))
    Repository.objects.update(visibility=Visibility.PRIVATE)
    request = JobRequest.of(Job.objects.get(pk=job.pk))
    prepare(lab.member, request)
    Membership.objects.filter(user=lab.member, namespace=lab.lab).delete()
    with pytest.raises(NotFound, match="that you can see"):
        prepare(lab.member, request)


def test_what_a_kind_adds_by_itself_is_asked_for_as_well(lab, monkeypatch):
    stranger = factories.make_user("elsewhere")
    hidden = factories.make_version(stranger, "hidden", visibility=Visibility.PRIVATE, seed=8)
    home = type(kind_of("svd"))
    add = lambda self, viewer, recipe, request: request.replace(inputs={ADAPTER: (*request.adapters, hidden)})  # noqa: E731
    monkeypatch.setattr(home, "with_data", add)
    request = asked(lab.member, {**MERGE, "kind": "svd"})
    with pytest.raises(NotFound, match="that you can see"):
        prepare(lab.member, request)
    assert not check_job(actor=lab.member, request=request)["ok"]


def test_what_became_private_makes_the_result_private_when_it_is_prepared_again(lab):
    job = queue_job(actor=lab.member, request=asked(lab.member, MERGE))
    assert job.output_visibility == Visibility.PUBLIC
    Repository.objects.filter(name="a").update(visibility=Visibility.PRIVATE)
    again = JobRequest.of(Job.objects.get(pk=job.pk))
    assert check_job(actor=lab.member, request=again)["visibility"] == Visibility.PRIVATE


def test_everything_that_is_wrong_is_told_once(lab):
    body = {**MERGE, "inputs": [A, "lab/far"], "output": "lab/made.v1", "keep": ["state"], "files": {"seeds": SEEDS}}
    problems = examine(lab.member, asked(lab.member, body)).problems
    said = [problem.message for problem in problems]
    assert len(said) == len(set(said)) == 4, said
