"""Companions: named bytes beside a repository with a visibility of their own."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access
from hub.api.bodies import Body, Text
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.view import View
from hub.api.views.files import BYTES, RANGE
from hub.http.bodies import body_stream
from hub.http.file_responses import blob_response, gives_bytes
from hub.models import Companion, Visibility
from hub.services.content import companions
from hub.services.noting import note_download

TAGS = ["companions"]
PRIVATE, PUBLIC = Visibility.PRIVATE, Visibility.PUBLIC


class CompanionQuery(Body):
    """Kind and name of the companion in the body; it replaces an earlier one of that name."""

    kind = Text(max_length=40, help_text="seeds, discriminator, …")
    name = Text(max_length=200)
    visibility = serializers.ChoiceField(Visibility.choices, default=PRIVATE)


class VisibilityBody(Body):
    """Who may see it."""

    visibility = serializers.ChoiceField(Visibility.choices)


class CompanionShape(serializers.ModelSerializer):
    """A companion."""

    size = serializers.IntegerField(source="blob.size")
    sha256 = serializers.CharField(source="blob_id")
    created_by = serializers.CharField(source="created_by.username", default=None, allow_null=True)

    class Meta:
        model = Companion
        fields = ("kind", "name", "visibility", "size", "sha256", "facts", "created_by", "created_at")


class Companions(View):
    """The companions the viewer may see; adding one. A public one needs an admin, since it can't be recalled."""

    front = {"POST": "file"}

    @extend_schema(operation_id="companions_list", tags=TAGS, responses=paged(CompanionShape))
    def get(self, request, namespace, name):
        found = access.companions(self.viewer, access.repository(self.viewer, namespace, name))
        return page(request, found, ("kind", "name"), lambda rows: CompanionShape(rows, many=True).data)

    @extend_schema(
        operation_id="companions_add",
        tags=TAGS,
        parameters=[CompanionQuery],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={201: CompanionShape},
    )
    def post(self, request, namespace, name):
        repository = access.repository(self.viewer, namespace, name, "write")
        wanted = self.query(CompanionQuery)
        if wanted["visibility"] == PUBLIC:
            repository = access.repository(self.viewer, namespace, name, "admin")
        added = companions.add_companion(
            actor=self.actor(), repository=repository, stream=body_stream(request), **wanted
        )
        return Response(CompanionShape(added).data, status=201)


class OneCompanion(View):
    """One companion: read its bytes, change its visibility, delete it."""

    @extend_schema(
        operation_id="companions_read",
        tags=TAGS,
        parameters=[RANGE],
        responses={(200, "application/octet-stream"): BYTES, (206, "application/octet-stream"): BYTES},
    )
    def get(self, request, namespace, name, kind, companion):
        repository = access.repository(self.viewer, namespace, name)
        found = access.companion(self.viewer, repository, kind, companion)
        response = blob_response(request._request, found.blob, found.name)
        if gives_bytes(request, response):
            which = {"path": f"{found.kind}/{found.name}", "revision": found.blob_id, "visibility": found.visibility}
            note_download(actor=self.viewer.user, repository=repository, **which)
        return response

    # Visibility and deletion apply to the whole folder, given by its name or by that of a file in it.
    @extend_schema(operation_id="companions_show", tags=TAGS, request=VisibilityBody, responses=CompanionShape)
    def patch(self, request, namespace, name, kind, companion):
        repository = access.repository(self.viewer, namespace, name, "admin")
        found = access.companion(self.viewer, repository, kind, companion, whole=True)
        shown = companions.show_companion(actor=self.actor(), companion=found, **self.read(VisibilityBody))
        return Response(CompanionShape(shown).data)

    @extend_schema(operation_id="companions_remove", tags=TAGS, responses={204: None})
    def delete(self, request, namespace, name, kind, companion):
        repository = access.repository(self.viewer, namespace, name, "write")
        found = access.companion(self.viewer, repository, kind, companion, whole=True)
        companions.remove_companion(actor=self.actor(), companion=found)
        return Response(status=204)
