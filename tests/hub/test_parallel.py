"""Two at once: every history stays a line, nothing is lost, and whoever comes second is told or rebased.

Run on whatever database the tests have; `test_postgres.py` runs this file again on PostgreSQL.
"""

import io
import threading
from collections.abc import Callable
from functools import partial

import pytest
from django.db import connection

from hub.errors import Conflict, NotFound, QuotaExceeded, TooMany
from hub.models import (
    BaseModel,
    Job,
    Namespace,
    Ref,
    RefMove,
    Repository,
    Revision,
    Stored,
    Upload,
    UploadFile,
    Usage,
    User,
    Version,
)
from hub.services import accounts, administration, base_owners, bases, leaving, protections, refs
from hub.services.accounts import create_organisation, create_user
from hub.services.content import collection, first_push, uploads
from hub.services.content.companions import add_companion
from hub.services.content.manifest import manifest_of
from hub.services.jobs.lease import claim
from hub.services.jobs.turns import Taker, take
from hub.services.quotas import recount
from hub.services.tokens import create_token
from hub.storage import blobs
from tests.hub import factories

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store")]
ROUNDS = 4


def at_once(*acts: Callable[[], object]) -> list[object]:
    """Do all acts at the same moment; what each returned or raised, in their order."""
    gate = threading.Barrier(len(acts))
    outcomes: list[object] = [None] * len(acts)

    def run(place: int) -> None:
        try:
            gate.wait()
            outcomes[place] = acts[place]()
        except Exception as error:
            outcomes[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes


def ready(user, repository, files, **options):
    """A commit that only waits to be called, in a thread of its own."""
    upload = factories.begin(user, repository, files, **options)
    factories.send(upload, files)
    return lambda: uploads.commit_upload(actor=user, upload=Upload.objects.get(pk=upload.pk))


def line_of(repository, branch="main") -> list[Revision]:
    """The revisions from the branch's head back to the first."""
    revision, line = Ref.objects.get(repository=repository, name=branch).revision, []
    while revision:
        line.append(revision)
        revision = revision.parent
    return line


def test_two_commits_of_the_same_file_are_one_success_and_one_conflict(people, repository):
    for number in range(ROUNDS):
        outcomes = at_once(
            ready(people.owner, repository, {"README.md": f"owner {number}".encode()}),
            ready(people.member, repository, {"README.md": f"member {number}".encode()}),
        )
        (refused,) = (outcome for outcome in outcomes if isinstance(outcome, Exception))
        (done,) = (outcome for outcome in outcomes if outcome is not refused)
        assert isinstance(refused, Conflict), refused
        assert refused.code == "branch.moved"
        assert line_of(repository)[0] == done.revision
    assert len(line_of(repository)) == Revision.objects.count() == ROUNDS


def test_two_commits_of_different_files_both_arrive(people, repository, base):
    for number in range(ROUNDS):
        card = {"README.md": f"# {number}".encode()}
        weights = factories.adapter_files(seed=number)
        outcomes = at_once(ready(people.owner, repository, weights), ready(people.member, repository, card))
        assert [outcome.created for outcome in outcomes] == [True, True]
        files = manifest_of(line_of(repository)[0])
        for path, data in {**card, **weights}.items():
            assert blobs.open(files[path].sha256).read() == data
    assert len(line_of(repository)) == Revision.objects.count() == 2 * ROUNDS
    assert list(Version.objects.order_by("number").values_list("number", flat=True)) == [1, 2, 3, 4]


def test_two_commits_of_the_same_bytes_are_one_version(people, repository, base):
    for number in range(ROUNDS):
        files = factories.adapter_files(seed=number)
        outcomes = at_once(ready(people.owner, repository, files), ready(people.member, repository, files))
        assert sorted(outcome.created for outcome in outcomes) == [False, True]
        assert len({outcome.revision.pk for outcome in outcomes}) == 1
    assert Version.objects.count() == Revision.objects.count() == ROUNDS


def test_two_first_pushes_of_one_name_make_one_repository(people, base):
    for number in range(ROUNDS):
        wanted = first_push.wanted(people.lab, f"first{number}", kind="adapter")
        commits = [ready(user, wanted, factories.adapter_files(seed=1)) for user in (people.owner, people.member)]
        outcomes = at_once(*commits)
        assert sorted(outcome.created for outcome in outcomes) == [False, True]
        other = [ready(people.owner, replace_name(wanted, f"two{number}"), {"README.md": b"# %d" % n}) for n in (1, 2)]
        outcomes = at_once(*other)
        (refused,) = (outcome for outcome in outcomes if isinstance(outcome, Exception))
        assert refused.code == "branch.moved", refused
    assert Repository.objects.count() == 2 * ROUNDS


def replace_name(wanted: Repository, name: str) -> Repository:
    """The same repository-to-be under another name."""
    return first_push.wanted(wanted.namespace, name, kind=wanted.kind)


def test_results_of_many_jobs_for_one_repository_are_numbered_without_gap(people, repository, base):
    stored = [factories.store(factories.adapter_files(seed=seed)) for seed in range(4)]
    acts = [
        lambda files=files: factories.publishing.publish(actor=people.owner, repository=repository, files=files)
        for files in stored
    ]
    outcomes = at_once(*acts)
    assert sorted(outcome.version.number for outcome in outcomes) == [1, 2, 3, 4]
    assert len(line_of(repository)) == 4


def test_the_same_bytes_into_two_repositories_at_once(people, base):
    for number in range(ROUNDS):
        files = factories.adapter_files(seed=number)
        places = [factories.make_repository(people.owner, f"{name}{number}") for name in "ab"]
        outcomes = at_once(*(ready(people.owner, place, files) for place in places))
        assert [outcome.version.number for outcome in outcomes] == [1, 1]


def test_one_upload_committed_twice_at_once_is_committed_once(people, repository, base):
    commit = ready(people.owner, repository, factories.adapter_files())
    outcomes = at_once(commit, commit)
    assert sorted(outcome.created for outcome in outcomes) == [False, True]
    assert Revision.objects.count() == 1


def test_two_senders_of_one_file_never_mix_their_bytes(people, repository):
    data = bytes(range(256)) * 4000
    upload = factories.begin(people.owner, repository, {"rows.txt": data})

    def send():
        return uploads.append(
            upload=Upload.objects.get(pk=upload.pk), path="rows.txt", offset=0, stream=io.BytesIO(data)
        )

    outcomes = at_once(send, send, send)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert all(isinstance(error, Conflict) for error in refused), refused
    assert [outcome for outcome in outcomes if outcome not in refused] == [len(data)]
    assert UploadFile.objects.get().received == len(data)
    assert uploads.commit_upload(actor=people.owner, upload=upload).created


def test_collecting_while_publishing_never_takes_what_is_published(people, base):
    """Bytes older than the grace, row and all, are claimed by a push at the moment the collector takes them."""
    for number in range(ROUNDS):
        data = f"# Card {number}".encode()
        first = factories.make_repository(people.owner, f"first{number}")
        second = factories.make_repository(people.owner, f"second{number}")
        factories.push(people.owner, first, {"README.md": data})
        first.revisions.get().refs.all().delete()
        first.revisions.get().delete()
        collect = lambda: collection.collect_blobs(grace=collection.timedelta(seconds=-60))  # noqa: E731
        published, collected = at_once(ready(people.owner, second, {"README.md": data}), collect)
        assert not isinstance(collected, Exception), collected
        if isinstance(published, Exception):
            assert isinstance(published, Conflict), published
            assert published.code == "blob.gone"
        for sha256 in manifest_of(second.revisions.first()).values():
            assert blobs.open(sha256.sha256).read() == data


def test_one_base_registered_twice_at_once_is_one_base(people):
    def register():
        return bases.register_base(actor=people.owner, name="pico/llama", config=factories.PICO_CONFIG)

    outcomes = at_once(register, register)
    assert len({base.pk for base, _ in outcomes}) == 1
    assert len({job.pk for _, job in outcomes}) == 1


class TestTheLastOfAShare:
    """Two at once that would both fit alone: one has the last of it, the other is refused, nobody waits for ever."""

    @pytest.fixture
    def limit(self, settings):
        def limit(**named: int) -> None:
            settings.QUOTAS = dict.fromkeys(settings.QUOTAS, 0) | named

        return limit

    def one_of_each(self, outcomes: list[object], refused: type[Exception] = QuotaExceeded) -> None:
        errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert [type(error) for error in errors] == [refused], outcomes

    def test_of_a_namespace_s_bytes(self, people, repository, limit):
        other = factories.make_repository(people.owner, "other", namespace=people.lab)
        for number in range(ROUNDS):
            used = sum(Stored.objects.values_list("size", flat=True))
            limit(stored_bytes=used + 1000)
            files = [{"README.md": f"{number}{who}".encode() * 300} for who in "ab"]
            commits = [ready(people.owner, where, f) for where, f in zip((repository, other), files, strict=True)]
            self.one_of_each(at_once(*commits))
            assert Usage.objects.get(namespace=people.lab).stored_bytes == used + 600
            assert sum(Stored.objects.values_list("size", flat=True)) == used + 600

    def test_of_things(self, people, limit):
        for number in range(ROUNDS):
            limit(tokens=number + 1, organisations=number + 1)
            self.one_of_each(at_once(*(lambda: create_token(actor=people.owner, name="t") for _ in range(2))))
            made = Namespace.objects.filter(created_by=people.member)
            acts = [partial(create_organisation, actor=people.member, name=f"g{number}{who}") for who in "ab"]
            self.one_of_each(at_once(*acts))
            assert made.count() == number + 1

    def test_of_a_day_s_sign_ups(self, db, settings):
        settings.SIGN_UPS_A_DAY = 1
        acts = [
            partial(create_user, username=name, password=factories.PASSWORD, address="10.0.0.1")
            for name in ("a1", "b1")
        ]
        self.one_of_each(at_once(*acts), TooMany)

    def test_of_running_jobs(self, people, limit):
        limit(running_jobs=1)
        for _ in range(ROUNDS):
            Job.objects.all().delete()
            for _ in range(2):
                Job.objects.create(kind="svd", queue="cpu", created_by=people.owner)
            jobs = [partial(claim, pk, worker=f"w{pk}") for pk in Job.objects.values_list("pk", flat=True)]
            outcomes = at_once(*jobs)
            assert sorted(outcome is None for outcome in outcomes) == [False, True], outcomes

    def test_two_free_workers_take_two_jobs(self, people):
        for _ in range(ROUNDS):
            Job.objects.all().delete()
            for _ in range(3):
                Job.objects.create(kind="svd", queue="cpu", created_by=people.owner)
            free = [partial(take, Taker(worker=f"w{n}", queues=["cpu"], holds=set)) for n in range(2)]
            one, two = at_once(*free)
            assert one.pk != two.pk
            assert Job.objects.filter(state="loading").count() == 2

    def test_a_companion_and_a_push_and_a_recount_agree(self, people, repository):
        other = factories.make_repository(people.owner, "other", namespace=people.lab)

        def companion(number: int) -> None:
            rows = io.BytesIO(b'{"prompt": "%d", "completion": "b"}\n' % number)
            add_companion(actor=people.owner, repository=other, kind="seeds", name="s.jsonl", stream=rows)

        for number in range(ROUNDS):
            commit = ready(people.owner, repository, {"README.md": b"# %d" % number})
            outcomes = at_once(commit, partial(companion, number), partial(recount, people.lab))
            assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)], outcomes
            assert recount(people.lab) == 0


