"""The hub behind the front: it answers as it does under WSGI, uploads resume, watchers see what they may."""

import asyncio
import contextlib
import hashlib
import json
import os
import re

import pytest

from hub import progress
from hub.front import live
from hub.front.application import Front
from hub.front.limits import Limits
from hub.front.request import Request
from hub.front.routes import route_of
from hub.models import Arrival, ChunkStore, Job, State
from hub.progress import publish_progress
from hub.services import accounts, tokens
from hub.wsgi import application as django
from tests.hub import factories
from tests.hub.api.test_events import NOBODY, told, use
from tests.hub.api_client import Api
from tests.hub.front.wire import Answer, Connection, ask, until
from tests.hub.hf.wire import Hf

CHANGING = {"date", "server", "connection", "set-cookie", "transfer-encoding", "last-modified", "x-request-id"}
SECRETS = re.compile(rb"[A-Za-z0-9]{64}")


def bearer(user) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.create_token(actor=user, name='t', scopes=('read', 'write'))[1]}"}


def plain(answer: Answer) -> tuple:
    """What must be the same: no dates, no random tokens; of cookies their names and attributes."""
    headers = {name: value for name, value in answer.headers.items() if name not in CHANGING}
    body = SECRETS.sub(b"-", answer.body)
    if "content-length" in headers and body != answer.body:
        headers["content-length"] = "-"
    cookies = re.sub(r"=[^;]{20,}?(?=;)|expires=[^;]*;", "", answer.headers.get("set-cookie", ""))
    return answer.status, headers, cookies, body


def test_answers_are_the_same_as_by_wsgi(hub):
    owner = factories.make_user("owner")
    factories.make_base()
    version = factories.make_version(owner)
    assert str(version) == "owner/sentiment@v1"
    token, body = bearer(owner), {"Content_Type": "application/json"}
    file = "/api/v1/repositories/owner/sentiment/files/v1/adapter_model.safetensors"
    requests = [
        ("GET", "/", b"", {}),
        ("HEAD", "/", b"", {}),
        ("GET", "/owner/sentiment", b"", {}),
        ("GET", "/nobody/nothing", b"", {}),
        ("GET", "/static/site.css", b"", {}),
        ("GET", "/static/../secret_key", b"", {}),
        ("GET", "/upload", b"", {}),
        ("GET", "/?search=%C3%A9%20x", b"", {}),
        ("GET", "/%C3%A9/%FF//x", b"", {}),
        ("GET", "/owner//sentiment/", b"", {}),
        ("GET", "/api/v1/methods", b"", {}),
        ("GET", "/api/v1/me", b"", {}),
        ("GET", "/api/v1/jobs", b"", token),
        ("GET", "/api/v1/me", b"", {"Authorization": "Bearer wrong"}),
        ("GET", "/api/v1/nothing", b"", {}),
        ("PATCH", "/api/v1/me", b"{}", body | token),
        ("POST", "/api/v1/jobs/check", b"{", body | token),
        ("POST", "/api/v1/jobs/check", b'{"kind": "lego"}', body | token),
        ("POST", "/sign-in", b"username=owner", {"Content_Type": "application/x-www-form-urlencoded"}),
        ("OPTIONS", "/api/v1/methods", b"", {}),
        ("GET", file, b"", {}),
        ("HEAD", file, b"", {}),
        ("GET", file, b"", {"Range": "bytes=10-99"}),
        ("GET", file, b"", {"Range": "bytes=-7"}),
        ("GET", file, b"", {"Range": "bytes=999999999-"}),
        ("GET", "/", b"", {"Cookie": "a=1", "X_Forwarded_Host": "evil.example", "Accept_Language": "de"}),
        ("GET", "/", b"", {"Host": "evil.example"}),
    ]
    for method, path, sent, headers in requests:
        ours, theirs = (ask(port, method, path, sent, **headers) for port in (hub.front, hub.wsgi))
        if "content-length" not in theirs.headers:  # What Django leaves without a length gets one.
            assert int(ours.headers.pop("content-length")) == len(ours.body)
        assert plain(ours) == plain(theirs), (method, path, headers)
    tag = ask(hub.front, "GET", file).headers["etag"]
    assert ask(hub.front, "GET", file, If_None_Match=tag).status == 304


