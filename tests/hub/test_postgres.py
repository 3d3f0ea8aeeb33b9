"""The same promises on PostgreSQL, where transactions really run side by side."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

POSTGRES = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
HERE = Path(__file__).parent


@pytest.mark.services
@pytest.mark.parametrize("file", ["test_parallel.py", "test_outbox.py", "../attack/test_names_at_once.py"])
def test_side_by_side_on_postgres(file):
    """The file as a run of its own against PostgreSQL, in a database made for it."""
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex(("127.0.0.1", 5432)) != 0:
            pytest.skip("no PostgreSQL on 127.0.0.1:5432")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(HERE / file)],
        env={**os.environ, "DATABASE_URL": POSTGRES},
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
