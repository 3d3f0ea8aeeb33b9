"""Organisations, their members and roles."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.bodies import Body, Text
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.view import View
from hub.api.views.accounts.sign_in import PlaceShape
from hub.models import Role
from hub.services import accounts

TAGS = ["organisations"]


class OrganisationBody(Body):
    """A new organisation."""

    name = Text(max_length=96)
    display_name = Text(max_length=200, default="", allow_blank=True)


class RoleBody(Body):
    """A member's role."""

    role = serializers.ChoiceField(Role.choices)


class MemberShape(serializers.Serializer):
    """A user and their role."""

    username = serializers.CharField(source="user.username")
    role = serializers.CharField()
    created_at = serializers.DateTimeField()


class OrganisationShape(serializers.Serializer):
    """An organisation as its members see it."""

    name = serializers.CharField()
    display_name = serializers.CharField()
    members = MemberShape(many=True)


class Organisations(View):
    """The organisations I belong to."""

    @extend_schema(operation_id="organisations_list", tags=TAGS, responses=paged(PlaceShape))
    def get(self, request):
        mine = queries.memberships(self.viewer).filter(namespace__owner=None)
        return page(request, mine, ("id",), lambda rows: PlaceShape(rows, many=True).data)

    @extend_schema(
        operation_id="organisations_create", tags=TAGS, request=OrganisationBody, responses={201: OrganisationShape}
    )
    def post(self, request):
        made = accounts.create_organisation(actor=self.actor(), **self.read(OrganisationBody))
        return Response(show(made), status=201)


class Organisation(View):
    """One organisation, for its members."""

    @extend_schema(operation_id="organisations_read", tags=TAGS, responses=OrganisationShape)
    def get(self, request, namespace):
        self.actor()
        found = access.namespace(self.viewer, namespace)
        if not queries.memberships(self.viewer).filter(namespace=found).exists():
            raise access.missing(namespace, "namespace")
        return Response(show(found))


class Member(View):
    """One member: an admin sets and removes roles; anyone may leave."""

    scopes = {"PUT": "admin"}

    @extend_schema(operation_id="members_set", tags=TAGS, request=RoleBody, responses=MemberShape)
    def put(self, request, namespace, username):
        place = access.namespace(self.viewer, namespace, "admin")
        user = queries.user(username)
        given = accounts.set_role(actor=self.actor(), namespace=place, user=user, **self.read(RoleBody))
        return Response(MemberShape(given).data)

    @extend_schema(operation_id="members_remove", tags=TAGS, responses={204: None})
    def delete(self, request, namespace, username):
        leaving = username.lower() == self.actor().username.lower()
        place = access.namespace(self.viewer, namespace, "read" if leaving else "admin")
        accounts.remove_member(actor=self.actor(), namespace=place, user=queries.user(username))
        return Response(status=204)


def show(namespace) -> dict:
    """An organisation with its members, admins first."""
    members = namespace.memberships.select_related("user").order_by("role", "user__username")
    return OrganisationShape({"name": namespace.name, "display_name": namespace.display_name, "members": members}).data
