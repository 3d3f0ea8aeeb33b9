"""Administrators of the site: who they are, what they do to accounts and jobs, and what they are not shown."""

import csv
import io
import json
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from hub import access, origin
from hub.errors import Conflict, Invalid
from hub.http.event_exports import BATCH, harmless
from hub.http.event_filters import read_filters
from hub.models import Blob, Event, Job, Quota, State, User
from hub.queries import administration as queries
from hub.services import accounts, administration, noting, tokens
from hub.services.audit import record
from hub.services.jobs import lease
from hub.services.worker_nodes import report_worker
from tests.hub import asking, factories
from tests.hub.api_client import Api, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]


@pytest.fixture
def secret(people, base):
    """The private `lab/secret`."""
    return factories.make_version(people.owner, "secret", base=base, namespace=people.lab, visibility="private")


def acts() -> list[tuple[str, str, str]]:
    """(verb, object, reason) of what administrators did."""
    found = Event.objects.filter(verb__startswith="admin.").order_by("pk")
    return [(event.verb, event.object, event.detail.get("reason", "")) for event in found]


class TestWhoTheyAre:
    def test_the_first_account_is_one_and_the_next_are_not(self, db):
        made = [accounts.create_user(username=name, password=factories.PASSWORD) for name in ("ada", "bob")]
        assert [user.is_staff for user in made] == [True, False]
        assert queries.has_administrator() is True

    def test_by_sign_up_on_the_page(self, db):
        assert queries.has_administrator() is None
        Client().post("/sign-up", {"username": "ada", "password": factories.PASSWORD})
        assert User.objects.get().is_staff

    def test_by_command(self, people, monkeypatch, capsys):
        assert queries.has_administrator() is False
        call_command("create_user", "member", "--admin")
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{factories.PASSWORD}\n"))
        call_command("create_user", "boss", "--admin", "--password-stdin")
        assert capsys.readouterr().out.count("administers this hub") == 2
        assert set(User.objects.filter(is_staff=True).values_list("username", flat=True)) == {"member", "boss"}

    def test_the_last_one_stays(self, people, root):
        api = Api(root)
        for change in ({"administrator": False}, {"active": False}):
            problem(api("PATCH", "/admin/users/root", change), 409, "user.last_administrator")
        assert api("PATCH", "/admin/users/member", {"administrator": True}).json()["administrator"]
        assert api("PATCH", "/admin/users/root", {"administrator": False}).status_code == 200
        problem(api.get("/admin/users"), 403, "site_admin")

    def test_a_suspended_administrator_does_not_count(self, people, root):
        second = administration.set_administrator(actor=root, user=people.member, administrator=True)
        administration.suspend_user(actor=root, user=second)
        root.refresh_from_db()
        with pytest.raises(Conflict):
            administration.suspend_user(actor=root, user=root)

    def test_changes_come_together_or_not_at_all(self, people, root):
        refused = Api(root)("PATCH", "/admin/users/member", {"active": False, "administrator": True})
        assert refused.status_code == 409
        people.member.refresh_from_db()
        assert people.member.is_active and not people.member.is_staff


