"""Shares: no door and no race gets more than its limit, and what the refusal advises works.

The fault: one user's loop of pushes, jobs, tokens or sign-ups filled the disk and the queue for everybody.
"""

import io
from itertools import count

import pytest
from django.test import Client

from hub.errors import Invalid, PermissionDenied, QuotaExceeded, TooMany
from hub.models import Companion, Job, Namespace, Quota, SignUps, State, Stored, Token, Upload, Usage, User, Version
from hub.queries.quota import OF_NAMESPACES, OF_USERS, usage
from hub.services import accounts, quotas, repositories
from hub.services.bases import add_aliases, register_base
from hub.services.content import companions, uploads
from hub.services.jobs import queue
from hub.services.tokens import create_token, revoke_token
from tests.hub import asking, factories
from tests.hub.api_client import Api, problem
from workers.runner import run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
ROW = b'{"prompt": "%d", "completion": "b"}\n'


@pytest.fixture
def limit(settings):
    """Set limits of everybody: `limit(tokens=2)`; all others are off."""

    def limit(**named: int) -> None:
        settings.QUOTAS = dict.fromkeys(settings.QUOTAS, 0) | named

    limit()
    return limit


@pytest.fixture
def admin(db) -> User:
    user = factories.make_user("root")
    user.is_staff = True
    user.save()
    return user


class Acts:
    """One act for each limit: it takes one more, and `advised` does what the refusal says."""

    def __init__(self, owner: User, namespace: Namespace, repository, base) -> None:
        self.owner, self.namespace, self.repository, self.base = owner, namespace, repository, base
        self.number = count(1)

    def repositories(self):
        name = f"r{next(self.number)}"
        repositories.create_repository(actor=self.owner, namespace=self.namespace, name=name, kind="dataset")

    def companions(self):
        n = next(self.number)
        kept = {"repository": self.repository, "kind": "seeds", "name": f"s{n}.jsonl", "stream": io.BytesIO(ROW % n)}
        companions.add_companion(actor=self.owner, **kept)

    def companions_advised(self):
        companions.remove_companion(actor=self.owner, companion=Companion.objects.first())

    stored_files, stored_files_advised = companions, companions_advised

    def queued_jobs(self):
        pair = Version.objects.order_by("pk")[:2]
        output = ("owner", f"m{next(self.number)}")
        asking.queue_job(actor=self.owner, kind="svd", recipe={"rank": 2}, inputs=list(pair), output=output)

    def queued_jobs_advised(self):
        queue.cancel_job(actor=self.owner, job=Job.objects.filter(state=State.QUEUED).first())

    def open_uploads(self):
        factories.begin(self.owner, self.repository, {"README.md": b"# %d\n" % next(self.number)})

    def open_uploads_advised(self, refusal):
        oldest = Upload.objects.get(pk=refusal.facts["uploads"][0])
        uploads.abandon_upload(actor=self.owner, upload=oldest)

    def organisations(self):
        accounts.create_organisation(actor=self.owner, name=f"guild{next(self.number)}")

    def tokens(self):
        create_token(actor=self.owner, name="t")

    def tokens_advised(self):
        revoke_token(actor=self.owner, token=Token.objects.filter(revoked_at=None).first())

    def bases(self):
        register_base(actor=self.owner, name=f"org/b{next(self.number)}", config=factories.PICO_CONFIG)


ONE_BY_ONE = ["repositories", "companions", "stored_files", "queued_jobs", "open_uploads", "organisations", "tokens"]


@pytest.fixture
def acts(owner, people, base, repository):
    for name in ("one", "two"):
        factories.make_version(owner, name, base=base, seed=len(name) + ord(name[0]))
    return Acts(owner, people.lab, repository, base)


