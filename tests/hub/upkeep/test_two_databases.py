"""A backup of SQLite is restored into PostgreSQL and back, by the commands themselves, into folders of their own."""

import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
POSTGRES = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
MAKE = "from tests.hub.upkeep.a_hub import make_hub; print(make_hub().secret)"
ASK = """
from tests.hub.api_client import Api
print(Api(secret={secret!r}).get('/repositories/lab/other').status_code)
"""

# A backup as the release of 0003 would have written it: its tables and columns alone.
AS_IT_WAS = """
import hashlib, json, pathlib
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from hub.services.upkeep.backup import digest_of

place = pathlib.Path({place!r})
content = json.loads((place / "manifest.json").read_text())
content["migrations"] = [["hub", "0003_event_keys"] if app == "hub" else [app, m] for app, m in content["migrations"]]
state = MigrationLoader(connection).project_state([tuple(node) for node in content["migrations"]]).apps
known = {{m._meta.label_lower: m for m in state.get_models(include_auto_created=True)}}
content["tables"] = [table for table in content["tables"] if table["model"] in known]
for table in content["tables"]:
    columns = {{field.attname for field in known[table["model"]]._meta.local_concrete_fields}}
    path = place / "tables" / table["file"]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [at for at, name in enumerate(rows[0]) if name in columns]
    path.write_text("".join(json.dumps([row[at] for at in kept]) + chr(10) for row in rows))
    content["files"][f"tables/{{table['file']}}"] = hashlib.sha256(path.read_bytes()).hexdigest()
content["sha256"] = digest_of(content)
(place / "manifest.json").write_text(json.dumps(content))
"""


def manage(data: Path, *command: str, url: str = "", refused: bool = False) -> str:
    """What `manage.py` prints, as a hub of this data folder and database."""
    env = {**os.environ, "HUB_DATA": str(data), "DATABASE_URL": url, "REDIS_URL": "redis://127.0.0.1:1/0"}
    env["DJANGO_SETTINGS_MODULE"] = "hub.settings"
    env.pop("HUB_SECRET_KEY", None)
    run = subprocess.run(
        [sys.executable, "manage.py", *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == int(refused), run.stdout[-2000:] + run.stderr[-2000:]
    return run.stderr if refused else run.stdout


@pytest.fixture
def server():
    """The address of an empty database, dropped at the end."""
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex(("127.0.0.1", 5432)) != 0:
            pytest.skip("no PostgreSQL on 127.0.0.1:5432")
    import psycopg

    name = f"two_{uuid.uuid4().hex[:10]}"
    with psycopg.connect(POSTGRES, autocommit=True) as there:
        there.execute(f"CREATE DATABASE {name}")
    yield f"{POSTGRES.rpartition('/')[0]}/{name}"
    with psycopg.connect(POSTGRES, autocommit=True) as there:
        there.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.slow
def test_there_and_back(tmp_path, server):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    manage(first, "migrate", "-v0")
    secret = manage(first, "shell", "-v0", "-c", MAKE).strip().splitlines()[-1]
    manage(first, "backup", str(tmp_path / "a"), "--with-secrets")
    manage(second, "restore", str(tmp_path / "a"), url=server)
    manage(second, "fsck", url=server)
    assert manage(second, "shell", "-v0", "-c", ASK.format(secret=secret), url=server).strip().endswith("200")
    assert (second / "secret_key").read_text() == (first / "secret_key").read_text()
    manage(second, "shell", "-v0", "-c", "from tests.hub.factories import make_user; make_user('later')", url=server)
    manage(second, "backup", str(tmp_path / "b"), url=server)
    manage(third, "restore", str(tmp_path / "b"))
    assert "No findings" in manage(third, "fsck")
    assert manage(third, "shell", "-v0", "-c", ASK.format(secret=secret)).strip().endswith("200")


@pytest.mark.slow
def test_a_backup_of_an_earlier_release_is_loaded_and_migrated(tmp_path):
    old, behind, new = (tmp_path / name for name in ("old", "behind", "new"))
    manage(old, "migrate", "-v0")
    manage(old, "shell", "-v0", "-c", MAKE)
    manage(old, "backup", str(tmp_path / "a"))
    manage(behind, "migrate", "hub", "0009_upkeep", "-v0")
    manage(behind, "restore", str(tmp_path / "a"))
    assert "No findings" in manage(behind, "fsck"), "the new code finds the tables of the old, and takes them forward"
    (place,) = (tmp_path / "a/snapshots").iterdir()
    manage(old, "shell", "-v0", "-c", AS_IT_WAS.format(place=str(place)))
    assert "oid_key" not in (place / "tables/hub.repository.jsonl").read_text()
    said = manage(old, "restore", str(tmp_path / "a"), "--replace", "--yes", refused=True)
    assert "Give an empty database: a new HUB_DATA" in said and "Traceback" not in said
    assert "No findings" in manage(old, "fsck")
    manage(new, "restore", str(tmp_path / "a"))
    assert "No findings" in manage(new, "fsck")
