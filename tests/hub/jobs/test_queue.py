"""Queueing, dry runs, cancelling, retrying: what people do with jobs, and what they are told when they can't."""

import pytest

from composition.errors import CompositionError, RecipeError
from hub import broker
from hub.errors import Conflict, Invalid, NotFound, PermissionDenied
from hub.models import Job, Repository, State, Visibility, WorkerNode
from hub.services import worker_nodes
from hub.services.jobs import lease, queue, waiting
from tests.hub import asking, factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def pair(owner, base):
    return [factories.make_version(owner, name, base=base, seed=n) for n, name in enumerate(("one", "two"))]


@pytest.fixture
def rows(owner, dataset):
    files = factories.dataset_files(rows=5)
    return factories.publish(owner, dataset, files).version


@pytest.fixture
def ask(owner, pair):
    """The arguments of a merge that works; each test changes one."""
    return {"actor": owner, "kind": "svd", "recipe": {"rank": 4}, "inputs": pair, "output": ("lab", "both")}


def test_a_queued_job_keeps_the_whole_recipe_and_its_inputs_digests(ask, pair, base):
    job = asking.queue_job(**ask)
    assert (job.state, job.queue, job.base) == (State.QUEUED, "cpu", base)
    assert job.recipe["kind"] == "svd"
    assert (job.recipe["version"], job.recipe["layout"]) == (3, "auto")
    assert job.recipe["dtype"] == "float32"
    kept = [(row.role, row.position, row.version, row.digest) for row in job.inputs.all()]
    assert kept == [("adapter", n, version, version.content_digest) for n, version in enumerate(pair)]
    assert job.output_path == "lab/both"
    assert not Repository.objects.filter(name="both").exists()


def test_the_broker_gets_the_id_after_the_commit_and_nothing_else(ask, monkeypatch, django_capture_on_commit_callbacks):
    sent = []
    monkeypatch.setattr(broker, "send", lambda *message: sent.append(message) or True)
    with django_capture_on_commit_callbacks(execute=True):
        job = asking.queue_job(**ask)
        assert sent == []
    assert sent == [(job.pk, "cpu")]
    job.refresh_from_db()
    assert job.sent_at is not None


def test_a_refused_job_leaves_no_row_and_sends_nothing(ask, monkeypatch, django_capture_on_commit_callbacks):
    monkeypatch.setattr(broker, "send", lambda *message: pytest.fail("sent"))
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(RecipeError):
        asking.queue_job(**ask | {"recipe": {"rank": 0}})
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"recipe": {"rank": "many"}}, RecipeError, "Rank"),
        ({"recipe": {"rnak": 4}}, RecipeError, "rnak"),
        ({"kind": "magic"}, RecipeError, "magic"),
        ({"output": None}, Invalid, "namespace/name"),
        ({"output": ("nowhere", "both")}, NotFound, "nowhere"),
        ({"output": ("lab", "both.v2")}, Invalid, ".vN"),
        ({"inputs": []}, Invalid, "at least 1"),
        ({"visibility": "secret"}, Invalid, "secret"),
    ],
)
def test_what_is_refused_at_once(ask, change, error, says):
    with pytest.raises(error, match=says):
        asking.queue_job(**ask | change)


def test_a_merge_needs_one_base(ask, owner, pair):
    other = factories.make_base("pico/other")
    stranger = factories.make_version(owner, "three", base=other, base_name="pico/other")
    with pytest.raises(Invalid, match="pico/other"):
        asking.queue_job(**ask | {"inputs": [pair[0], stranger]})


def test_what_needs_its_base_weight_is_refused_with_what_to_do(ask, owner, base, pair):
    tensors = factories.adapter_tensors()
    tensors |= {
        name.replace("lora_A.weight", "lora_magnitude_vector"): abs(tensors[name.replace("_A", "_B")]).sum(1)
        for name in list(tensors)
        if "lora_A" in name
    }
    dora = factories.make_version(owner, "dora", base=base, config={"use_dora": True}, tensors=tensors)
    with pytest.raises(CompositionError, match=r"(?i)dora"):
        asking.queue_job(**ask | {"inputs": [pair[0], dora]})
    report = asking.check_job(**ask | {"inputs": [pair[0], dora]})
    assert not report["ok"]
    assert [row["fits"] for row in report["inputs"]] == [True, False]


def test_the_output_needs_a_writer(ask, people):
    assert asking.queue_job(**ask | {"actor": people.member})
    for user in (people.reader, people.stranger):
        with pytest.raises(PermissionDenied):
            asking.queue_job(**ask | {"actor": user})


def test_an_output_that_is_something_else_is_refused(ask, owner, people, repository):
    factories.make_repository(owner, "gen", namespace=people.lab, kind="generator")
    with pytest.raises(Invalid, match="lab/gen is a generator"):
        asking.queue_job(**ask | {"output": ("lab", "gen")})


def test_a_merge_of_a_private_adapter_is_not_put_into_a_public_repository(ask, owner, base, repository, pair):
    secret = factories.make_version(owner, "secret", base=base, visibility="private")
    with pytest.raises(Invalid, match="private"):
        asking.queue_job(**ask | {"inputs": [pair[0], secret], "output": ("lab", "sentiment")})
    job = asking.queue_job(**ask | {"inputs": [pair[0], secret]})
    assert job.output_visibility == Visibility.PRIVATE


