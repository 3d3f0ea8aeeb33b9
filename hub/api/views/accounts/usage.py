"""What a namespace and I have used of our limits."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.view import View

TAGS = ["usage"]


class UsedShape(serializers.Serializer):
    """One limit. It is refused as `quota.NAME` when it would be exceeded."""

    name = serializers.CharField()
    label = serializers.CharField()
    unit = serializers.SerializerMethodField(help_text="bytes or count")
    used = serializers.IntegerField(allow_null=True, help_text="null where the limit is for each single revision")
    limit = serializers.IntegerField(help_text="0 is no limit")

    def get_unit(self, row) -> str:
        return "bytes" if row.bytes else "count"


class UsageShape(serializers.Serializer):
    """Whose limits, and each with what is used of it."""

    name = serializers.CharField(help_text="of the namespace or user")
    limits = UsedShape(many=True)


class NamespaceUsage(View):
    """A namespace's store, repositories and companions, for its members and administrators of the site."""

    @extend_schema(operation_id="namespaces_usage", tags=TAGS, responses=UsageShape)
    def get(self, request, namespace):
        found = access.member_of(self.viewer, namespace)
        return Response(UsageShape({"name": found.name, "limits": queries.usage(found)}).data)


class MyUsage(View):
    """My jobs, uploads, organisations and tokens."""

    @extend_schema(operation_id="me_usage", tags=TAGS, responses=UsageShape)
    def get(self, request):
        user = self.actor()
        return Response(UsageShape({"name": user.username, "limits": queries.usage(user)}).data)
