"""The same promises on PostgreSQL, where transactions really run side by side."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

POSTGRES = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
TESTS = Path(__file__).parents[1]


FILES = (
    "hub/finding/test_search.py",
    "hub/test_parallel.py",
    "hub/test_outbox.py",
    "hub/starting/test_start.py",
    "attack/test_names_at_once.py",
    "attack/test_gone_at_once.py",
    "workers/test_dead_database.py",
)
MORE = (
    "attack/test_protocol_at_once.py",
    "attack/test_uploads.py",
    "hub/content/staged/test_any_host.py",
    "hub/finding/test_counts.py",
    "hub/jobs/test_reaper.py",
    "hub/jobs/test_shares.py",
)


@pytest.mark.services
@pytest.mark.parametrize("files", [FILES, pytest.param(MORE, marks=pytest.mark.slow)], ids=["files", "more"])
def test_side_by_side_on_postgres(files):
    """The files in a run of their own against PostgreSQL, in one database made for them."""
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex(("127.0.0.1", 5432)) != 0:
            pytest.skip("no PostgreSQL on 127.0.0.1:5432")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *(str(TESTS / file) for file in files)],
        env={**os.environ, "DATABASE_URL": POSTGRES},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
