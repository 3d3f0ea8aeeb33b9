"""A hub on S3, served by the front: files flow through it by ranges, and a store that is away answers 503 or cuts."""

import contextlib
import hashlib
import io
import os
import time
from types import SimpleNamespace

import pytest
from django.conf import settings as ours
from django.db import connection

from hub.models import Blob, ManifestEntry, Revision
from hub.services import tokens
from hub.storage import blobs
from tests.hub import factories
from tests.hub.front.wire import Connection, ask, granian, served
from tests.object_store import KEYS

LARGE = os.urandom(40 << 20)
pytestmark = pytest.mark.skipif(connection.vendor != "sqlite", reason="the server is given the database's file")
FILE = "/api/v1/repositories/owner/sentiment/files/main/rows.bin"


@pytest.fixture
def hub(bucket, transactional_db, tmp_path):
    """A server of its own over this test's bucket, and a repository with a file of 40 MB."""
    environment = os.environ | KEYS
    environment |= {"STORAGE_URL": bucket.url, "STORAGE_ENDPOINT": bucket.proxy.address}
    environment |= {"DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}", "REDIS_URL": "redis://127.0.0.1:1"}
    environment |= {"DJANGO_SETTINGS_MODULE": "tests.hub.front.settings", "HUB_DATA": str(tmp_path / "data")}
    environment |= {"HUB_SECRET_KEY": ours.SECRET_KEY}
    owner = factories.make_user("owner")
    factories.make_base()
    factories.make_version(owner)
    sha256, size = blobs.put(io.BytesIO(LARGE))
    blob = Blob.objects.create(sha256=sha256, size=size)
    ManifestEntry.objects.create(revision=Revision.objects.get(), path="rows.bin", blob=blob)
    secret = tokens.create_token(actor=owner, name="t", scopes=("read", "write"))[1]
    front = granian("hub.asgi:application", "asgi", "--http", "1")
    with served(front, environment, tmp_path / "front.log") as port:
        yield SimpleNamespace(port=port, token={"Authorization": f"Bearer {secret}"}, log=tmp_path / "front.log")


def head_of(answer: Connection) -> tuple[int, dict[str, str]]:
    """Status and headers, and nothing of the body."""
    while b"\r\n\r\n" not in answer.came:
        answer._more()
    top, _, answer.came = answer.came.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}


def test_files_flow_by_ranges_and_an_outage_is_503_or_a_cut(hub, bucket):
    whole = ask(hub.port, "GET", FILE, **hub.token)
    assert (whole.status, hashlib.sha256(whole.body).digest()) == (200, hashlib.sha256(LARGE).digest())

    before = bucket.proxy.answered
    part = ask(hub.port, "GET", FILE, Range="bytes=30000000-30000099", **hub.token)
    assert (part.status, part.body) == (206, LARGE[30000000:30000100])
    assert bucket.proxy.answered - before < 1 << 20

    # It dies in the middle of an answer: the connection is cut before the promised length.
    bucket.proxy.cut_after(10 << 20)
    with contextlib.closing(Connection(hub.port)) as cut:
        status, headers = head_of(cut.ask("GET", FILE, **hub.token))
        assert (status, headers["content-length"]) == (200, str(len(LARGE)))
        with pytest.raises((EOFError, ConnectionError)):
            cut.read(len(LARGE))

    # It is away: every door says when to come back, and what needs no store is answered.
    doors = [FILE, "/owner/sentiment/resolve/main/adapter_config.json", "/owner/sentiment/raw/main/adapter_config.json"]
    for path in doors:
        away = ask(hub.port, "GET", path, **({} if "raw" in path else hub.token))  # a browser, at `raw`
        assert (away.status, "retry-after" in away.headers) == (503, True), (path, away)
    assert ask(hub.port, "GET", "/readyz").status == 503
    assert ask(hub.port, "GET", "/api/v1/repositories/owner/sentiment", **hub.token).status == 200
    assert b'"store": "away"' in ask(hub.port, "GET", "/readyz").body

    bucket.proxy.resume()
    until = time.monotonic() + 20
    while (answer := ask(hub.port, "GET", FILE, Range="bytes=0-9", **hub.token)).status != 206:
        assert answer.status == 503 and time.monotonic() < until
        time.sleep(0.2)
    assert answer.body == LARGE[:10]
    assert "Traceback" not in hub.log.read_text(), hub.log.read_text()[-3000:]
