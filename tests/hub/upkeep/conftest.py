"""A worker without Celery, for jobs that run after a restore; no test here is about the broker."""

import pytest

from hub import broker
from tests.workers.conftest import one_thread, worker  # noqa: F401


@pytest.fixture(autouse=True)
def no_broker(monkeypatch):
    """Every send fails at once, as with a broker that is away, without its seconds of waiting."""
    monkeypatch.setattr(broker, "send", lambda job_id, queue: False)
