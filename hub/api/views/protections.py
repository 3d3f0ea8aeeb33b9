"""Protected refs, of a repository or a namespace, and the history of a ref."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.view import View
from hub.models import ProtectedRef, RefMove
from hub.services import protections

TAGS = ["refs"]


class ProtectionShape(serializers.ModelSerializer):
    """A rule: refs of these names are created, moved and deleted by admins only."""

    namespace = serializers.CharField(source="namespace.name", default=None, allow_null=True)
    repository = serializers.CharField(source="repository.path", default=None, allow_null=True)
    created_by = serializers.CharField(source="created_by.username", default=None, allow_null=True)

    class Meta:
        model = ProtectedRef
        fields = ("pattern", "namespace", "repository", "created_by", "created_at")


class MoveShape(serializers.ModelSerializer):
    """One step of a ref; `before` empty: it was made, `after` empty: it was deleted."""

    actor = serializers.CharField(source="actor.username", default=None, allow_null=True)
    before_version = serializers.CharField(source="before_label", allow_null=True, help_text="vN")
    after_version = serializers.CharField(source="after_label", allow_null=True, help_text="vN")

    class Meta:
        model = RefMove
        fields = ("name", "kind", "before", "before_version", "after", "after_version", "actor", "created_at")


class OfRepository:
    """The rules of a repository."""

    def place(self, where, need):
        """The repository that the address names, if the viewer may do that with it."""
        return access.repository(self.viewer, where["namespace"], where["name"], need)


class Protections(OfRepository, View):
    """The rules that hold in a repository, its namespace's among them."""

    @extend_schema(operation_id="protections_list", tags=TAGS, responses=paged(ProtectionShape))
    def get(self, request, **where):
        found = queries.protections(self.place(where, "read"))
        return page(request, found, ("id",), lambda rows: ProtectionShape(rows, many=True).data)


class Protection(OfRepository, View):
    """One rule, by its pattern: a name, or with * for any characters."""

    scopes = {"PUT": "admin", "DELETE": "admin"}

    @extend_schema(operation_id="protections_set", tags=TAGS, request=None, responses=ProtectionShape)
    def put(self, request, pattern, **where):
        place = self.place(where, "admin")
        rule = protections.protect(actor=self.actor(), place=place, pattern=pattern)
        return Response(ProtectionShape(rule).data)

    @extend_schema(operation_id="protections_remove", tags=TAGS, responses={204: None})
    def delete(self, request, pattern, **where):
        place = self.place(where, "admin")
        protections.unprotect(actor=self.actor(), place=place, pattern=pattern)
        return Response(status=204)


class OfNamespace:
    """Those of a namespace, for all its repositories."""

    def place(self, where, need):
        """The namespace, for its members, or its admins."""
        self.actor()
        found = access.namespace(self.viewer, where["namespace"], need)
        if not queries.memberships(self.viewer).filter(namespace=found).exists():
            raise access.missing(where["namespace"], "namespace")
        return found


class NamespaceProtections(OfNamespace, Protections):
    """The rules of a namespace, for its members."""

    @extend_schema(operation_id="namespaces_protections_list", tags=TAGS, responses=paged(ProtectionShape))
    def get(self, request, **where):
        return super().get(request, **where)


class NamespaceProtection(OfNamespace, Protection):
    """One rule of a namespace: it holds in all its repositories."""

    @extend_schema(operation_id="namespaces_protections_set", tags=TAGS, request=None, responses=ProtectionShape)
    def put(self, request, pattern, **where):
        return super().put(request, pattern, **where)

    @extend_schema(operation_id="namespaces_protections_remove", tags=TAGS, responses={204: None})
    def delete(self, request, pattern, **where):
        return super().delete(request, pattern, **where)


class History(View):
    """Where a branch or a tag has been, newest first."""

    @extend_schema(operation_id="refs_history", tags=TAGS, responses=paged(MoveShape))
    def get(self, request, namespace, name, ref):
        found = queries.ref_history(access.repository(self.viewer, namespace, name), ref)
        return page(request, found, ("-id",), lambda rows: MoveShape(rows, many=True).data)
