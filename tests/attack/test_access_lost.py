"""The permission matrix over time: access that is lost between queue, retry, claim and publish, for every kind of job.

The fault: a reader queued a merge of a private adapter, left the organisation, retried, and downloaded its weights.
"""

import pytest
from django.db import transaction

from composition.registry import METHODS
from hub import access
from hub.errors import Conflict, Invalid, NotFound, PermissionDenied
from hub.models import Companion, Evaluation, Job, Membership, Repository, Role, State, Version, Visibility
from hub.services.content import companions
from hub.services.content.manifest import Entry
from hub.services.evaluations import record_evaluation
from hub.services.jobs import lease, queue, results
from hub.services.jobs.kinds import kind_of
from hub.services.jobs.request import JobRequest
from tests.hub import factories
from tests.hub.every_kind import FINE, MERGE, SEEDS, asked, lab_once, own_output, shared_lab  # noqa: F401
from tests.hub.web.test_generate import kept_state
from workers.runner import run

pytestmark = pytest.mark.django_db
READING = [kind for kind in FINE if FINE[kind].get("inputs") or FINE[kind].get("datasets") or kind == "generate"]
PUBLISHING = [kind for kind in READING if METHODS[kind].result in ("adapter", "generator")]


@pytest.fixture
def lab(shared_lab):  # noqa: F811
    """The lab, all of it private."""
    Repository.objects.update(visibility=Visibility.PRIVATE)
    return shared_lab


@pytest.fixture
def queued(lab):
    """Queue a job of a kind as the member of the lab, whose result goes to their own namespace where it can."""

    def ask(kind: str) -> Job:
        return queue.queue_job(actor=lab.member, request=asked(lab.member, FINE[kind] | own_output(kind)))

    return ask


def leave(lab) -> None:
    Membership.objects.filter(user=lab.member, namespace=lab.lab).delete()


def saving(job: Job) -> Job:
    """The job as a worker has it when its result is there and nothing is written."""
    job = lease.claim(job.pk, worker="w")
    for state in (State.RUNNING, State.SAVING):
        lease.advance(job_id=job.pk, attempt=job.attempt, state=state)
    return job


def save(job: Job) -> None:
    """Write what a worker would, by what the job's method makes."""
    inputs, makes = JobRequest.of(job), METHODS[job.kind].result
    if makes in ("adapter", "generator"):
        named = {"base_name": job.base.name}
        made = factories.adapter_files(**named) if makes == "adapter" else factories.generator_files()
        told = {"origin": "merged", "message": "made", "report": {}, "environment": {}}
        results.publish_result(job=job, files=factories.store(made), parents=inputs.versions, **told)
    elif makes == "companion":
        given = {"files": factories.store(factories.adapter_files()), "facts": {"recall": 1.0}, "environment": {}}
        results.keep_discriminator(job=job, version=inputs.adapters[0], **given)
    elif makes == "evaluation":
        figures = {"metrics": {"nll": 1.0}, "rows": 4, "seconds": 1.0, "device": "cpu", "environment": {}}
        record_evaluation(job=job, attempt=job.attempt, **figures)
    else:
        results.keep_outcome(job=job, outcome={"answers": {}}, environment={})


def test_every_kind_is_here_but_the_one_that_reads_nothing():
    assert set(FINE) - set(READING) == {"fingerprint"}


@pytest.mark.parametrize("kind", READING)
def test_who_left_can_not_retry(lab, queued, kind):
    job = queue.cancel_job(actor=lab.member, job=queued(kind))
    assert queue.retry_job(actor=lab.member, job=job).state == State.QUEUED
    job = queue.cancel_job(actor=lab.member, job=job)
    leave(lab)
    with pytest.raises(NotFound):
        queue.retry_job(actor=lab.member, job=job)
    assert Job.objects.get(pk=job.pk).state == State.CANCELLED


@pytest.mark.parametrize("kind", READING)
def test_a_job_of_who_left_is_not_run(lab, queued, worker, kind, monkeypatch):
    job = queued(kind)
    leave(lab)
    monkeypatch.setattr(worker, "input_folder", lambda row: pytest.fail("a worker read what its owner may not see"))
    before = Version.objects.count()
    run(lease.claim(job.pk, worker=worker.name), worker)
    job.refresh_from_db()
    assert (job.state, job.error["code"]) == (State.FAILED, "not_found")
    assert (job.result, job.outcome, Version.objects.count()) == (None, None, before)


@pytest.mark.parametrize("kind", READING)
def test_a_result_of_who_left_is_not_published(lab, queued, kind):
    job = saving(queued(kind))
    before = Version.objects.count(), Evaluation.objects.count()
    leave(lab)
    with pytest.raises(NotFound):
        save(job)
    kept = Job.objects.get(pk=job.pk)
    assert (kept.state, kept.result, kept.outcome) == (State.SAVING, None, None)
    assert (Version.objects.count(), Evaluation.objects.count()) == before


