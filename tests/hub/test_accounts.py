"""People, organisations, tokens, names: what is refused, and with which words."""

from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import Conflict, Invalid, NotFound, PermissionDenied
from hub.models import Event, Repository, Role, Token, Visibility
from hub.names import check_namespace, check_ref, check_repository
from hub.services import accounts, refs, repositories, tokens
from tests.hub import factories


@pytest.mark.parametrize(
    "name", ["", "-a", ".a", "a--b", "a..b", "a.git", "a/b", "ä", "a" * 97, "a b", "a.", "a\n", "a\x00b"]
)
def test_names_that_break_urls_or_folders_are_refused(name):
    for check in (check_namespace, check_repository):
        with pytest.raises(Invalid):
            check(name)


@pytest.mark.parametrize("name", ["api", "Static", "spaces", "v1"])
def test_the_sites_own_first_segments_are_no_namespaces(name):
    with pytest.raises(Invalid, match="reserved"):
        check_namespace(name)


@pytest.mark.parametrize("name", ["x.v1", "x.V12", "a.b.v3"])
def test_names_that_end_like_a_version_are_reserved(name):
    with pytest.raises(Invalid, match="reserved for versions"):
        check_repository(name)
    assert check_repository("x.v") and check_repository("v1")


@pytest.mark.parametrize("name", ["latest", "v1", "v20", "a" * 40, "a..b", "a//b", "/a", "a/", "b.lock", "ä", ""])
def test_refs_that_mean_something_else_are_refused(name):
    with pytest.raises(Invalid):
        check_ref(name)


@given(st.text(max_size=120))
def test_any_text_is_a_name_or_a_clear_refusal(text):
    for check in (check_namespace, check_repository, check_ref):
        try:
            assert check(text) == text
        except Invalid as refusal:
            assert refusal.code == "invalid" and refusal.message


@pytest.mark.django_db
class TestAccounts:
    def test_a_name_is_taken_whatever_its_case_and_kind(self, people):
        for taken in ("Owner", "LAB"):
            with pytest.raises(Conflict, match="taken"):
                accounts.create_user(username=taken, password=factories.PASSWORD)
            with pytest.raises(Conflict, match="taken"):
                accounts.create_organisation(actor=people.owner, name=taken)

    def test_a_weak_password_is_refused_and_leaves_nobody(self):
        with pytest.raises(Invalid, match="too short"):
            accounts.create_user(username="weak", password="abc")
        accounts.create_user(username="weak", password=factories.PASSWORD)

    def test_the_last_admin_stays(self, people):
        with pytest.raises(Conflict, match="last admin"):
            accounts.remove_member(actor=people.owner, namespace=people.lab, user=people.owner)
        with pytest.raises(Conflict, match="last admin"):
            accounts.set_role(actor=people.owner, namespace=people.lab, user=people.owner, role=Role.READER)
        accounts.set_role(actor=people.owner, namespace=people.lab, user=people.member, role=Role.ADMIN)
        accounts.remove_member(actor=people.member, namespace=people.lab, user=people.owner)
        assert not people.lab.memberships.filter(user=people.owner).exists()

    def test_every_write_leaves_an_audit_line(self, people):
        verbs = set(Event.objects.values_list("verb", flat=True))
        assert {"user.create", "organisation.create", "member.set"} <= verbs


@pytest.mark.django_db
class TestTokens:
    def test_a_secret_is_not_stored_and_finds_its_token(self, owner):
        token, secret = tokens.create_token(actor=owner, name="ci", scopes=["read"])
        assert secret.startswith("ah_") and secret not in str(Token.objects.filter(pk=token.pk).values())
        assert tokens.token_user(secret) == token
        assert tokens.token_user(secret + "x") is None

    def test_revoked_expired_and_inactive_are_dead(self, owner):
        token, secret = tokens.create_token(actor=owner, name="ci")
        Token.objects.filter(pk=token.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
        assert tokens.token_user(secret) is None
        Token.objects.filter(pk=token.pk).update(expires_at=None)
        assert tokens.token_user(secret) == token
        owner.is_active = False
        owner.save()
        assert tokens.token_user(secret) is None
        owner.is_active = True
        owner.save()
        tokens.revoke_token(actor=owner, token=token)
        assert tokens.token_user(secret) is None

    @pytest.mark.parametrize(
        ("field", "values"),
        [
            ("scopes", {"scopes": ["root"]}),
            ("scopes", {"scopes": []}),
            ("expires_in_days", {"expires_in_days": 0}),
            ("expires_in_days", {"expires_in_days": 9999}),
            ("name", {"name": " "}),
        ],
    )
    def test_refusals_name_the_field(self, owner, field, values):
        with pytest.raises(Invalid) as refusal:
            tokens.create_token(actor=owner, **{"name": "x", **values})
        assert refusal.value.facts["field"] == field


@pytest.mark.django_db
class TestRepositories:
    def test_a_child_of_a_private_adapter_is_widened_only_by_that_adapters_admin(self, people, base):
        parent = factories.make_repository(people.owner, "parent", namespace=people.lab, visibility=Visibility.PRIVATE)
        made = factories.publish(people.owner, parent, factories.adapter_files(), base=base)
        child = factories.make_repository(people.member, "child")
        factories.publish(people.member, child, factories.adapter_files(seed=7), base=base, parents=[made.version])
        child.refresh_from_db()
        assert child.visibility == Visibility.PRIVATE
        with pytest.raises(PermissionDenied, match="lab/parent"):
            repositories.update_repository(actor=people.member, repository=child, visibility=Visibility.PUBLIC)
        accounts.set_role(actor=people.owner, namespace=people.lab, user=people.member, role="admin")
        repositories.update_repository(actor=people.member, repository=child, visibility=Visibility.PUBLIC)

    def test_a_change_writes_nothing_else_back(self, people, repository):
        """A writer read the row while it was public; then an admin closed it."""
        stale = Repository.objects.get(pk=repository.pk)
        Repository.objects.filter(pk=repository.pk).update(visibility=Visibility.PRIVATE)
        repositories.update_repository(actor=people.member, repository=stale, description="new")
        with pytest.raises(PermissionDenied, match="admins of lab"):
            repositories.update_repository(actor=people.member, repository=stale, visibility=Visibility.PUBLIC)
        repository.refresh_from_db()
        assert (repository.visibility, repository.description) == (Visibility.PRIVATE, "new")

    def test_a_tag_moves_and_goes_but_never_over_a_branch(self, people, repository, base):
        first = factories.publish(people.owner, repository, factories.adapter_files(seed=1), base=base)
        second = factories.publish(people.owner, repository, factories.adapter_files(seed=2), base=base)
        for pushed in (first, second):
            tag = refs.set_tag(actor=people.owner, repository=repository, name="best", revision=pushed.revision)
            assert tag.revision == pushed.revision
        with pytest.raises(Conflict, match="branch"):
            refs.set_tag(actor=people.owner, repository=repository, name="main", revision=first.revision)
        refs.delete_tag(actor=people.owner, repository=repository, name="best")
        with pytest.raises(NotFound):
            refs.delete_tag(actor=people.owner, repository=repository, name="best")
