"""A base belongs to who registered it: nobody else repoints its weights or puts other names on it.

The fault: registering the same name again let any account change where workers load another's base from.
"""

import pytest

from hub.errors import PermissionDenied
from hub.models import BaseModel
from hub.services import bases
from tests.hub import factories

pytestmark = pytest.mark.django_db
FOLDER = {"kind": "folder", "path": "evil/weights"}


@pytest.fixture
def registered(people):
    own = {"source": {"kind": "hf"}, "aliases": ["/models/pico"]}
    base, _ = bases.register_base(actor=people.owner, name="org/pico", config=factories.PICO_CONFIG, **own)
    return base


def again(user, **changes):
    return bases.register_base(actor=user, name="org/pico", config=factories.PICO_CONFIG, **changes)


@pytest.mark.parametrize("changes", [{"source": FOLDER}, {"aliases": ["unsloth/pico"]}])
def test_another_changes_nothing_by_registering_it_again(people, registered, changes):
    with pytest.raises(PermissionDenied) as refusal:
        again(people.stranger, **changes)
    assert refusal.value.code == "base.owner" and "owner" in refusal.value.message
    kept = BaseModel.objects.get(pk=registered.pk)
    assert (kept.source, [row.name for row in kept.aliases.all()]) == ({"kind": "hf"}, ["/models/pico"])


def test_another_may_register_the_same_and_go_on(people, registered):
    base, job = again(people.stranger, source={"kind": "hf"}, aliases=["/models/pico"])
    assert base == registered and job is not None


@pytest.mark.parametrize("who", ["owner", "admin"])
def test_its_owner_and_administrators_may(people, registered, who):
    user = people.owner if who == "owner" else people.stranger
    user.is_staff = who == "admin"
    base, _ = again(user, source=FOLDER, aliases=["unsloth/pico"])
    assert base.source == FOLDER and base.aliases.count() == 2


def test_a_refusal_s_advice_is_followed(people, registered):
    """Under a revision of their own they may say what they like."""
    other, _ = again(people.stranger, revision="mine", source=FOLDER)
    assert other != registered and other.source == FOLDER


def test_a_base_whose_owner_is_gone_is_for_administrators(people, registered):
    BaseModel.objects.filter(pk=registered.pk).update(created_by=None)
    with pytest.raises(PermissionDenied, match="an administrator"):
        again(people.owner, source=FOLDER)
