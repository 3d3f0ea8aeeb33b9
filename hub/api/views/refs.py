"""Refs: branches, tags and `latest`; tags are set, moved and removed."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.bodies import Body, Text
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.view import View
from hub.models import Ref
from hub.services import refs

TAGS = ["refs"]


class TagBody(Body):
    """What the tag will point at."""

    ref = Text(max_length=200, help_text="vN, a branch, a tag, latest, or a revision id")


class RefShape(serializers.ModelSerializer):
    """A name and what it points at."""

    revision = serializers.CharField(source="revision.oid")
    version = serializers.CharField(source="revision.version.label", default=None, allow_null=True)

    class Meta:
        model = Ref
        fields = ("name", "kind", "revision", "version", "updated_at")


class Refs(View):
    """All refs of a repository, by name."""

    @extend_schema(operation_id="refs_list", tags=TAGS, responses=paged(RefShape))
    def get(self, request, namespace, name):
        found = queries.refs(access.repository(self.viewer, namespace, name))
        return page(request, found, ("name",), lambda rows: RefShape(rows, many=True).data)


class Tag(View):
    """One tag."""

    @extend_schema(operation_id="tags_set", tags=TAGS, request=TagBody, responses=RefShape)
    def put(self, request, namespace, name, tag):
        repository = access.repository(self.viewer, namespace, name, "write")
        revision = access.resolve(repository, self.read(TagBody)["ref"])
        placed = refs.set_tag(**self.asked(repository, tag), revision=revision)
        return Response(RefShape(placed).data)

    @extend_schema(operation_id="tags_delete", tags=TAGS, responses={204: None})
    def delete(self, request, namespace, name, tag):
        repository = access.repository(self.viewer, namespace, name, "write")
        refs.delete_tag(**self.asked(repository, tag))
        return Response(status=204)

    def asked(self, repository, tag) -> dict:
        """Who asks for which tag, and whether they may where it is protected."""
        may_protected = access.may(self.viewer, repository, "admin")
        return {"actor": self.actor(), "repository": repository, "name": tag, "may_protected": may_protected}