class TestAccounts:
    def test_suspended_and_back(self, people, root, base):
        browser, api = Client(), Api(people.member)
        browser.force_login(people.member)
        job = asking.queue_job(
            actor=people.member,
            kind="svd",
            recipe={"rank": 2},
            inputs=[
                factories.make_version(people.owner, n, base=base, namespace=people.lab, seed=i)
                for i, n in enumerate("ab")
            ],
            output=("lab", "ab"),
        )
        shown = Api(root)("PATCH", "/admin/users/member", {"active": False, "reason": " left "}).json()
        assert (shown["active"], shown["jobs_open"]) == (False, 0)
        assert Job.objects.get(pk=job.pk).state == State.CANCELLED
        assert api.get("/me").status_code == 401
        assert browser.get("/jobs")["Location"].startswith("/sign-in")
        assert not Client().login(username="member", password=factories.PASSWORD)
        again = Api(people.owner).post(f"/jobs/{job.pk}/retry")
        assert problem(again, 409, "job.refused_for_owner") and Job.objects.get(pk=job.pk).state == State.CANCELLED
        assert Api(root)("PATCH", "/admin/users/member", {"active": True}).json()["active"]
        assert api.get("/me").status_code == 401, "old tokens stay ended"
        assert browser.get("/jobs").status_code == 302, "and old sessions"
        assert Client().login(username="member", password=factories.PASSWORD)
        assert acts() == [("admin.suspend", "member", "left"), ("admin.reactivate", "member", "")]

    def test_a_link_sets_a_password_once(self, people, root):
        member, browser = Api(people.member), Client()
        browser.force_login(root)
        page = browser.post("/admin/users/member", {"act": "reset", "reason": "lost"}).content.decode()
        link = page.partition('id="link">')[2].partition("<")[0]
        assert "/sign-in/reset/" in link and link not in browser.get("/admin/users/member").content.decode()
        assert member.get("/me").status_code == 200, "until the link is used"
        person = Client()
        assert person.get(link, follow=True).status_code == 200
        assert person.post("/sign-in/reset/new", {"password": "short"}).status_code == 422
        assert person.post("/sign-in/reset/new", {"password": "another good password"}).status_code == 302
        assert member.get("/me").status_code == 401
        assert Client().login(username="member", password="another good password")
        assert Client().get(link).status_code == 422, "once"
        assert acts() == [("admin.reset_password", "member", "lost")]
        assert link.rsplit("/", 1)[-1] not in json.dumps(list(Event.objects.values_list("detail", flat=True)))

    def test_the_list(self, people, root):
        api = Api(root)
        administration.suspend_user(actor=root, user=people.stranger)
        names = lambda query: [row["username"] for row in api.get(f"/admin/users?{query}").json()["results"]]  # noqa: E731
        assert names("") == ["owner", "member", "reader", "stranger", "root"]
        assert names("search=EXAMPLE+read") == ["reader"]
        assert (names("state=suspended"), names("state=administrator")) == (["stranger"], ["root"])
        first = api.get("/admin/users?limit=2").json()
        assert [row["username"] for row in api.get(first["next"]).json()["results"]] == ["reader", "stranger", "root"][
            :2
        ]
        problem(api.get("/admin/users?state=odd"), 422, "invalid")

    def test_an_act_there_is_none_of(self, people, root):
        browser = Client()
        browser.force_login(root)
        for path in ("/admin?search=%00", "/admin/jobs?kind=%00", "/admin/events?actor=a%00", "/?search=%00"):
            assert browser.get(path).status_code == 422
        assert browser.post("/admin/users/member", {"act": "suspend", "reason": "a\0"}).status_code == 422
        assert browser.post("/admin/users/member", {"act": "delete"}).status_code == 422


