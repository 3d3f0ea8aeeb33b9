"""Every version of the clients, against one hub that granian serves as `make up` does: `make test-clients`.

What came of it is kept in `build/clients/results.json`, and `tests.clients.table` makes the docs' table of it.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.clients import driving, environments, snippets, table
from tests.hub.front.wire import granian, served

pytestmark = pytest.mark.clients
JOURNEYS = ["hub_client", "command_line", "adapters", "rows"]
CLIENTS = [("2.4.0", True), ("2.4.0", False), ("1.9.0", True), ("0.36.0", True), ("0.26.5", True)]
NAMES = [f"{version}{'' if xet else ' without Xet'}" for version, xet in CLIENTS]


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """The hub's address and the tokens of its people."""
    folder = tmp_path_factory.mktemp("hub")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HUB", "DJANGO", "DATABASE"))}
    kept |= {"HUB_DATA": str(folder), "DJANGO_SETTINGS_MODULE": "hub.settings", "HUB_WEB_PER_ADDRESS": "1000"}
    kept |= {"REDIS_URL": "redis://127.0.0.1:1/0", "HUB_SECRET_KEY": "only for this test, and as long as it must be"}
    for command in (["manage.py", "migrate", "-v0"], ["manage.py", "collectstatic", "--noinput", "-v0"]):
        subprocess.run([sys.executable, *command], env=kept, cwd=driving.ROOT, check=True, capture_output=True)
    world = [sys.executable, "-m", "tests.clients.world"]
    made = subprocess.run(world, env=kept, cwd=driving.ROOT, check=True, capture_output=True, text=True)
    with served(granian("hub.asgi:application", "asgi", "--http", "1"), kept, folder / "log") as port:
        yield f"http://127.0.0.1:{port}", json.loads(made.stdout)


@pytest.fixture(scope="session", autouse=True)
def results():
    """Client → call → its row; written down at the end."""
    found: dict[str, dict[str, dict]] = {}
    yield found
    table.keep(found)


@pytest.mark.parametrize("journey", JOURNEYS)
@pytest.mark.parametrize(("version", "xet"), CLIENTS, ids=NAMES)
def test_a_client_does_all_that_it_can(hub, results, tmp_path, version, xet, journey):
    url, tokens = hub
    client = NAMES[CLIENTS.index((version, xet))]
    rows = driving.run(
        journey,
        url=url,
        home=tmp_path,
        python=environments.python_of(version),
        xet=xet,
        signed_in=journey in ("adapters", "rows"),
        name=f"by-{version}-{'xet' if xet else 'lfs'}".replace(".", "-"),
        wide=True,
        **tokens,
    )
    results.setdefault(client, {}).update({row["call"]: row for row in rows})
    assert not driving.failures(rows), driving.failures(rows)


def test_every_snippet_of_the_page_runs(hub, tmp_path):
    url, tokens = hub
    given = {"blocks": snippets.blocks(url, tokens), "commands": snippets.COMMANDS, **tokens}
    python = environments.python_of("2.4.0")
    rows = driving.run("page", url=url, home=tmp_path, python=python, signed_in=False, **given)
    assert {row["result"] for row in rows} == {"yes"}, driving.failures(rows)
