"""The audit log: every write is listed under its namespace and its repository, and so is every job's end."""

import importlib
import io
import math

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from hub import access, queries
from hub.errors import NotFound, NotSignedIn, PermissionDenied
from hub.models import Event, Job, Repository, Role, State, Visibility
from hub.services import accounts, bases, refs, repositories, tokens
from hub.services.content import companions, uploads
from hub.services.evaluations import record_evaluation
from hub.services.jobs import lease, queue, reaper
from hub.services.jobs.results import publish_result
from hub.services.signing_in import passwords
from tests.hub import asking, factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def pair(owner, base):
    return [factories.make_version(owner, name, base=base, seed=n) for n, name in enumerate(("one", "two"))]


@pytest.fixture
def merge(owner, pair) -> Job:
    """A queued merge into `lab/both`, which does not exist yet."""
    return asking.queue_job(actor=owner, kind="svd", recipe={"rank": 2}, inputs=pair, output=("lab", "both"))


def last(verb: str) -> Event:
    return Event.objects.filter(verb=verb).latest("pk")


def keys(event: Event) -> tuple[str | None, str | None]:
    """The names of the namespace and of the repository it is listed under."""
    return event.namespace and event.namespace.name, event.repository and event.repository.full_name


def hold(job: Job, state: str = State.SAVING, attempt: int = 1) -> dict:
    """Put the job into a worker's hands; its fence."""
    claimed = lease.claim(job.pk, worker="w-1")
    Job.objects.filter(pk=job.pk).update(state=state, attempt=attempt)
    assert claimed
    return {"job_id": job.pk, "attempt": attempt}


