"""Limits of one namespace or one user that differ from the settings'."""

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from hub.api.bodies import Object
from hub.api.views.accounts.usage import UsageShape
from hub.api.views.admin.view import TAGS, AdminView, ReasonBody
from hub.queries import administration as queries
from hub.services import administration


class QuotaBody(ReasonBody):
    """`limits` is {name: number}; 0 is no limit, null takes the settings' again."""

    limits = Object()


class NamespaceQuota(AdminView):
    """A namespace's limits with what is used of each."""

    @extend_schema(operation_id="admin_namespaces_quota", tags=TAGS, responses=UsageShape)
    def get(self, request, name):
        return Response(self.shown(name))

    @extend_schema(operation_id="admin_namespaces_quota_set", tags=TAGS, request=QuotaBody, responses=UsageShape)
    def patch(self, request, name):
        subject = self.subject(name)
        administration.set_limits(actor=self.actor(), subject=subject, **self.read(QuotaBody))
        return Response(self.shown(name))

    def subject(self, name):
        """The namespace."""
        return queries.any_namespace(self.viewer, name)

    def shown(self, name) -> dict:
        """The limits as they are now."""
        return UsageShape({"name": name, "limits": queries.limits(self.viewer, self.subject(name))}).data


class UserQuota(NamespaceQuota):
    """A user's limits with what is used of each."""

    @extend_schema(operation_id="admin_users_quota", tags=TAGS, responses=UsageShape)
    def get(self, request, name):
        return super().get(request, name)

    @extend_schema(operation_id="admin_users_quota_set", tags=TAGS, request=QuotaBody, responses=UsageShape)
    def patch(self, request, name):
        return super().patch(request, name)

    def subject(self, name):
        """The user."""
        return queries.any_user(self.viewer, name)
