"""`hubctl pulls` against a live server: list, show, merge, close."""

import json

import pytest

from hub.models import Repository
from hub.services.sharing import pulls
from tests.hub import factories

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def proposed(signed_in, ada, base) -> str:
    """`ada/sums`, for which `eve` proposes a card."""
    factories.make_version(ada, "sums")
    eve, repository = factories.make_user("eve"), Repository.objects.get()
    pulls.propose(actor=eve, repository=repository, title="A card", files=factories.store({"README.md": b"# Sums\n"}))
    return repository.full_name


def test_list_show_and_merge(hubctl, proposed):
    assert "A card" in hubctl("pulls", "list", proposed).out
    shown = hubctl("pulls", "show", proposed, "1").out
    assert "README.md" in shown
    assert "added" in shown
    assert "eve" in shown
    assert "merged as v1" in hubctl("pulls", "merge", proposed, "1").out
    assert json.loads(hubctl("pulls", "list", proposed, "--json").out) == []
    assert "A card" in hubctl("pulls", "list", proposed, "--state", "merged").out


def test_close_and_reopen(hubctl, proposed):
    assert "is closed" in hubctl("pulls", "close", proposed, "1").out
    refused = hubctl("pulls", "merge", proposed, "1")
    assert (refused.code != 0, "pull.not_open" in refused.err) == (True, True)
    assert "is open" in hubctl("pulls", "close", proposed, "1", "--reopen").out