class TestKeys:
    def test_a_repository_s_events_have_both(self, people, repository, base):
        owner = people.owner
        published = factories.publish(owner, repository, factories.adapter_files())
        refs.set_tag(actor=owner, repository=repository, name="best", revision=published.revision)
        refs.delete_tag(actor=owner, repository=repository, name="best")
        rows = io.BytesIO(b'{"prompt": "a", "completion": "b"}\n')
        kept = companions.add_companion(actor=owner, repository=repository, kind="seeds", name="s.jsonl", stream=rows)
        companions.show_companion(actor=owner, companion=kept, visibility="public")
        companions.remove_companion(actor=owner, companion=kept)
        uploads.abandon_upload(actor=owner, upload=factories.begin(owner, repository, {"README.md": b"#"}))
        repositories.update_repository(actor=owner, repository=repository, description="d")
        repositories.delete_repository(actor=owner, repository=repository)
        repositories.restore_repository(actor=owner, repository=repository)
        verbs = """repository.create publish tag.set tag.delete companion.add companion.visibility companion.remove
        upload.abandon repository.update repository.delete repository.restore""".split()
        found = Event.objects.filter(repository=repository).order_by("pk")
        assert list(found.values_list("verb", flat=True)) == verbs
        assert {keys(event) for event in found} == {("lab", "lab/sentiment")}
        assert {event.object for event in found} == {"lab/sentiment"}

    def test_a_namespace_s_events_have_one(self, people):
        accounts.set_role(actor=people.owner, namespace=people.lab, user=people.stranger, role=Role.READER)
        accounts.remove_member(actor=people.owner, namespace=people.lab, user=people.stranger)
        for verb in ("organisation.create", "member.set", "member.remove"):
            assert keys(last(verb)) == ("lab", None)
            assert last(verb).object == "lab"
        assert keys(Event.objects.get(verb="user.create", object="owner")) == ("owner", None)

    def test_an_account_s_own_affairs_and_bases_have_none(self, owner):
        tokens.create_token(actor=owner, name="ci")
        passwords.set_password(actor=owner, user=owner, password=factories.PASSWORD)
        bases.register_base(actor=owner, name="org/new", config=factories.PICO_CONFIG)
        for verb in ("token.create", "user.password", "base.register"):
            assert keys(last(verb)) == (None, None)

    def test_a_job_s_are_those_of_its_output(self, owner, pair, repository, merge):
        queue.cancel_job(actor=owner, job=merge)
        queue.retry_job(actor=owner, job=merge)
        for verb in ("job.queue", "job.cancel", "job.retry"):
            assert (last(verb).object, keys(last(verb))) == (f"job {merge.pk}", ("lab", None))
        into = {"recipe": {"rank": 2}, "inputs": pair, "output": ("lab", "sentiment")}
        asking.queue_job(actor=owner, kind="svd", **into)
        assert keys(last("job.queue")) == ("lab", "lab/sentiment")

    def test_a_job_s_events_find_the_repository_it_makes(self, owner, merge):
        other = {"recipe": {"rank": 2}, "inputs": [merge.inputs.first().version], "output": ("lab", "else")}
        bystander = asking.queue_job(actor=owner, kind="svd", **other)
        hold(merge)
        done = {"parents": [r.version for r in merge.inputs.all()], "origin": "merged", "message": "", "report": {}}
        job = Job.objects.get(pk=merge.pk)
        files = factories.store(factories.adapter_files(rank=2))
        made = publish_result(job=job, files=files, environment={}, **done).repository
        verbs = Event.objects.filter(repository=made).order_by("pk").values_list("verb", flat=True)
        assert list(verbs) == ["job.queue", "job.done", "repository.create", "publish"]
        assert keys(Event.objects.get(object=f"job {bystander.pk}")) == ("lab", None)

    def test_without_an_output_they_are_those_of_its_first_input(self, owner, people, pair, dataset, base):
        rows = factories.publish(owner, dataset, factories.dataset_files()).version
        job = asking.queue_job(actor=owner, kind="evaluate", recipe={}, inputs=pair[:1], datasets=[rows])
        assert keys(last("job.queue")) == ("owner", "owner/one")
        hold(job)
        measured = {"metrics": {"exact": 1.0}, "rows": 1, "seconds": 1.0, "device": "cpu", "environment": {}}
        record_evaluation(job=Job.objects.get(pk=job.pk), attempt=1, **measured)
        assert keys(last("evaluate")) == keys(last("job.done")) == ("owner", "owner/one")
        bare = asking.queue_job(actor=owner, kind="evaluate", recipe={}, datasets=[rows], base=base)
        hold(bare)
        record_evaluation(job=Job.objects.get(pk=bare.pk), attempt=1, **measured)
        assert (last("evaluate").object, keys(last("evaluate"))) == ("pico/llama", ("lab", "lab/sums"))
        shapes = factories.make_base("pico/new", ready=False)
        asking.queue_job(actor=owner, kind="fingerprint", recipe={}, base=shapes)
        assert keys(last("job.queue")) == (None, None)

    def test_a_stranger_s_job_without_an_output_is_on_nobody_else_s_record(self, people, owner, pair, dataset, base):
        rows = factories.publish(owner, dataset, factories.dataset_files()).version
        Repository.objects.update(visibility=Visibility.PUBLIC)
        for asked, place in ((people.stranger, (None, None)), (people.owner, ("owner", "owner/one"))):
            job = asking.queue_job(actor=asked, kind="evaluate", recipe={}, inputs=pair[:1], datasets=[rows])
            assert (last("job.queue").object, keys(last("job.queue"))) == (f"job {job.pk}", place)

    def test_an_event_outlives_what_it_speaks_of(self, people, repository):
        event = last("repository.create")
        repository.delete()
        event.refresh_from_db()
        assert (event.object, keys(event)) == ("lab/sentiment", ("lab", None))


class TestEnds:
    def test_done(self, merge):
        lease.finish(**hold(merge))
        event = last("job.done")
        assert (event.actor, event.object, keys(event)) == (None, f"job {merge.pk}", ("lab", None))
        assert event.detail == {"kind": "svd", "attempt": 1, "worker": "w-1"}

    def test_failed_with_the_code_and_no_words(self, merge):
        lease.fail(**hold(merge, State.RUNNING), error={"code": "rank.too_high", "message": "owner/one is …"})
        assert last("job.failed").detail == {"kind": "svd", "attempt": 1, "worker": "w-1", "code": "rank.too_high"}

    def test_lost_with_its_workers(self, merge, monkeypatch):
        monkeypatch.setattr(reaper.broker, "depths", lambda queues: None)
        hold(merge, State.RUNNING)
        for lost in (0, 2):
            Job.objects.update(state=State.RUNNING, worker="w-1", lost=lost, lease_until=merge.created_at)
            reaper.reap()
            assert Event.objects.filter(verb="job.failed").count() == int(lost == 2), "taken back is no end"
        assert last("job.failed").detail["code"] == "worker.lost"
        assert last("job.failed").detail["worker"] == "w-1"

    def test_cancelled_by_somebody(self, people, merge):
        queue.cancel_job(actor=people.member, job=merge)
        assert last("job.cancel").actor == people.member

    @pytest.mark.parametrize("state", [State.LOADING, State.RUNNING, State.SAVING])
    def test_a_ghost_records_nothing(self, merge, state):
        hold(merge, state, attempt=2)
        count = Event.objects.count()
        ghost = {"job_id": merge.pk, "attempt": 1}
        for end in (lambda: lease.finish(**ghost), lambda: lease.fail(**ghost, error={"code": "x", "message": "y"})):
            with pytest.raises(lease.LostLease):
                end()
        assert Event.objects.count() == count

    def test_an_end_that_is_rolled_back_is_not_on_the_record(self, merge):
        fence = hold(merge)
        with transaction.atomic():
            lease.finish(**fence)
            transaction.set_rollback(True)
        assert not Event.objects.filter(verb="job.done").exists()
        assert Job.objects.get(pk=merge.pk).state == State.SAVING


