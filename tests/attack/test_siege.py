"""Half-sent bodies and watchers of events, at once and for long: the pages go on answering.

The verdict is that they answer while the siege holds, and never how fast.
"""

import asyncio

import pytest

from bench.besiegers import Besieger, Siege, half_body, slow_headers, slow_reader, watcher
from hub.models import Job, State
from tests.hub import factories
from tests.hub.api_client import Api
from tests.hub.front.conftest import hub, servers, use, valkey  # noqa: F401
from tests.hub.front.test_hub import bearer
from tests.hub.front.wire import ask

ROUNDS = 3


def besiegers(count: int, job: Job, token: dict[str, str], upload: str) -> list[tuple[Besieger, int]]:
    """So many that hold a body, and as many that watch; some slow readers and slow headers."""
    third = count // 3
    json = {**token, "Content-Type": "application/json"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    put = {**token, "Upload-Offset": "0"}
    return [
        (half_body("json", "POST", lambda number: "/api/v1/jobs/check", json), third),
        (half_body("form", "POST", lambda number: "/sign-in", form), third),
        (half_body("upload", "PUT", lambda number: f"{upload}/{number}.jsonl", put), count - 2 * third),
        (watcher("events", f"/api/v1/jobs/{job.pk}/events", token, lambda line: None), count),
        (slow_reader("reader", "/static/django_htmx/htmx-2.min.js", {}), 10),
        (slow_headers("headers"), 20),
    ]


@pytest.mark.slow
def test_pages_answer_while_the_siege_holds(hub):  # noqa: F811
    owner = factories.make_user("owner")
    factories.make_version(owner, base=factories.make_base())
    job = Job.objects.create(
        kind="lego", created_by=owner, output_namespace=owner.namespace, output_name="x", state=State.RUNNING
    )
    factories.make_repository(owner, "sums", kind="dataset")
    token, count = bearer(owner), 60
    files = {f"{number}.jsonl": b"x" * 2000 + str(number).encode() for number in range(count)}
    upload = f"/api/v1/uploads/{Api(owner).begin('owner/sums', files).json()['id']}/files"
    siege = Siege("127.0.0.1", hub.front)
    bodies = ("json", "form", "upload")

    async def hold() -> None:
        async with siege.held(besiegers(count, job, token, upload), patience=60):
            for name in ("events", *bodies):
                assert len(siege.begun[name]) >= count // 3, f"{name} did not begin"
            for _ in range(ROUNDS):
                for path in ("/", "/owner/sentiment", "/api/v1/methods"):
                    assert sum(siege.open[name] for name in bodies) >= count // 2
                    assert siege.open["events"] >= count // 2
                    answer = await asyncio.to_thread(ask, hub.front, "GET", path)
                    assert answer.status == 200, path
                await asyncio.sleep(2)

    asyncio.run(hold())
    assert ask(hub.front, "GET", "/api/v1/methods").status == 200
