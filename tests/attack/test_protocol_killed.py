"""A server that is killed (`kill -9`) while it takes commits: no half version, nothing lost that was answered, a whole
store, and the commit that got no answer goes through when it is sent again.
"""

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection

from hub.runtime.valkey import free_port
from hub.services import tokens
from tests.hub import factories
from tests.hub.front.wire import ROOT, answers, granian
from tests.hub.hf.wire import body, put

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
ROUNDS = 5
HERE = "/api/models/lab/sentiment"


class Killed:
    """A hub of its own in a folder, that is started and killed."""

    def __init__(self, folder: Path, secret: str) -> None:
        self.folder, self.secret, self.port, self.process = folder, secret, 0, None
        self.environment = os.environ | {
            "DATABASE_URL": f"sqlite:///{folder / 'hub.sqlite3'}",
            "DJANGO_SETTINGS_MODULE": "tests.hub.front.settings",
            "HUB_DATA": str(folder),
            "HUB_SECRET_KEY": django_settings.SECRET_KEY,
            "REDIS_URL": "redis://127.0.0.1:1/0",
        }

    def start(self) -> None:
        self.port = free_port("127.0.0.1")
        command = granian("hub.asgi:application", "asgi")(self.port)
        with (self.folder / "log").open("ab") as out:
            self.process = subprocess.Popen(
                command, env=self.environment, cwd=ROOT, stdout=out, stderr=out, start_new_session=True
            )
        until = time.monotonic() + 60
        while not answers(self.port):
            assert time.monotonic() < until, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.1)

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)

    def ask(self, method: str, path: str, data: bytes = b"") -> tuple[int, dict]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as line:
            line.request(method, path, data or None, {"Authorization": f"Bearer {self.secret}"})
            answer = line.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")

    def manage(self, *words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "manage.py", *words]
        return subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def killed(people, repository, base, store, settings, tmp_path):
    if connection.vendor != "sqlite":
        pytest.skip("the hub that is killed has a copy of this database's file")
    _, secret = tokens.create_token(actor=people.member, name="t", scopes=["read", "write"])
    folder = tmp_path / "there"
    folder.mkdir()
    there = folder / "hub.sqlite3"
    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as old, closing(sqlite3.connect(there)) as new:
        old.backup(new)
    if Path(settings.STORAGES["blobs"]["OPTIONS"]["location"]).is_dir():
        shutil.copytree(settings.STORAGES["blobs"]["OPTIONS"]["location"], folder / "blobs")
    hub = Killed(folder, secret)
    yield hub
    hub.kill()


def commit_of(number: int) -> bytes:
    """A whole adapter of other weights, with the number in a file."""
    files = factories.adapter_files(seed=number) | {"number.txt": str(number).encode(), "more.txt": b"x" * 200_000}
    return body(*(put(path, data) for path, data in files.items()), summary=f"number {number}")


def test_a_killed_server_has_lost_nothing_and_made_nothing_by_half(killed):
    made: dict[int, str] = {}
    number = 0
    for round_ in range(ROUNDS):
        killed.start()
        wait = random.Random(round_).uniform(0.3, 2.0)
        timer = threading.Timer(wait, killed.kill)
        timer.start()
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            while True:
                status, said = killed.ask("POST", f"{HERE}/commit/main", commit_of(number))
                assert status == 200, said
                made[number] = said["commitOid"]
                number += 1
        timer.join()
    assert number, "no commit was answered in any round"
    killed.start()
    status, said = killed.ask("POST", f"{HERE}/commit/main", commit_of(number))
    assert status == 200, said
    made[number] = said["commitOid"]
    status, commits = killed.ask("GET", f"{HERE}/commits/main?limit=1000")
    titles = [row["title"] for row in reversed(commits)]
    assert titles == [f"number {n}" for n in range(number + 1)]
    assert [row["id"] for row in reversed(commits)] == list(made.values())
    _, refs = killed.ask("GET", f"{HERE}/refs")
    assert len([tag for tag in refs["tags"] if tag["name"].startswith("v")]) == number + 1
    found = killed.manage("fsck")
    assert found.returncode == 0, found.stdout + found.stderr