def test_a_connection_is_kept_for_the_next_request(hub):
    with contextlib.closing(Connection(hub.front)) as one:
        statuses = [one.ask("GET", path).answer().status for path in ("/", "/api/v1/methods", "/api/v1/me", "/")]
    assert statuses == [200, 200, 401, 200]


def test_bytes_of_a_cut_upload_are_there_and_it_goes_on(hub):
    owner = factories.make_user("owner")
    factories.make_repository(owner, "sums", kind="dataset")
    rows = b"".join(b'{"prompt": "%d + 1 =", "completion": " %d"}\n' % (n, n + 1) for n in range(60_000))
    api, cut = Api(owner), 1_500_001
    assert len(rows) > 2_000_000
    upload = api.begin("owner/sums", {"test.jsonl": rows}).json()["id"]
    path = f"/api/v1/uploads/{upload}/files/test.jsonl"

    def received() -> int:
        return api.get(f"/uploads/{upload}").json()["files"][0]["received"]

    with contextlib.closing(Connection(hub.front)) as one:
        one.ask("PUT", path, rows[:cut], length=len(rows), Upload_Offset="0", **api.headers)
    until(lambda: received() == cut)
    stranger = bearer(factories.make_user("stranger"))
    refused = ask(hub.front, "PUT", path, rows[cut:], Upload_Offset=str(cut), **stranger)
    assert (refused.status, received()) == (404, cut)
    wrong = ask(hub.front, "PUT", path, rows, Upload_Offset="0", **api.headers)
    assert (wrong.status, wrong.json["received"]) == (409, cut)
    answer = ask(hub.front, "PUT", path, rows[cut:], Upload_Offset=str(cut), **api.headers)
    assert (answer.status, answer.json) == (200, {"received": len(rows)})
    assert api.post(f"/uploads/{upload}/commit").status_code == 201


def test_a_signed_upload_that_is_cut_leaves_nothing_half_and_is_sent_again(hub, people, repository):
    hf, data = Hf(people.member, repository), os.urandom(3_000_000)
    oid = hashlib.sha256(data).hexdigest()
    body = {"operation": "upload", "objects": [{"oid": oid, "size": len(data)}]}
    batch = f"/{repository.full_name}.git/info/lfs/objects/batch"
    answer = hf.http.post(batch, body, content_type="application/json", headers=hf.headers)
    path = answer.json()["objects"][0]["actions"]["upload"]["href"].removeprefix("http://testserver")
    with contextlib.closing(Connection(hub.front)) as one:
        one.ask("PUT", path, data[:1_500_000], length=len(data))
        until(lambda: ChunkStore.objects.get().bytes == len(data))
    # A continuation is known by the front alone: no client begins in the middle.
    assert ask(hub.front, "PUT", path, data[1_500_000:], Upload_Offset="1500000").status == 422
    assert not Arrival.objects.exists()
    assert ask(hub.front, "PUT", path, data[:-1] + bytes([data[-1] ^ 1])).status == 422
    assert ask(hub.front, "PUT", path, data).status == 200
    assert Arrival.objects.get().blob_id == oid
    assert ask(hub.front, "PUT", path, data + b"x").status == 422


def test_a_large_file_is_taken_from_who_may_send_it_and_others_are_told_before_it_comes(hub):
    owner = factories.make_user("owner")
    factories.make_repository(owner, "sentiment")
    path = "/api/v1/repositories/owner/sentiment/companions?kind=notes&name=large.txt"
    text = b"0123456789abcde\n" * 320_000  # more than a body of JSON may have
    for refused, status in ((bearer(factories.make_user("stranger")), 403), ({}, 401)):
        with contextlib.closing(Connection(hub.front)) as one:
            assert one.ask("POST", path, length=len(text), **refused).answer().status == status
    answer = ask(hub.front, "POST", path, text, Content_Type="application/json", **bearer(owner))
    assert (answer.status, answer.json["sha256"]) == (201, hashlib.sha256(text).hexdigest())
    with contextlib.closing(Connection(hub.front)) as one:
        one.ask("POST", path, Transfer_Encoding="chunked", **bearer(owner)).send(b"5\r\nhello\r\n0\r\n\r\n")
        assert one.answer().json["size"] == 5