@pytest.mark.parametrize("kind", READING)
def test_who_stayed_gets_the_result(lab, queued, kind):
    """The other side: the same steps with nobody leaving end well, so that the refusals above mean something."""
    job = saving(queued(kind))
    save(job)
    assert Job.objects.get(pk=job.pk).state == State.DONE


@pytest.mark.parametrize("kind", PUBLISHING)
def test_a_parent_made_private_in_between_makes_the_result_private(shared_lab, kind):  # noqa: F811
    lab = shared_lab
    request = asked(lab.member, FINE[kind] | {"visibility": "public"})
    job = saving(queue.queue_job(actor=lab.member, request=request))
    assert job.output_visibility == Visibility.PUBLIC
    first = JobRequest.of(job).versions[0].repository
    Repository.objects.filter(pk=first.pk).update(visibility=Visibility.PRIVATE)
    save(job)
    assert Job.objects.get(pk=job.pk).output.visibility == Visibility.PRIVATE


def test_a_result_for_a_public_place_is_refused_once_its_parent_is_private(shared_lab):  # noqa: F811
    lab = shared_lab
    there = factories.make_repository(lab.owner, "shown", namespace=lab.lab)
    job = saving(queue.queue_job(actor=lab.member, request=asked(lab.member, {**MERGE, "output": "lab/shown"})))
    Repository.objects.filter(name="a").update(visibility=Visibility.PRIVATE)
    with pytest.raises(Invalid, match="is public, but"):
        save(job)
    assert not there.versions.exists()


def test_a_writer_who_became_a_reader_publishes_nothing(lab):
    job = saving(queue.queue_job(actor=lab.member, request=asked(lab.member, MERGE)))
    Membership.objects.filter(user=lab.member, namespace=lab.lab).update(role=Role.READER)
    with pytest.raises(PermissionDenied, match="needs the role writer"):
        save(job)
    assert not Repository.objects.filter(name="made").exists()


def test_an_input_in_the_trash_is_not_read(lab, queued, worker):
    job = queued("lego")
    Repository.objects.filter(name="a").update(deleted_at="2026-01-01T00:00:00Z")
    run(lease.claim(job.pk, worker=worker.name), worker)
    job.refresh_from_db()
    assert (job.state, job.error["code"]) == (State.FAILED, "not_found")


def test_who_retries_for_somebody_does_not_lend_them_their_sight(lab):
    """A writer of the output's namespace may retry a job; it still acts for who asked for it."""
    job = queue.queue_job(actor=lab.member, request=asked(lab.member, MERGE))
    job = queue.cancel_job(actor=lab.owner, job=job)
    leave(lab)
    assert access.job(access.Viewer(user=lab.owner), job.pk, "write")
    with pytest.raises(Conflict, match="member, who asked for it") as refusal:
        queue.retry_job(actor=lab.owner, job=job)
    assert "lab/a" not in refusal.value.message and "lab/a" not in str(refusal.value.facts)


def test_a_discriminator_goes_beside_its_adapter_and_nowhere_else(lab):
    """The fault: an `output` of one's own made the write check look there, while the file went to the adapter."""
    Repository.objects.update(visibility=Visibility.PUBLIC)
    body = {**FINE["discriminator"], "output": "stranger/mine"}
    for given in (body, FINE["discriminator"]):
        with pytest.raises((Invalid, PermissionDenied)):
            queue.queue_job(actor=lab.stranger, request=asked(lab.stranger, given))
    assert not Job.objects.exists()
    job = saving(queue.queue_job(actor=lab.member, request=asked(lab.member, FINE["discriminator"])))
    Membership.objects.filter(user=lab.member).update(role=Role.READER)
    with pytest.raises(PermissionDenied):
        save(job)


# One input at a time: all of it is public, and the stranger's job needs a thing that is made private meanwhile.

GROW = {**FINE["meteora"], "inputs": ["lab/mix", "lab/wide"]}
ADD = FINE["generate"] | {"onto": "lab/doc", "without": "lab/part"}
KEPT = {**FINE["trans-lora"], "recipe": {"filter": "discriminator"}}
KEPT |= {"files": {"seeds": {"companion": "seeds.jsonl"}, "discriminator": {"companion": "v1"}}}
TAKING = {kind: body for kind, body in FINE.items() if kind in READING} | {"grow": GROW, "add": ADD, "kept": KEPT}


