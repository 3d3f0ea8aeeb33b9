"""The people of the hub's tests, and a worker without Celery."""

from tests.hub.conftest import base, no_earlier_tries, owner, people, repository, store  # noqa: F401
from tests.workers.conftest import broker_away, one_thread, worker  # noqa: F401
