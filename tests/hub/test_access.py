"""Who may see and do what: roles, scopes, private and deleted repositories, and the one sentence for the invisible."""

import pytest

from hub import access
from hub.access import ANONYMOUS, Viewer
from hub.errors import NotFound, NotSignedIn, PermissionDenied
from hub.models import Repository, Visibility
from hub.services import refs, repositories
from tests.hub import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def private(people):
    return factories.make_repository(people.owner, "secret", namespace=people.lab, visibility=Visibility.PRIVATE)


def level(viewer, repository):
    """The widest need the viewer has on the repository, or None."""
    widest = None
    for need in ("read", "write", "admin"):
        try:
            access.repository(viewer, repository.namespace.name, repository.name, need)
            widest = need
        except (NotFound, NotSignedIn, PermissionDenied):
            break
    return widest


@pytest.mark.parametrize(
    ("who", "on_public", "on_private"),
    [
        ("owner", "admin", "admin"),
        ("member", "write", "write"),
        ("reader", "read", "read"),
        ("stranger", "read", None),
        (None, "read", None),
    ],
)
def test_roles(people, repository, private, who, on_public, on_private):
    viewer = Viewer(user=getattr(people, who)) if who else ANONYMOUS
    assert level(viewer, repository) == on_public
    assert level(viewer, private) == on_private
    assert private in Repository.objects.filter(access.visible(viewer)) or on_private is None


@pytest.mark.parametrize(
    ("scopes", "on_public", "on_private"),
    [({"read"}, "read", "read"), ({"write"}, "write", "write"), ({"admin"}, "admin", "admin"), (set(), "read", None)],
)
def test_a_token_narrows_its_users_role(people, repository, private, scopes, on_public, on_private):
    viewer = Viewer(user=people.owner, scopes=frozenset(scopes))
    assert level(viewer, repository) == on_public
    assert level(viewer, private) == on_private
    assert (private in Repository.objects.filter(access.visible(viewer))) == (on_private is not None)


def test_invisible_and_missing_read_the_same(people, private):
    viewer = Viewer(user=people.stranger)
    with pytest.raises(NotFound) as hidden:
        access.repository(viewer, "lab", "secret")
    with pytest.raises(NotFound) as absent:
        access.repository(viewer, "lab", "nothing")
    assert hidden.value.message.replace("secret", "nothing") == absent.value.message


def test_writing_to_what_is_invisible_is_not_found_and_to_what_is_visible_denied(people, repository, private):
    viewer = Viewer(user=people.stranger)
    with pytest.raises(NotFound):
        access.repository(viewer, "lab", "secret", "write")
    with pytest.raises(PermissionDenied):
        access.repository(viewer, "lab", repository.name, "write")
    with pytest.raises(NotSignedIn):
        access.repository(ANONYMOUS, "lab", repository.name, "write")


def test_deleted_is_gone_for_all_and_in_the_trash_for_admins(people, repository):
    repositories.delete_repository(actor=people.owner, repository=repository)
    for who in (people.owner, people.stranger):
        with pytest.raises(NotFound):
            access.repository(Viewer(user=who), "lab", repository.name)
    assert access.repository(Viewer(user=people.owner), "lab", repository.name, deleted=True) == repository
    for who in (people.member, people.stranger):
        with pytest.raises(NotFound):
            access.repository(Viewer(user=who), "lab", repository.name, deleted=True)
    repositories.restore_repository(actor=people.owner, repository=repository)
    assert access.repository(ANONYMOUS, "lab", repository.name) == repository


def test_every_name_of_a_revision_resolves_to_it(people, repository, base):
    pushed = factories.publish(people.owner, repository, factories.adapter_files(), base=base)
    refs.set_tag(actor=people.owner, repository=repository, name="best", revision=pushed.revision)
    for name in (None, "main", "v1", "latest", "best", pushed.revision.oid):
        assert access.resolve(repository, name) == pushed.revision
    for name in ("v2", "worst", "0" * 40):
        with pytest.raises(NotFound, match="nothing named"):
            access.resolve(repository, name)


def test_an_empty_repository_says_that_nothing_was_pushed(repository):
    with pytest.raises(NotFound, match="nothing has been pushed"):
        access.resolve(repository)


def test_a_base_is_found_by_name_and_alias(base):
    base.aliases.create(name="tools/write-this")
    assert access.base("PICO/llama") == base
    assert access.base("tools/write-this") == base
    with pytest.raises(NotFound, match="hubctl base add"):
        access.base("no/base")
