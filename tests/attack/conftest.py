"""The people of the hub's tests, and a worker without Celery."""

import pytest

from tests.attack.places import make_places
from tests.hub.conftest import base, no_earlier_tries, owner, people, repository, root, store  # noqa: F401
from tests.workers.conftest import broker_away, one_thread, worker  # noqa: F401


@pytest.fixture
def places(people, base):  # noqa: F811
    """Two organisations of one owner, and tokens that are limited to one place of them."""
    return make_places(people, base)
