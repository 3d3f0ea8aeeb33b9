"""Files: the manifest behind a ref, and each file's bytes; as they are stored, or in another form."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.view import DOWNLOAD, View
from hub.http.file_responses import bytes_response, gives_bytes
from hub.services.content.downloads import count_download
from hub.services.content.forms import FORMS, Asked, file_of, part_of
from hub.services.noting import note_download

TAGS = ["files"]
BYTES = OpenApiResponse(OpenApiTypes.BINARY, "The bytes; ETag is their SHA-256.")
RANGE = OpenApiParameter("Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="bytes=start-end")
PARTS = [
    OpenApiParameter("expert", OpenApiTypes.STR, description="of a mixture: the files of this expert, a plain LoRA"),
    OpenApiParameter(
        "as", OpenApiTypes.STR, enum=[*FORMS], description="; ".join(f"{r.name}: {r.help}" for r in FORMS.values())
    ),
    OpenApiParameter(
        "uniform",
        OpenApiTypes.STR,
        enum=["1", "0"],
        description="1: of a plain LoRA, an expert or as=cat: the form that every server reads right, ΔW unchanged. "
        "0: as=cat as compact as can be; by default it is uniform where some server needs it",
    ),
]


class FileShape(serializers.Serializer):
    """One file."""

    path = serializers.CharField()
    size = serializers.IntegerField()
    sha256 = serializers.CharField()


class ManifestShape(serializers.Serializer):
    """A revision's files, by path."""

    revision = serializers.CharField(help_text="40 hex digits")
    version = serializers.CharField(allow_null=True)
    message = serializers.CharField()
    files = FileShape(many=True)
    source = serializers.CharField(required=False, help_text="with a form: whose files, ns/name@v1; null if cut out")
    warning = serializers.CharField(required=False, help_text="with a form: how it differs from the version")
    forms = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="with a form: the rows that made it, in their order"
    )


class Files(View):
    """The files of what a ref stands for."""

    scopes = DOWNLOAD

    @extend_schema(operation_id="files_list", tags=TAGS, parameters=PARTS, responses=ManifestShape)
    def get(self, request, namespace, name, ref):
        revision = access.resolve(access.repository(self.viewer, namespace, name, "files"), ref)
        part = part_of(self.viewer, revision, Asked.of(request.query_params))
        shown = {
            "revision": revision.oid,
            "version": revision.version and revision.version.label,
            "message": revision.message,
            "files": part.listing() if part else queries.files(revision),
        }
        if part:
            shown |= {"source": part.source and str(part.source), "warning": part.warning, "forms": part.forms}
        return Response(shown)


class File(View):
    """One file's bytes."""

    scopes = DOWNLOAD

    @extend_schema(
        operation_id="files_read",
        tags=TAGS,
        parameters=[RANGE, *PARTS],
        responses={(200, "application/octet-stream"): BYTES, (206, "application/octet-stream"): BYTES},
    )
    def get(self, request, namespace, name, ref, path):
        revision = access.resolve(access.repository(self.viewer, namespace, name, "files"), ref)
        found = file_of(self.viewer, revision, path, Asked.of(request.query_params))
        response = bytes_response(request._request, found.content, path)
        if gives_bytes(request, response):
            count_download(repository=found.repository, path=path, start=response.start, counts=found.counts)
            note_download(actor=self.viewer.user, repository=found.repository, path=path, revision=revision.oid)
        return response

    @extend_schema(
        operation_id="files_head",
        tags=TAGS,
        responses={200: OpenApiResponse(description="The headers of GET, without bytes.")},
    )
    def head(self, request, namespace, name, ref, path):
        return self.get(request, namespace, name, ref, path)
