"""A served hub with the client beside it, a worker without Celery, and what a toy is driven with."""

from types import SimpleNamespace

import pytest
from django.test import Client

from hub import broker
from hub.models import Job
from tests.adding.overlay import laid_over
from tests.hub import factories
from tests.hub.api_client import Api
from tests.hub.conftest import people, store  # noqa: F401  fixtures
from tests.hubctl.conftest import ada, base, folders, hubctl, served, signed_in  # noqa: F401  fixtures
from workers.runner import run
from workers.worker import Worker


@pytest.fixture
def fade():
    """The toy merge, as if it had been added."""
    with laid_over("toy_merge"):
        yield


@pytest.fixture
def scale():
    """The toy kind of job, as if it had been added."""
    with laid_over("toy_kind"):
        yield


@pytest.fixture
def here(served, settings, tmp_path) -> Worker:  # noqa: F811
    """A worker of the served hub, in this process and without Celery."""
    settings.WORKER_CACHE, settings.WORKER_BASES = tmp_path / "cache", str(tmp_path / "bases")
    settings.WORKER_THREADS = 1
    return Worker("here", [broker.CPU])


@pytest.fixture
def work(here):
    """Run a queued job to its end: `work(pk)`; the row as it then is."""

    def work(pk: int) -> Job:
        run(here.claim(pk), here)
        return Job.objects.get(pk=pk)

    return work


@pytest.fixture
def lab(signed_in, base) -> SimpleNamespace:  # noqa: F811
    """`ada`, signed in at all three doors, with the adapters ada/one and ada/two of the pico base."""
    one = factories.make_version(signed_in, "one", base=base, seed=1)
    two = factories.make_version(signed_in, "two", base=base, seed=2, rank=2, targets=("q_proj", "down_proj"))
    pages = Client()
    pages.force_login(signed_in)
    return SimpleNamespace(user=signed_in, one=one, two=two, api=Api(signed_in), pages=pages)