@pytest.mark.parametrize("name", [*ONE_BY_ONE, "bases"])
def test_a_limit_is_met_exactly_and_its_advice_works(name, acts, limit, admin):
    subject = acts.namespace if name in {one.name for one in OF_NAMESPACES} else acts.owner
    before = next(row.used for row in usage(subject) if row.name == name)
    limit(**{name: before + 2})
    act = getattr(acts, name)
    act(), act()
    with pytest.raises(QuotaExceeded) as refusal:
        act()
    error = refusal.value
    assert (error.status, error.code) == (409, f"quota.{name}")
    assert (error.facts["used"], error.facts["limit"], error.facts["needed"]) == (before + 2, before + 2, 1)
    assert next(row.used for row in usage(subject) if row.name == name) == before + 2, "what was refused left something"
    advised = getattr(acts, f"{name}_advised", None)
    if advised:
        advised(error) if name == "open_uploads" else advised()
    else:
        assert "ask an administrator" in error.message
        key = {"namespace": subject} if isinstance(subject, Namespace) else {"user": subject}
        quotas.set_quota(actor=admin, **key, **{name: before + 3})
    act()
    with pytest.raises(QuotaExceeded):
        act()


class TestStoredBytes:
    def test_each_content_counts_once_with_all_revisions_and_the_trash(self, owner, people, repository):
        def stored() -> int:
            return next(row.used for row in usage(people.lab) if row.name == "stored_bytes")

        card = b"# A card\n" * 100
        factories.publish(owner, repository, {"README.md": card})
        assert stored() == len(card)
        factories.publish(owner, repository, {"README.md": b"# Two\n"})
        assert stored() == len(card) + 6, "an earlier revision counts"
        factories.publish(owner, repository, {"README.md": card})
        other = factories.make_repository(owner, "other", namespace=people.lab)
        factories.publish(owner, other, {"README.md": card})
        assert stored() == len(card) + 6, "the same bytes counted twice"
        factories.publish(owner, factories.make_repository(owner, "mine"), {"README.md": card})
        assert [row.used for row in usage(owner.namespace) if row.name == "stored_bytes"] == [len(card)]
        repositories.delete_repository(actor=owner, repository=other)
        assert stored() == len(card) + 6
        assert quotas.recount(people.lab) == 0

    def test_companions_count_until_they_are_removed_or_replaced(self, owner, people, repository):
        def add(data: bytes) -> Companion:
            kept = {"repository": repository, "kind": "seeds", "name": "s.jsonl", "stream": io.BytesIO(data)}
            return companions.add_companion(actor=owner, **kept)

        add(ROW % 1)
        row = add((ROW % 2) * 3)
        assert Usage.objects.get(namespace=people.lab).stored_bytes == len(ROW % 2) * 3
        companions.remove_companion(actor=owner, companion=row)
        assert Usage.objects.get(namespace=people.lab).stored_bytes == 0
        assert not Stored.objects.filter(namespace=people.lab).exists()

    def test_an_upload_is_refused_before_a_byte_is_sent_and_the_last_byte_fits(self, owner, people, repository, limit):
        api, card = Api(owner), b"# " + b"x" * 998
        limit(stored_bytes=1000)
        body = problem(api.begin("lab/sentiment", {"README.md": card + b"x"}), 409, "quota.stored_bytes")
        assert (body["used"], body["limit"], body["needed"]) == (0, 1000, 1001)
        assert "lab has 0 bytes of at most 1,000 bytes" in body["detail"]
        assert not Upload.objects.exists()
        assert api.push("lab/sentiment", {"README.md": card})["created"]
        assert not api.push("lab/sentiment", {"README.md": card})["created"], "the same again needs nothing"

    def test_it_is_counted_again_at_the_commit(self, owner, people, repository, limit):
        limit(stored_bytes=1000)
        other = factories.make_repository(owner, "other", namespace=people.lab)
        files = [{"README.md": bytes([65 + n]) * 600} for n in range(2)]
        open_ones = [factories.begin(owner, where, f) for where, f in zip((repository, other), files, strict=True)]
        for upload, sent in zip(open_ones, files, strict=True):
            factories.send(upload, sent)
        uploads.commit_upload(actor=owner, upload=open_ones[0])
        with pytest.raises(QuotaExceeded):
            uploads.commit_upload(actor=owner, upload=open_ones[1])
        assert uploads.refresh(open_ones[1])[0].received == 600, "the bytes wait"
        limit(stored_bytes=1200)
        assert uploads.commit_upload(actor=owner, upload=open_ones[1]).created

    def test_a_job_is_refused_when_it_is_queued_and_when_it_publishes(self, acts, owner, limit, worker, admin):
        before = Usage.objects.get(namespace=owner.namespace).stored_bytes
        limit(stored_bytes=before)
        with pytest.raises(QuotaExceeded):
            acts.queued_jobs()
        pair = list(Version.objects.order_by("pk")[:2])
        asked = {"kind": "svd", "recipe": {"rank": 2}, "inputs": pair, "output": ("owner", "both")}
        said = asking.check_job(actor=owner, **asked)
        assert [row["code"] for row in said["problems"]] == ["quota.stored_bytes"]
        limit()
        job = asking.queue_job(actor=owner, **asked)
        claimed = worker.claim(job.pk)
        # Its size was estimated without the card and the header, and they don't fit.
        cost = asking.check_job(actor=owner, **asked)["cost"] if "cost" in said else {"bytes": said.get("bytes") or 1}
        limit(stored_bytes=before + int(cost["bytes"] or 1))
        run(claimed, worker)
        job.refresh_from_db()
        assert (job.state, job.error["code"]) == (State.FAILED, "quota.stored_bytes"), job.error
        limit()
        queue.retry_job(actor=owner, job=job)
        run(worker.claim(job.pk), worker)
        job.refresh_from_db()
        assert job.state == State.DONE

    def test_a_recount_mends_what_is_off(self, owner, people, repository):
        factories.publish(owner, repository, {"README.md": b"# A card\n"})
        Stored.objects.create(namespace=people.lab, sha256="f" * 64, size=5)
        Stored.objects.filter(size=9).delete()
        Usage.objects.update(stored_bytes=7)
        assert quotas.recount(people.lab) == 2
        assert list(Stored.objects.values_list("size", flat=True)) == [9]
        assert quotas.recount(people.lab) == 0

    def test_counting_costs_the_same_however_much_is_there(self, owner, people, django_assert_num_queries):
        with django_assert_num_queries(6):
            usage(people.lab)
        rows = [Stored(namespace=people.lab, sha256=f"{n:064x}", size=1) for n in range(2000)]
        Stored.objects.bulk_create(rows)
        with django_assert_num_queries(6):
            usage(people.lab)


