"""Two hosts that start at the same moment on an empty PostgreSQL database both come up, and beat has one holder."""

import pytest

from tests.hub.starting.hosts import NOBODY, Host, empty_database

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.fixture
def hosts(tmp_path):
    """Two machines of one site."""
    with empty_database() as database:
        store = tmp_path / "store"
        hosts = [Host(tmp_path / name, database, store=store, REDIS_URL=NOBODY) for name in ("one", "two")]
        try:
            yield hosts
        finally:
            for host in hosts:
                host.close()


def test_both_come_up_and_serve_their_static_files(hosts):
    waiting = hosts[1].start("beat")
    for host in hosts:
        host.web()
    for host in hosts:
        host.wait_until(host.ready)
        assert "Traceback" not in host.said()
        assert (host.folder / "static" / "staticfiles.json").exists()
    hosts[1].wait_until(lambda: "does the periodic work" in hosts[1].said())
    assert waiting.poll() is None
    other = Host(hosts[0].folder / "other", hosts[0].environment["DATABASE_URL"], store=hosts[0].folder / "store")
    other.environment["HUB_SECRET_KEY"] = "a key of its own, as a host makes one without the setting"
    refused = other.run("beat")
    assert refused.returncode != 0
    assert "Give every host the same HUB_SECRET_KEY" in refused.stderr
