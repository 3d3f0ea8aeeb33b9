"""A hub served by the front, and by granian's WSGI server, over the database of the tests."""

import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from django.conf import settings
from django.db import connection

from tests.hub.api.test_events import use, valkey  # noqa: F401
from tests.hub.front.wire import granian, served


@pytest.fixture(scope="module")
def servers(django_db_setup, valkey, tmp_path_factory) -> Iterator[SimpleNamespace]:  # noqa: F811
    """Ports: `front`, `wsgi`."""
    here = connection.settings_dict
    database = f"sqlite:///{here['NAME']}"
    if connection.vendor == "postgresql":
        who = f"{here['USER']}:{here['PASSWORD']}@{here['HOST']}:{here['PORT'] or 5432}"
        database = f"postgres://{who}/{here['NAME']}"
    environment = os.environ | {
        "DATABASE_URL": database,
        "DJANGO_SETTINGS_MODULE": "tests.hub.front.settings",
        "HUB_DATA": str(settings.HUB_DATA),
        "HUB_SECRET_KEY": settings.SECRET_KEY,
        "REDIS_URL": valkey,
    }
    folder = tmp_path_factory.mktemp("servers")
    front = granian("hub.asgi:application", "asgi", "--http", "1")
    with (
        served(front, environment, folder / "front.log") as port,
        served(granian("hub.wsgi:application", "wsgi"), environment, folder / "wsgi.log") as other,
    ):
        yield SimpleNamespace(front=port, wsgi=other)


@pytest.fixture
def hub(servers, transactional_db, settings, valkey) -> Iterator[SimpleNamespace]:  # noqa: F811
    """The servers, with an empty database and the tests' own words to their broker."""
    before = settings.REDIS_URL
    use(settings, valkey)
    yield servers
    use(settings, before)