def test_a_revision_of_too_many_files_is_refused_and_an_old_one_may_shrink(owner, people, repository, limit):
    limit(files_per_revision=2)
    files = {f"notes/{n}.md": b"%d" % n for n in range(3)}
    with pytest.raises(QuotaExceeded, match="at most 2 files; this one would hold 3"):
        factories.begin(owner, repository, files)
    limit()
    factories.push(owner, repository, files)
    limit(files_per_revision=1)
    assert factories.push(owner, repository, {}, deletions=["notes/0.md"]).created
    with pytest.raises(QuotaExceeded):
        factories.push(owner, repository, {"more.md": b"x"})


def test_promised_bytes_of_open_uploads_are_limited(owner, repository, limit):
    limit(staged_bytes=1000)
    first = factories.begin(owner, repository, {"README.md": b"x" * 600})
    with pytest.raises(QuotaExceeded) as refusal:
        factories.begin(owner, repository, {"b.md": b"y" * 401})
    assert refusal.value.facts["uploads"] == [str(first.pk)]
    factories.begin(owner, repository, {"b.md": b"y" * 400})


def test_aliases_of_a_base_are_limited(owner, base, settings):
    settings.ALIASES_A_BASE = 2
    base.created_by = owner
    add_aliases(actor=owner, base=base, aliases=["a", "b"])
    with pytest.raises(QuotaExceeded, match="2 aliases of at most 2"):
        add_aliases(actor=owner, base=base, aliases=["c"])


