"""A served hub with the people of `world`, for the client that this environment has."""

from types import SimpleNamespace

import pytest

from tests.clients import world
from tests.hubctl.conftest import served  # noqa: F401


@pytest.fixture
def hub(served):  # noqa: F811
    """`url`, and `tokens`: person → token."""
    return SimpleNamespace(url=served, tokens=world.make_world())
