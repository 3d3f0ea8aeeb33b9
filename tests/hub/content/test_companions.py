"""Companions are private unless shown, and hold their bytes as long as they live."""

import io

import pytest

from composition.errors import CompositionError
from hub.errors import Conflict, Invalid
from hub.models import Companion, Event, Visibility
from hub.services import repositories
from hub.services.content import companions
from hub.storage import blobs

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
ROWS = b'{"prompt": "a", "completion": "b"}\n'


def add(owner, repository, data=ROWS, **options):
    named = {"kind": "seeds", "name": "seeds.jsonl", **options}
    return companions.add_companion(actor=owner, repository=repository, stream=io.BytesIO(data), **named)


def test_a_companion_is_private_until_somebody_shows_it(owner, repository):
    companion = add(owner, repository)
    assert (companion.visibility, companion.blob.size) == (Visibility.PRIVATE, len(ROWS))
    assert companion.facts == {"rows": 1, "with_completion": 1}
    assert blobs.open(companion.blob_id).read() == ROWS
    companions.show_companion(actor=owner, companion=companion, visibility="public")
    assert Companion.objects.get().visibility == Visibility.PUBLIC


def test_the_same_name_again_replaces_it_and_is_private_again(owner, repository):
    add(owner, repository, visibility="public")
    add(owner, repository, ROWS * 2)
    companion = Companion.objects.get()
    assert (companion.blob.size, companion.visibility) == (2 * len(ROWS), Visibility.PRIVATE)


@pytest.mark.parametrize(
    "options", [{"kind": "Seeds"}, {"kind": ""}, {"name": "x" * 201 + ".md"}, {"visibility": "secret"}], ids=str
)
def test_wrong_words_are_refused(owner, repository, options):
    with pytest.raises(Invalid):
        add(owner, repository, **options)
    assert not Companion.objects.exists()


@pytest.mark.parametrize(("name", "data"), [("../x.md", b"x"), ("x.pkl", b"x"), ("x.md", b"PK\x03\x04xxxx")])
def test_companions_pass_the_same_door_as_uploads(owner, repository, name, data):
    with pytest.raises(CompositionError):
        add(owner, repository, data, name=name)
    assert not Companion.objects.exists()


def test_the_size_limit_holds_while_bytes_come(owner, repository, settings):
    settings.MAX_FILE_BYTES = 10
    with pytest.raises(Invalid, match="at most 10 bytes"):
        add(owner, repository)
    assert list(blobs.walk()) == []


def test_removing_and_the_trash(owner, repository):
    companion = add(owner, repository)
    companions.remove_companion(actor=owner, companion=companion)
    assert not Companion.objects.exists()
    assert set(Event.objects.values_list("verb", flat=True)) >= {"companion.add", "companion.remove"}
    repositories.delete_repository(actor=owner, repository=repository)
    with pytest.raises(Conflict):
        add(owner, repository)
