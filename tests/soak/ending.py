"""The end of a test under faults: the wait for the last jobs, and the looks at database and store."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from hubctl.client import Hub
from tests.soak.site import ROOT
from tests.soak.users import PASSWORD

SECONDS_TO_QUIET = 240.0


def still(url: str, users: Sequence[str]) -> list[str]:
    """Wait until no job is left to do; what hinders that is found later in the database."""
    hub, end = Hub(url), time.monotonic() + SECONDS_TO_QUIET
    while time.monotonic() < end:
        try:
            busy = 0
            for name in users:
                hub.sign_in(name, PASSWORD)
                busy += sum(len(hub.jobs(state, limit=200)) for state in ("queued", "loading", "running", "saving"))
            if not busy:
                return []
        except Exception as error:
            print(f"not quiet yet: {error}", flush=True)
        time.sleep(1)
    return [f"jobs were left after {SECONDS_TO_QUIET:.0f} s without a fault"]


def checked(environment: Mapping[str, str]) -> dict:
    """What is found in database and store, by a process with the hub's settings."""
    environment = {**environment, "DJANGO_SETTINGS_MODULE": "hub.settings"}
    command = [sys.executable, "-m", "tests.soak.checks"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode:
        return {"found": [f"the checks failed: {done.stderr[-2000:]}"], "counts": {}}
    return json.loads(done.stdout)


def fsck(site) -> list[str]:
    """What `manage.py fsck` says of a site whose commands `site.manage` runs."""
    done = site.manage("fsck", timeout=600)
    return [] if done.returncode == 0 else [f"fsck: {(done.stdout + done.stderr)[-2000:]}"]