def test_the_same_key_is_the_same_job_and_another_request_a_conflict(ask, people):
    first = asking.queue_job(**ask, idempotency_key="k")
    assert asking.queue_job(**ask, idempotency_key="k") == first
    assert asking.queue_job(**ask | {"actor": people.member}, idempotency_key="k") != first
    for change in ({"recipe": {"rank": 3}}, {"inputs": ask["inputs"][:1]}, {"output": ("lab", "else")}):
        with pytest.raises(Conflict, match=f"job {first.pk}"):
            asking.queue_job(**ask | change, idempotency_key="k")
    assert Job.objects.count() == 2


def test_an_evaluation_needs_a_dataset_a_split_and_a_subject(owner, pair, rows, base):
    def evaluate(**change):
        asked = {"inputs": pair[:1], "datasets": [rows], "recipe": {}}
        return asking.queue_job(actor=owner, kind="evaluate", **asked | change)

    assert evaluate().output_path == ""
    assert evaluate(inputs=[], base=base).base == base
    for change, says in [
        ({"datasets": []}, "one dataset"),
        ({"inputs": []}, "base"),
        ({"inputs": pair}, "at most 1"),
        ({"recipe": {"split": "dev"}}, "has test"),
        ({"recipe": {"metrics": ["choice"]}}, "choices"),
        ({"datasets": pair[:1]}, "is a adapter|is an adapter"),
    ]:
        with pytest.raises(Invalid, match=says):
            evaluate(**change)


def test_the_dry_run_tells_ranks_size_cost_and_visibility(ask, pair):
    report = asking.check_job(**ask)
    assert report["ok"], report["problems"]
    assert report["ranks"]["model.layers.0.self_attn.q_proj"] == 4
    assert report["rank"] == 4
    # Float32, two layers of q [16,16], v [8,16]: LoRAX misreads rank 4, so it is written as 16, with k [8,16] beside.
    assert report["bytes"] == 4 * 16 * 2 * (32 + 24 + 24)
    assert "at rank 16, because some inference servers would misread" in report["notes"][0]
    compact = asking.check_job(**{**ask, "recipe": {"rank": 4, "layout": "compact"}})
    assert compact["notes"] == []
    assert compact["bytes"] == 4 * 4 * 2 * (32 + 24)
    assert report["seconds"] > 0
    assert report["memory"] > 0
    assert report["visibility"] == "public"
    assert not Job.objects.exists()


def test_the_dry_run_collects_every_problem(ask, owner):
    other = factories.make_base("pico/other")
    stranger = factories.make_version(owner, "three", base=other, base_name="pico/other")
    report = asking.check_job(**ask | {"inputs": [ask["inputs"][0], stranger], "output": ("lab", "both.v1")})
    assert not report["ok"]
    assert len(report["problems"]) == 2
    assert "pico/other" in report["inputs"][1]["reason"]


def test_contradicting_licences_are_shown_before_the_start(ask, owner, base):
    cards = {"gpl": "---\nlicense: gpl-3.0\n---\n", "nc": "---\nlicense: cc-by-nc-4.0\n---\n"}
    versions = [factories.make_version(owner, name, base=base, card=card) for name, card in cards.items()]
    report = asking.check_job(**ask | {"inputs": versions})
    assert report["ok"]
    assert report["licence"] == "other"
    assert any("commercial" in sentence for sentence in report["licence_conflicts"])


def test_a_job_whose_base_nobody_holds_says_so(owner, rows, pair, base):
    job = asking.queue_job(actor=owner, kind="evaluate", recipe={}, inputs=pair[:1], datasets=[rows])
    assert "No running worker can take" in waiting.waiting_for(job)
    node = {"name": "w", "queues": ["cpu"], "device": "cpu", "loaded": [], "environment": {}, "current_job": None}
    worker_nodes.report_worker(**node, bases=[], started_at=job.created_at)
    assert "No running worker holds the base pico/llama" in waiting.waiting_for(job)
    worker_nodes.report_worker(**node, bases=[base.pk], started_at=job.created_at)
    assert waiting.waiting_for(job) == ""
    WorkerNode.objects.update(seen_at="2020-01-01T00:00:00Z")
    assert "No running worker can take" in waiting.waiting_for(job)


def test_cancel_in_every_state(ask, owner):
    for state in State:
        job = asking.queue_job(**ask)
        Job.objects.filter(pk=job.pk).update(state=state, attempt=1)
        if state in (State.QUEUED, State.LOADING, State.RUNNING):
            assert queue.cancel_job(actor=owner, job=job).state == State.CANCELLED
            assert job.finished_at
        else:
            with pytest.raises(Conflict, match="saved" if state == State.SAVING else str(state)):
                queue.cancel_job(actor=owner, job=job)
            assert Job.objects.get(pk=job.pk).state == state


def test_retry_only_what_is_over_without_a_result(ask, owner):
    for state in State:
        job = asking.queue_job(**ask)
        Job.objects.filter(pk=job.pk).update(state=state, attempt=2, lost=3, error={"code": "x"}, cancel_requested=True)
        if state in (State.FAILED, State.CANCELLED):
            job = queue.retry_job(actor=owner, job=job)
            assert (job.state, job.lost, job.error, job.cancel_requested) == (State.QUEUED, 0, None, False)
            # The fence keeps growing: a ghost of the failed attempt must not match the new one.
            assert lease.claim(job.pk, worker="w").attempt == 3
        else:
            with pytest.raises(Conflict):
                queue.retry_job(actor=owner, job=job)