class TestWhatTheySee:
    def test_all_jobs_and_nothing_of_what_they_were_given(self, people, root, secret):
        job = asking.queue_job(actor=people.owner, kind="try", recipe={"prompt": "our secret plan"}, inputs=[secret])
        Job.objects.filter(pk=job.pk).update(
            message="says lab/secret", error={"code": "x.y", "message": "our secret plan"}, figures={"a": "secret plan"}
        )
        api = Api(root)
        (row,) = api.get("/admin/jobs").json()["results"]
        assert (row["user"], row["kind"], row["error"]) == ("owner", "try", "x.y")
        browser = Client()
        browser.force_login(root)
        for text in (json.dumps(row), browser.get("/admin/jobs").content.decode()):
            assert "secret plan" not in text and "lab/secret" not in text
        problem(api.get(f"/jobs/{job.pk}"), 404, "not_found")
        problem(api.get("/repositories/lab/secret"), 404, "not_found")
        for query, found in (("state=queued", 1), ("state=done", 0), ("user=OWNER", 1), ("user=x", 0)):
            assert len(api.get(f"/admin/jobs?{query}").json()["results"]) == found
        for query, found in (("kind=try", 1), ("kind=svd", 0), ("queue=cpu", 1), ("queue=gpu", 0)):
            assert len(api.get(f"/admin/jobs?{query}").json()["results"]) == found
        assert api.post(f"/admin/jobs/{job.pk}/cancel", {"reason": "floods"}).json()["state"] == "cancelled"
        assert api.post(f"/admin/jobs/{job.pk}/cancel").status_code == 409
        assert acts() == [("admin.cancel_job", f"job {job.pk}", "floods")]

    def test_storage(self, people, root, secret):
        factories.store({"loose": b"12345"})
        factories.begin(people.member, secret.repository, {"notes.md": b"1234"})
        Blob.objects.create(sha256="0" * 64, size=5)
        api = Api(root)
        found = api.get("/admin/storage").json()
        assert (found["unreferenced"], found["unreferenced_bytes"], found["uploads_open"]) == (1, 5, 1)
        assert all(disk["free"] > 0 for disk in found["disks"])
        spaces = {row["name"]: row for row in api.get("/admin/namespaces").json()["results"]}
        held = sum(entry.blob.size for entry in secret.revisions.get().entries.select_related("blob"))
        assert (spaces["lab"]["file_bytes"], spaces["lab"]["repositories"]) == (held, 1) and held > 0
        assert spaces["owner"]["file_bytes"] == 0
        (base,) = api.get("/admin/bases").json()["results"]
        assert (base["base"], base["used_by"], base["owner"]) == ("pico/llama", 1, None)

    def test_workers_that_went_silent_over_a_job(self, people, root, secret):
        job = asking.queue_job(actor=people.owner, kind="try", recipe={"prompt": "a"}, inputs=[secret])
        told = {"queues": ["cpu"], "device": "cpu", "bases": [], "loaded": [], "environment": {}}
        for name, current in (("big-host-7", job.pk), ("big-host-8", None)):
            report_worker(name=name, current_job=current, started_at=timezone.now(), **told)
        for left, stuck in ((timedelta(seconds=20), False), (timedelta(seconds=-20), True)):
            Job.objects.update(state=State.RUNNING, lease_until=timezone.now() + left)
            rows = {row["name"]: row for row in Api(root).get("/admin/workers").json()["results"]}
            assert (rows["big-host-7"]["stuck"], rows["big-host-7"]["host"]) == (stuck, "big-host")
            assert rows["big-host-7"]["job"]["user"] == "owner" and rows["big-host-8"]["job"] is None

    def test_a_job_that_was_put_off_waits_and_is_not_stuck(self, people, root, secret):
        job = asking.queue_job(actor=people.owner, kind="try", recipe={"prompt": "a"}, inputs=[secret])
        lease.claim(job.pk, worker="w")
        lease.put_off(job_id=job.pk, attempt=1, fault="The store is away")
        for wait in (timedelta(seconds=20), timedelta(seconds=-20)):
            Job.objects.update(lease_until=timezone.now() + wait)
            (row,) = Api(root).get("/admin/jobs").json()["results"]
            assert (row["state"], row["stuck"]) == ("queued", False)