class TestReading:
    def test_newest_first_for_admins_only(self, people, repository):
        for place in ({"namespace": people.lab}, {"repository": repository}):
            found = list(queries.events(access.Viewer(user=people.owner), **place))
            assert [event.pk for event in found] == sorted((event.pk for event in found), reverse=True)
            assert found[0].verb == "repository.create"
            for user in (people.member, people.reader, people.stranger):
                with pytest.raises(PermissionDenied):
                    queries.events(access.Viewer(user=user), **place)
            with pytest.raises(NotSignedIn):
                queries.events(access.ANONYMOUS, **place)
            with pytest.raises(PermissionDenied):
                queries.events(access.Viewer(user=people.owner, scopes=frozenset({"write"})), **place)

    def test_a_private_repository_is_not_there_for_strangers(self, people):
        secret = factories.make_repository(people.owner, "secret", namespace=people.lab, visibility="private")
        for viewer in (access.ANONYMOUS, access.Viewer(user=people.stranger)):
            with pytest.raises(NotFound):
                queries.events(viewer, repository=secret)

    def test_one_place_at_a_time(self, people, repository):
        for places in ({}, {"namespace": people.lab, "repository": repository}):
            with pytest.raises(TypeError):
                queries.events(access.Viewer(user=people.owner), **places)


def test_the_migration_finds_the_keys_in_the_words(people, repository, merge, pair, dataset, monkeypatch):
    owner = people.owner
    published = factories.publish(owner, repository, factories.adapter_files())
    rows = factories.publish(owner, dataset, factories.dataset_files()).version
    asking.queue_job(actor=owner, kind="evaluate", recipe={}, inputs=pair[:1], datasets=[rows])
    queue.cancel_job(actor=owner, job=merge)
    tokens.create_token(actor=owner, name="ci")
    bases.register_base(actor=owner, name="lab/sentiment", config=factories.PICO_CONFIG)
    for words in (str(published.version), "lab/sentiment@main", "pico/llama"):
        Event.objects.create(
            verb="evaluate",
            object=words,
            detail={"dataset": str(rows).removeprefix("datasets/")},
            namespace=people.lab,
            repository=repository if words.endswith("@v1") else dataset,
        )
    Event.objects.create(verb="publish", object="lab/gone")
    Event.objects.create(verb="job.queue", object="job 999999")
    for event in Event.objects.filter(object__startswith="datasets/"):
        # As words were when it was written: datasets had no name space of their own.
        Event.objects.filter(pk=event.pk).update(object=event.object.removeprefix("datasets/"))
    before = list(Event.objects.order_by("pk").values_list("verb", "object", "namespace", "repository"))
    assert len({place for *_, place in before}) > 4
    Event.objects.update(namespace=None, repository=None)
    migration = importlib.import_module("hub.migrations.0003_event_keys")
    monkeypatch.setattr(migration, "BATCH", 3)
    with CaptureQueriesContext(connection) as caught:
        migration.fill_keys(apps, None)
    read = [q["sql"] for q in caught if q["sql"].startswith("SELECT") and 'FROM "hub_event"' in q["sql"]]
    assert len(read) == math.ceil(len(before) / 3) + 1 and all("LIMIT 3" in sql for sql in read)
    assert list(Event.objects.order_by("pk").values_list("verb", "object", "namespace", "repository")) == before