def chunked(data: bytes, size: int = 60_000) -> bytes:
    """As a sender sends it who doesn't know its length before."""
    parts = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_a_large_body_of_unknown_length_arrives_whole_and_is_refused_before_it_ends(hub):
    owner = factories.make_user("owner")
    factories.make_repository(owner, "sentiment")
    path = "/api/v1/repositories/owner/sentiment/companions?kind=notes&name=large.txt"
    text = b"0123456789abcde\n" * 130_000
    json_body = json.dumps({"kind": "lego", "note": "x" * 1_600_000}).encode()
    form = b"username=owner&password=" + b"x" * 1_600_000
    part = b'--b\r\nContent-Disposition: form-data; name="username"\r\n\r\n' + b"x" * 1_600_000 + b"\r\n--b--\r\n"
    forms = "application/x-www-form-urlencoded"
    bodies = [
        (path, text, {"Content_Type": "text/plain"}),
        ("/api/v1/jobs/check", json_body, {"Content_Type": "application/json"}),
        ("/sign-in", form, {"Content_Type": forms}),
        ("/sign-in", part, {"Content_Type": "multipart/form-data; boundary=b"}),
    ]
    for where, body, headers in bodies:
        headers = headers | bearer(owner)
        with contextlib.closing(Connection(hub.front)) as one:
            one.ask("POST", where, Transfer_Encoding="chunked", **headers).send(chunked(body))
            ours = one.answer()
        theirs = ask(hub.front, "POST", where, body, **headers)
        assert ours.status == theirs.status
        if where == path:
            assert (ours.status, ours.json["sha256"]) == (201, hashlib.sha256(text).hexdigest())
            assert ours.json["size"] == len(text)
        else:
            assert plain(ours) == plain(theirs), where
    with contextlib.closing(Connection(hub.front)) as one:
        stranger = bearer(factories.make_user("stranger"))
        one.ask("POST", path, Transfer_Encoding="chunked", **stranger).send(chunked(text)[:1_500_000])
        assert one.answer().status == 403


def make_job(owner) -> Job:
    return Job.objects.create(
        kind="lego", created_by=owner, output_namespace=owner.namespace, output_name="x", state=State.RUNNING
    )


def test_watchers_see_the_events_of_their_job_resume_and_end(hub):
    owner, stranger = factories.make_user("owner"), factories.make_user("stranger")
    job, token = make_job(owner), bearer(owner)
    path = f"/api/v1/jobs/{job.pk}/events"
    for refused in (bearer(stranger), {}):
        answer = ask(hub.front, "GET", path, **refused)
        assert (answer.status, plain(answer)) == (404, plain(ask(hub.wsgi, "GET", path, **refused)))
    publish_progress(job.pk, "log", text="one")
    # Who claims to have seen the future delays nobody else.
    ahead = Connection(hub.front).ask("GET", path, Last_Event_ID="999999999999999999-0", **token)
    assert ahead.read(12).startswith(b"HTTP/1.1 200")
    watchers = [Connection(hub.front).ask("GET", path, **token) for _ in range(20)]
    publish_progress(job.pk, "log", text="two")
    Job.objects.filter(pk=job.pk).update(state=State.DONE)
    publish_progress(job.pk, "state", state="done", attempt=0)
    answers = [one.answer() for one in watchers]
    ahead.close()
    for answer in answers:
        events = told(answer.body.decode())
        assert [event["event"] for event in events] == ["log", "log", "state", "state"]
        assert [json.loads(event["data"])["text"] for event in events[:2]] == ["one", "two"]
        assert events[-1]["id"] == "end"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    resumed = told(ask(hub.front, "GET", path, Last_Event_ID=events[0]["id"], **token).body.decode())
    assert resumed == events[1:]
    assert ask(hub.front, "GET", path, Last_Event_ID="end", **token).status == 204
    progress.forget(job.pk)