class TestSignUps:
    def test_are_limited_by_address_and_day(self, db, settings):
        settings.SIGN_UPS_A_DAY = 2

        def sign_up(name: str, address: str):
            form = {"username": name, "email": "", "password": factories.PASSWORD}
            return Client(REMOTE_ADDR=address).post("/sign-up", form)

        assert [sign_up(name, "10.0.0.1").status_code for name in ("ann", "ben")] == [302, 302]
        refused = sign_up("cat", "10.0.0.1")
        assert refused.status_code == 429
        assert "Try again tomorrow" in refused.content.decode() and "cat" in refused.content.decode()
        assert sign_up("cat", "10.0.0.2").status_code == 302
        assert "10.0.0.1" not in str(list(SignUps.objects.values()))
        SignUps.objects.update(day="2020-01-01")
        assert sign_up("dan", "10.0.0.1").status_code == 302
        assert SignUps.objects.count() == 1, "the day before is forgotten"

    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            ("2001:db8::1", "2001:db8::ffff", True),
            ("2001:db8::1", "2001:db8:0:1::1", False),
            ("::ffff:10.0.0.1", "10.0.0.1", True),
            ("10.0.0.1", "10.0.0.2", False),
        ],
    )
    def test_count_a_network_of_ipv6_as_one(self, db, settings, one, other, same):
        settings.SIGN_UPS_A_DAY = 1
        quotas.count_sign_up(one)
        if same:
            with pytest.raises(TooMany) as refusal:
                quotas.count_sign_up(other)
            assert 0 < int(refusal.value.headers["Retry-After"]) <= 86_400
        else:
            quotas.count_sign_up(other)

    def test_what_was_refused_for_another_reason_does_not_count(self, db, settings):
        settings.SIGN_UPS_A_DAY = 1
        with pytest.raises(Invalid):
            accounts.create_user(username="ann", password="123", address="10.0.0.1")
        accounts.create_user(username="ann", password=factories.PASSWORD, address="10.0.0.1")


class TestSettingLimits:
    def test_only_an_administrator_sets_them(self, owner, people):
        with pytest.raises(PermissionDenied):
            quotas.set_quota(actor=owner, namespace=people.lab, repositories=0)
        assert not Quota.objects.exists()

    @pytest.mark.parametrize(
        ("limits", "field"),
        [
            ({"repositories": -1}, "repositories"),
            ({"repositories": True}, "repositories"),
            ({"repositories": "5"}, "repositories"),
            ({"repositories": 2**63}, "repositories"),
            ({"tokens": 5}, "tokens"),
            ({"files_per_revision": 2001}, "files_per_revision"),
            ({"nonsense": 1}, "nonsense"),
        ],
    )
    def test_wrong_values_are_refused(self, people, admin, limits, field):
        with pytest.raises(Invalid) as refusal:
            quotas.set_quota(actor=admin, namespace=people.lab, **limits)
        assert refusal.value.facts["field"] == field

    def test_one_is_set_and_taken_back(self, people, admin, limit):
        limit(repositories=5)
        shown = lambda: {row.name: row.limit for row in usage(people.lab)}  # noqa: E731
        quotas.set_quota(actor=admin, namespace=people.lab, repositories=7, companions=3)
        assert (shown()["repositories"], shown()["companions"]) == (7, 3)
        assert quotas.set_quota(actor=admin, namespace=people.lab, companions=None).limits == {"repositories": 7}
        assert quotas.set_quota(actor=admin, namespace=people.lab, repositories=None) is None
        assert shown()["repositories"] == 5 and not Quota.objects.exists()


class TestWhereItIsShown:
    def test_to_members_and_administrators_only(self, owner, people, admin):
        for who, status in ((people.reader, 200), (admin, 200), (people.stranger, 404)):
            answer = Api(who).get("/namespaces/lab/usage")
            assert answer.status_code == status, who
        assert Api(people.stranger).get("/namespaces/nothing/usage").status_code == 404
        rows = {row["name"]: row for row in Api(owner).get("/namespaces/lab/usage").json()["limits"]}
        assert list(rows) == [one.name for one in OF_NAMESPACES]
        assert rows["stored_bytes"]["unit"] == "bytes" and rows["files_per_revision"]["used"] is None
        mine = Api(owner).get("/me/usage").json()
        assert [row["name"] for row in mine["limits"]] == [one.name for one in OF_USERS]

    def test_on_the_pages(self, owner, people, repository, limit):
        limit(stored_bytes=2_000_000, tokens=10)
        factories.publish(owner, repository, {"README.md": b"x" * 1_000_000})
        client = Client()
        client.force_login(owner)
        page = client.get("/lab").content.decode()
        assert "1.0 MB of 2.0 MB" in page and "50 % used" in page
        assert "Valid tokens" in client.get("/owner").content.decode()
        assert "Valid tokens" not in page
        assert "1.0 MB of 2.0 MB" in client.get("/upload").content.decode()
        assert "Stored bytes" not in Client().get("/lab").content.decode()