@pytest.fixture
def open_lab(shared_lab):  # noqa: F811
    """The lab, all of it public, with generated adapters, their states, seeds and a discriminator."""
    people = shared_lab
    generator = Version.objects.get(repository__name="gen")
    for name, texts in (("doc", ["a", "b"]), ("part", ["a"])):
        kept_state(people, people.base, generator, name, *texts)
    first = Repository.objects.get(name="a")
    kept = {"actor": people.owner, "repository": first, "shown": Visibility.PUBLIC}
    files = {name: Entry(*entry) for name, entry in factories.store(factories.adapter_files()).items()}
    companions.keep(
        kind="discriminator", files={f"v1/{name}": entry for name, entry in files.items()}, facts={}, **kept
    )
    seeds = {"seeds.jsonl": Entry(*factories.store({"seeds": SEEDS.encode()})["seeds"])}
    companions.keep(kind="seeds", files=seeds, facts={"rows": 5}, **kept)
    Repository.objects.filter(namespace=people.lab).update(visibility=Visibility.PUBLIC)
    Companion.objects.update(visibility=Visibility.PUBLIC)
    return people


def things(job: Job) -> list:
    """What the job reads that can be made private: the repositories of its inputs, and the companions of its files."""
    repositories = {row.version.repository for row in job.inputs.all()}
    return [*repositories, *Companion.objects.filter(pk__in=job.files.values("companion"))]


def show(thing, visibility: str) -> None:
    type(thing).objects.filter(pk=thing.pk).update(visibility=visibility)


def test_each_thing_that_a_job_reads_may_be_lost_at_any_moment(open_lab, worker, monkeypatch):
    """Between queue and retry, queue and claim, claim and publish: no result, whatever the kind and the thing."""
    monkeypatch.setattr(worker, "input_folder", lambda row: pytest.fail("a worker read what its owner may not see"))
    # A discriminator goes beside its adapter, where a stranger may not write.
    for kind in [kind for kind in TAKING if kind != "discriminator"]:
        output = {"output": f"stranger/{kind}"} if "output" in TAKING[kind] else {}
        job = queue.queue_job(actor=open_lab.stranger, request=asked(open_lab.stranger, TAKING[kind] | output))
        named = {*TAKING[kind].get("inputs", ()), *TAKING[kind].get("datasets", ())}
        read = things(job)
        assert len(read) >= max(1, len(named)), kind
        before = Version.objects.count(), Evaluation.objects.count()
        for thing in read:
            show(thing, Visibility.PRIVATE)
            loses_it(job, open_lab.stranger, worker, (kind, thing))
            show(thing, Visibility.PUBLIC)
        assert (Version.objects.count(), Evaluation.objects.count()) == before, kind
        save(saving(job))
        assert Job.objects.get(pk=job.pk).state == State.DONE, "And with nothing lost it ends well."


def loses_it(job: Job, owner, worker, what) -> None:
    """The job's owner sees one thing less: nothing comes of a retry, a claim and a publishing; it is queued again."""
    row = Job.objects.filter(pk=job.pk)
    row.update(state=State.FAILED)
    with pytest.raises(NotFound):
        queue.retry_job(actor=owner, job=row.get())
    row.update(state=State.QUEUED)
    run(lease.claim(job.pk, worker=worker.name), worker)
    assert (row.get().state, row.get().error["code"]) == (State.FAILED, "not_found"), what
    row.update(state=State.QUEUED, error=None)
    with pytest.raises(NotFound), transaction.atomic():
        save(saving(job))
    row.update(state=State.QUEUED, error=None)


def test_each_parent_made_private_in_between_makes_the_result_private(open_lab):
    """For a member, who still sees it: what is in the result's place then is not widened by the job's own wish."""
    for kind in (kind for kind, body in TAKING.items() if METHODS[body["kind"]].result == "adapter"):
        request = asked(open_lab.member, TAKING[kind] | {"output": "member/made", "visibility": "public"})
        for parent in {version.repository for version in kind_of(request.kind).parents(request)}:
            job = queue.queue_job(actor=open_lab.member, request=request)
            show(parent, Visibility.PRIVATE)
            save(saving(job))
            made = Job.objects.get(pk=job.pk).output
            assert made.visibility == Visibility.PRIVATE, (kind, parent)
            show(parent, Visibility.PUBLIC)
            Repository.objects.filter(pk=made.pk).update(name=f"made-{job.pk}")


def test_a_private_state_is_not_added_to_by_who_left(open_lab):
    """The fault: the adapter was public, its kept state was not; a job queued before went on reading it."""
    Companion.objects.filter(kind="state").update(visibility=Visibility.PRIVATE)
    job = queue.queue_job(actor=open_lab.member, request=asked(open_lab.member, ADD | {"output": "member/made"}))
    leave(open_lab)
    with pytest.raises(NotFound, match=r"state/v1\.safetensors"):
        save(saving(job))
    assert not Repository.objects.filter(name="made").exists()
