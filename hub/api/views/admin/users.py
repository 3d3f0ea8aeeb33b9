"""Accounts: all of them, suspended or made administrators, with links that set a new password."""

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub.api.bodies import Body, Text
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.views.admin.view import TAGS, AdminView, ReasonBody
from hub.models import User
from hub.queries import administration as queries
from hub.services import administration


class UsersQuery(Body):
    """Words of name or mail, and a state."""

    search = Text(max_length=200, default="", allow_blank=True)
    state = serializers.ChoiceField(list(queries.USER_STATES), default="", allow_blank=True)
    limit = Text(required=False)
    cursor = Text(required=False)


class AccountBody(ReasonBody):
    """What to change of an account."""

    active = serializers.BooleanField(required=False, help_text="false suspends: tokens, sessions and jobs end")
    administrator = serializers.BooleanField(required=False)


class AnyAccountShape(serializers.ModelSerializer):
    """An account as administrators see it."""

    active = serializers.BooleanField(source="is_active")
    administrator = serializers.BooleanField(source="is_staff")
    repositories = serializers.IntegerField(help_text="in the account's own namespace")
    jobs_open = serializers.IntegerField()

    class Meta:
        model = User
        fields = ("id", "username", "email", "active", "administrator", "repositories", "jobs_open")
        fields += ("date_joined", "last_login")


class LinkShape(serializers.Serializer):
    """A link with which the user sets a new password, once; shown this once."""

    url = serializers.URLField()
    valid_seconds = serializers.IntegerField()


class Users(AdminView):
    """All accounts, the oldest first."""

    @extend_schema(
        operation_id="admin_users_list", tags=TAGS, parameters=[UsersQuery], responses=paged(AnyAccountShape)
    )
    def get(self, request):
        wanted = self.query(UsersQuery)
        found = queries.users(self.viewer, search=wanted["search"], state=wanted["state"])
        return page(request, found, ("id",), lambda rows: AnyAccountShape(rows, many=True).data)


class OneUser(AdminView):
    """One account."""

    @extend_schema(operation_id="admin_users_read", tags=TAGS, responses=AnyAccountShape)
    def get(self, request, username):
        return Response(AnyAccountShape(queries.any_user(self.viewer, username)).data)

    @extend_schema(operation_id="admin_users_change", tags=TAGS, request=AccountBody, responses=AnyAccountShape)
    def patch(self, request, username):
        user, wanted = queries.any_user(self.viewer, username), self.read(AccountBody)
        administration.change_account(actor=self.actor(), user=user, **wanted)
        return Response(AnyAccountShape(queries.any_user(self.viewer, username)).data)


class PasswordLink(AdminView):
    """A link for an account whose password is lost. The old one goes on until the link is used."""

    @extend_schema(operation_id="admin_users_password_link", tags=TAGS, request=ReasonBody, responses={201: LinkShape})
    def post(self, request, username):
        user, wanted = queries.any_user(self.viewer, username), self.read(ReasonBody)
        url = administration.reset_link(actor=self.actor(), user=user, **wanted)
        answer = Response(
            {"url": request.build_absolute_uri(url), "valid_seconds": settings.PASSWORD_RESET_TIMEOUT}, status=201
        )
        answer["Cache-Control"] = "no-store"
        return answer
