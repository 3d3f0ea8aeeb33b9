"""A hub that is made once a module, and a worker without Celery; no test here is about the broker."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from hub import broker
from tests.hub.upkeep.a_hub import copied, made_once, make_hub
from tests.workers.conftest import one_thread, worker  # noqa: F401


@pytest.fixture(autouse=True)
def no_broker(monkeypatch):
    """Every send fails at once, as with a broker that is away, without its seconds of waiting."""
    monkeypatch.setattr(broker, "send", lambda job_id, queue: False)


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """The hub of `make_hub`, made once."""
    with django_db_blocker.unblock(), made_once(make_hub, tmp_path_factory.mktemp("whole")) as made:
        yield made


@pytest.fixture
def hub(world, store) -> Iterator[SimpleNamespace]:
    """That hub for one test alone: a copy of its bytes, and what is done to its rows is undone."""
    with copied(world, store):
        yield world


@pytest.fixture
def kept(tmp_path) -> Path:
    """A folder for backups."""
    return tmp_path / "backups"