class TestAuditLog:
    @pytest.fixture
    def log(self, people, root, secret):
        """The newest events are of the last days, at known addresses."""
        for number in range(6):
            with origin.coming_from(f"192.0.2.{number % 2}" if number < 4 else "2001:db8::1"):
                record(people.owner if number % 2 else people.member, f"job.{number % 3}", secret.repository, n=number)
        start = Event.objects.latest("pk").pk
        for back in range(6):
            Event.objects.filter(pk=start - back).update(created_at=timezone.now() - timedelta(days=back))
        return access.Viewer(user=root)

    @pytest.mark.parametrize(
        ("given", "numbers"),
        [
            ({"verb": "job."}, [5, 4, 3, 2, 1, 0]),
            ({"verb": "job.1"}, [4, 1]),
            ({"verb": "job_"}, []),
            ({"actor": "OWNER", "verb": "job."}, [5, 3, 1]),
            ({"address": "192.0.2.1"}, [3, 1]),
            ({"address": "2001:0db8:0::1"}, [5, 4]),
            ({"object": "lab/secret", "verb": "job."}, [5, 4, 3, 2, 1, 0]),
            ({"object": "lab/secre"}, []),
            ({"repository": "LAB/Secret", "verb": "job.2"}, [5, 2]),
            ({"namespace": "lab", "verb": "job.2"}, [5, 2]),
            ({"repository": "lab/gone"}, []),
            ({"verb": "job.", "since": 2.5}, [5, 4, 3]),
            ({"verb": "job.", "until": 2.5}, [2, 1, 0]),
            ({"verb": "job.", "since": 4.5, "until": 2.5}, [2, 1]),
            ({"verb": "job.", "since": -1}, []),
            ({"verb": "job.", "until": 40}, []),
        ],
    )
    def test_filters(self, log, given, numbers):
        times = {
            name: (timezone.now() - timedelta(days=given[name])).isoformat()
            for name in ("since", "until")
            if name in given
        }
        found = queries.all_events(log, read_filters(given | times))
        assert [event.detail.get("n") for event in found] == numbers

    @pytest.mark.parametrize(
        "given",
        [
            *({name: "nobody"} for name in ("actor", "namespace", "address", "since", "until")),
            *({"since": text} for text in ("2026-13-01", "0001-01-01", "2026-01-01T25:00")),
            *({"address": "1.2.3"}, {"verb": "v" * 61}, {"object": "a\0"}),
        ],
    )
    def test_filters_that_are_none(self, log, given):
        with pytest.raises(Invalid):
            queries.all_events(log, read_filters(given))
        browser = Client()
        browser.force_login(log.user)
        if "\0" not in "".join(given.values()):
            page = browser.get("/admin/events", given)
            assert page.status_code == 422 and "Show" in page.content.decode()

    def test_a_day_alone_is_the_whole_day(self):
        day = read_filters({"since": "2026-03-31", "until": "2026-03-31"})
        assert day["until"] - day["since"] == timedelta(days=1) - timedelta(microseconds=1)

    def test_an_export_is_whole_harmless_and_on_the_record(self, log, monkeypatch):
        monkeypatch.setattr("hub.http.event_exports.BATCH", 3)
        assert BATCH > 3
        Event.objects.create(verb="=cmd|' /C calc'!A0", object='@"x",\n2', detail={"=": "ä"})
        browser = Client()
        browser.force_login(log.user)
        before = Event.objects.count()
        assert browser.head("/admin/events/export?format=csv").status_code == 200
        assert Event.objects.count() == before, "looking at the headers exports nothing"
        answer = browser.get("/admin/events/export?format=csv")
        rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode(), newline="")))
        assert len(rows) == before + 1
        assert (rows[0]["verb"], rows[0]["actor"]) == ("admin.export_events", "root")
        assert (rows[1]["verb"], rows[1]["object"]) == ("'=cmd|' /C calc'!A0", '\'@"x",\n2')
        lines = Api(log.user).get("/admin/events/export?format=jsonl&verb=job.2")
        assert [json.loads(line)["detail"]["n"] for line in b"".join(lines.streaming_content).splitlines()] == [5, 2]
        assert Event.objects.latest("pk").detail == {"format": "jsonl", "filters": {"verb": "job.2"}}
        problem(Api(log.user).get("/admin/events/export?format=xml"), 422, "invalid")

    def test_cells_that_a_spreadsheet_would_run(self):
        for text in ("=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "  =1"):
            assert harmless(text) == f"'{text}"
        assert [harmless(value) for value in ("lab/a", None, 7, "a=1")] == ["lab/a", "", "7", "a=1"]


class TestWhatIsNotedOnce:
    def test_private_downloads(self, people, secret):
        for api in (Api(people.reader), Api(people.reader), Api(people.member)):
            for headers in ({}, {"Range": "bytes=0-3"}, {"Range": "bytes=4-"}):
                for path in ("adapter_model.safetensors", "adapter_config.json"):
                    answer = api.get(f"/repositories/lab/secret/files/v1/{path}", **headers)
                    assert answer.status_code in (200, 206)
                    assert b"".join(answer.streaming_content)
        found = Event.objects.filter(verb="download").order_by("pk")
        named = [(event.actor.username, event.detail["path"].partition(".")[0]) for event in found]
        assert named == [(user, path) for user in ("reader", "member") for path in ("adapter_model", "adapter_config")]
        assert {(str(event.repository), event.detail["revision"]) for event in found} == {
            ("lab/secret", secret.revisions.get().oid)
        }
        assert {event.address for event in found} == {"127.0.0.1"}

    def test_neither_public_ones_nor_looks_at_the_headers(self, people, base, secret):
        factories.make_version(people.owner, "open", base=base, namespace=people.lab)
        api = Api(people.reader)
        api.get("/repositories/lab/open/files/v1/adapter_config.json")
        api("HEAD", "/repositories/lab/secret/files/v1/adapter_config.json")
        api.get("/repositories/lab/secret/files/v1")
        assert not Event.objects.filter(verb="download").exists()
        browser = Client()
        browser.force_login(people.reader)
        browser.get("/lab/secret/raw/v1/adapter_config.json")
        assert Event.objects.filter(verb="download").count() == 1

    def test_again_in_the_next_hour_and_without_a_query_within_it(
        self, people, secret, django_assert_num_queries, django_capture_on_commit_callbacks
    ):
        asked = {"actor": people.reader, "repository": secret.repository, "path": "a", "revision": "r" * 40}
        with django_capture_on_commit_callbacks(execute=True):
            noting.note_download(**asked, now=7200)
        with django_assert_num_queries(0):
            noting.note_download(**asked, now=7200 + 3599)
        noting._noted.clear()
        noting.note_download(**asked, now=7201)  # another process
        noting.note_download(**asked, now=7200 + 3600)
        assert Event.objects.filter(verb="download").count() == 2
        noting._noted.clear()

    def test_a_token_at_a_new_address(self, people):
        token, secret = tokens.create_token(actor=people.owner, name="ci")
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", None):
            with origin.coming_from(address):
                assert tokens.token_user(secret)
        found = Event.objects.filter(verb="token.address", object=token.prefix).order_by("pk")
        assert [event.address for event in found] == ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"]
        assert {event.detail["name"] for event in found} == {"ci"}


@pytest.mark.parametrize("own", ["", "https://hub.example"])
def test_a_password_link_is_an_address_that_can_be_sent_on(own, people, root, settings):
    settings.HUB_URL = own
    given = Api(root).post(f"/admin/users/{people.stranger.username}/password-link", {}).json()["url"]
    assert given.startswith(f"{own or 'http://testserver'}/sign-in/reset/")


def test_limits_are_set_by_administrators_on_the_page_and_by_rest(people, root):
    client = Client()
    client.force_login(root)
    assert client.post("/admin/quotas/users/owner", {"tokens": "3", "reason": "a pilot"}).status_code == 302
    page = client.get("/admin/quotas/users/owner").content.decode()
    assert 'name="tokens" inputmode="numeric" maxlength="20" value="3"' in page
    event = Event.objects.get(verb="admin.quota")
    assert (event.object, event.detail["reason"]) == ("owner", "a pilot")
    api = Api(root)
    shown = {row["name"]: row["limit"] for row in api.get("/admin/users/owner/quota").json()["limits"]}
    assert shown["tokens"] == 3
    changed = api("PATCH", "/admin/users/owner/quota", {"limits": {"tokens": None, "bases": 7}}).json()
    assert {row["name"]: row["limit"] for row in changed["limits"]}["bases"] == 7
    assert Quota.objects.get(user=people.owner).limits == {"bases": 7}
    for wrong in ({"limits": {"nothing": 1}}, {"limits": {"tokens": -1}}, {"limits": {"tokens": "1"}}, {"limits": [1]}):
        assert api("PATCH", "/admin/users/owner/quota", wrong).status_code == 422, wrong
    assert api("PATCH", "/admin/namespaces/lab/quota", {"limits": {"repositories": 5}}).status_code == 200
    refused = client.post("/admin/quotas/namespaces/lab", {"repositories": "many"})
    assert refused.status_code == 422 and b"give a whole number" in refused.content