class Watcher:
    """Follows a job through a front in this process; `text` is what came, `ended` whether it is over."""

    def __init__(self, application: Front, path: str, headers: dict[str, str]) -> None:
        self.text, self.status = "", 0
        named = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self.scope = {"type": "http", "method": "GET", "path": path, "headers": named, "http_version": "1.1"}
        self.task = asyncio.ensure_future(application(self.scope, self.receive, self.send))

    async def receive(self) -> dict:
        return await asyncio.get_running_loop().create_future()

    async def send(self, message: dict) -> None:
        self.status = message.get("status", self.status)
        self.text += message.get("body", b"").decode()

    async def sees(self, word: str) -> None:
        async with asyncio.timeout(30):
            while word not in self.text:
                await asyncio.sleep(0.02)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("redis", [True, False])
def test_a_watcher_who_loses_sight_of_the_job_is_not_told_more(settings, people, valkey, monkeypatch, redis):
    monkeypatch.setattr(live, "AGAIN", 0.3)
    monkeypatch.setattr(live, "HEARTBEAT", 0.3)
    monkeypatch.setattr(live, "FRESH", 0.0)
    before = settings.REDIS_URL
    url = valkey if redis else NOBODY
    use(settings, url)
    settings.ALLOWED_HOSTS = ["*"]
    job = Job.objects.create(
        kind="lego", created_by=people.owner, output_namespace=people.lab, output_name="x", state=State.RUNNING
    )
    path, tokens = f"/api/v1/jobs/{job.pk}/events", [bearer(people.owner), bearer(people.reader)]

    async def watch() -> tuple[Watcher, Watcher]:
        front = Front(django, Limits(), route_of=route_of)
        front.live = live.Follower(url, front.watching.run)
        owner, reader = (Watcher(front, path, token) for token in tokens)
        await asyncio.to_thread(publish_progress, job.pk, "log", text="first")
        for one in (owner, reader):
            await one.sees("first" if redis else '"running"')
        await asyncio.to_thread(accounts.remove_member, actor=people.owner, namespace=people.lab, user=people.reader)
        async with asyncio.timeout(30):
            await reader.task
        assert not owner.task.done()
        await asyncio.to_thread(publish_progress, job.pk, "log", text="second")
        await asyncio.to_thread(lambda: Job.objects.filter(pk=job.pk).update(state=State.FAILED))
        await asyncio.to_thread(publish_progress, job.pk, "state", state="failed", attempt=0)
        async with asyncio.timeout(30):
            await owner.task
        await front.live.close()
        return owner, reader

    owner, reader = asyncio.run(watch())
    use(settings, before)
    assert "second" not in reader.text and "failed" not in reader.text
    assert ("second" in owner.text) is redis
    assert "id: end" in owner.text and '"failed"' in owner.text


def test_streams_are_looked_at_together_only_where_all_that_signs_in_is_the_same():
    def key(*headers: tuple[bytes, bytes]) -> bytes:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "http_version": "1.1"}
        return Request(Front(django, Limits()), scope, None)._signed_in_with()

    ours, theirs, same = (b"cookie", b"sessionid=a"), (b"cookie", b"sessionid=b"), (b"cookie", b"theme=dark")
    token = (b"authorization", b"Bearer x")
    keys = [key(), key(ours), key(theirs), key(ours, same), key(theirs, same), key(token), key(token, ours)]
    assert len(set(keys)) == len(keys)
    assert key(ours, (b"accept", b"*/*")) == key(ours)


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("PUT", "/api/v1/uploads/00000000-0000-0000-0000-000000000000/files/a/b.txt", "pieces"),
        ("GET", "/api/v1/uploads/00000000-0000-0000-0000-000000000000/files/a/b.txt", ""),
        ("PUT", "/api/lfs/objects/0", "stream"),
        ("GET", "/api/v1/jobs/1/events", "live"),
        ("POST", "/api/v1/jobs/1/events", ""),
        ("GET", "/", ""),
        ("GET", "/no/such/route/\0", ""),
    ],
)
def test_which_routes_the_front_knows(method, path, kind):
    assert route_of(method, path) == kind