def test_a_base_deleted_while_it_is_first_used_is_used_or_gone(people):
    for number in range(ROUNDS):
        base = factories.make_base(f"org/new{number}", created_by=people.owner)
        place = factories.make_repository(people.owner, f"a{number}")
        commit = ready(people.owner, place, factories.adapter_files(base_name=base.name))
        published, deleted = at_once(commit, lambda base=base: base_owners.delete_base(actor=people.owner, base=base))
        if isinstance(published, Exception):
            assert isinstance(published, NotFound) or getattr(published, "code", "") == "base.unknown", published
            assert deleted is None and not BaseModel.objects.filter(pk=base.pk).exists()
        else:
            assert isinstance(deleted, Conflict) and deleted.code == "base.used", deleted
            assert published.version.base == base


def test_of_two_first_accounts_one_administers_the_site(db):
    for number in range(2):
        User.objects.all().delete()

        def sign_up(name):
            return lambda: accounts.create_user(username=name, password=factories.PASSWORD)

        outcomes = at_once(*(sign_up(f"{name}{number}") for name in ("ada", "bob", "eve")))
        assert sorted(user.is_staff for user in outcomes) == [False, False, True], outcomes


def test_two_administrators_never_unmake_each_other(people):
    one, other = people.owner, people.member
    for _ in range(2):
        User.objects.filter(pk__in=[one.pk, other.pk]).update(is_staff=True)
        outcomes = at_once(
            lambda: administration.set_administrator(actor=one, user=other, administrator=False),
            lambda: leaving.deactivate_user(actor=other, user=one),
        )
        (refused,) = (outcome for outcome in outcomes if isinstance(outcome, Exception))
        assert isinstance(refused, Conflict) and refused.code == "user.last_administrator"
        assert User.objects.filter(is_staff=True, is_active=True).count() == 1
        User.objects.update(is_active=True, is_staff=False)


@pytest.mark.parametrize("of", ["repository", "namespace"])
def test_what_is_protected_does_not_move_after_that_was_answered(people, repository, of):
    place = repository if of == "repository" else people.lab
    revisions = [
        factories.publish(people.owner, repository, {"README.md": f"# {number}".encode()}).revision
        for number in range(2)
    ]
    seen = []

    def protect():
        protections.protect(actor=people.owner, place=place, pattern="stable")
        seen.append(list(RefMove.objects.filter(name="stable").values_list("pk", flat=True)))

    def move():
        for number in range(12):
            refs.set_tag(actor=people.member, repository=repository, name="stable", revision=revisions[number % 2])

    protected, stopped = at_once(protect, move)
    assert protected is None, protected
    assert stopped is None or isinstance(stopped, protections.Protected), stopped
    assert list(RefMove.objects.filter(name="stable").values_list("pk", flat=True)) == seen[0]
