"""The soak in its shortest form; `make soak` runs the long one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.checks import grown, unexcused
from tests.soak.site import Fault
from tests.soak.users import Answer

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_two_minutes_of_it_find_nothing(tmp_path):
    command = [sys.executable, "-m", "tests.soak", "--minutes", "2", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "nothing found" in done.stdout


WEB = Fault("web", "killed", 10.0, 14.0)
DATABASE = Fault("database", "connections closed", 10.0, 11.0)
ANSWERS = {
    "a page": (Answer(1, 2, "GET /", 200), [], 0),
    "a refusal": (Answer(1, 2, "GET /", 404), [], 0),
    "our fault": (Answer(11, 12, "GET /", 500), [WEB, DATABASE], 1),
    "none while the web is down": (Answer(11, 12, "GET /", 0), [WEB], 0),
    "none long after": (Answer(60, 61, "GET /", 0), [WEB], 1),
    "none while the database is down": (Answer(11, 12, "GET /", 0), [DATABASE], 1),
    "503 while the database is down": (Answer(11, 12, "GET /", 503), [DATABASE], 0),
    "503 with everything there": (Answer(11, 12, "GET /", 503), [WEB], 1),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_has_an_excuse_or_is_a_finding(case):
    answer, faults, findings = ANSWERS[case]
    assert len(unexcused([answer], faults)) == findings


def test_memory_that_grows_is_a_finding_and_a_little_noise_is_none():
    flat = [(float(n), {"web": 200_000_000 + (n % 3) * 1_000_000}) for n in range(30)]
    leak = [(float(n), {"web": 200_000_000 + n * 4_000_000}) for n in range(30)]
    assert grown(flat)[1] == []
    assert "web grew" in grown(leak)[1][0]
    assert grown([]) == ([], [])
