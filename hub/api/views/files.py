"""Files: the manifest behind a ref, and each file's bytes; of mixtures also one expert's, or all as one LoRA."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.view import DOWNLOAD, View
from hub.http.file_responses import bytes_response
from hub.services.content.downloads import count_download
from hub.services.content.mixture_parts import file_of, part_of

TAGS = ["files"]
BYTES = OpenApiResponse(OpenApiTypes.BINARY, "The bytes; ETag is their SHA-256.")
RANGE = OpenApiParameter("Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="bytes=start-end")
PARTS = [
    OpenApiParameter("expert", OpenApiTypes.STR, description="of a mixture: the files of this expert, a plain LoRA"),
    OpenApiParameter("as", OpenApiTypes.STR, enum=["cat"], description="of a mixture: one LoRA, the experts' sum"),
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
    source = serializers.CharField(required=False, help_text="with expert: its version, ns/name@v1; null if cut out")
    warning = serializers.CharField(required=False, help_text="with as: how it differs from the mixture")


class Files(View):
    """The files of what a ref stands for."""

    scopes = DOWNLOAD

    @extend_schema(operation_id="files_list", tags=TAGS, parameters=PARTS, responses=ManifestShape)
    def get(self, request, namespace, name, ref):
        revision = access.resolve(access.repository(self.viewer, namespace, name, "download"), ref)
        part = part_of(self.viewer, revision, **wanted(request))
        shown = {
            "revision": revision.oid,
            "version": revision.version and revision.version.label,
            "message": revision.message,
            "files": part.listing() if part else queries.files(revision),
        }
        if part:
            shown |= {"source": part.source and str(part.source), "warning": part.warning}
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
        revision = access.resolve(access.repository(self.viewer, namespace, name, "download"), ref)
        content, repository = file_of(self.viewer, revision, path, **wanted(request))
        response = bytes_response(request._request, content, path)
        if request.method == "GET" and response.status_code in (200, 206):
            count_download(repository=repository, path=path, start=response.start)
        return response

    @extend_schema(
        operation_id="files_head",
        tags=TAGS,
        responses={200: OpenApiResponse(description="The headers of GET, without bytes.")},
    )
    def head(self, request, namespace, name, ref, path):
        return self.get(request, namespace, name, ref, path)


def wanted(request) -> dict:
    """The part of a mixture that the query names, as `hub.services.content.mixture_parts` takes it."""
    return {"expert": request.query_params.get("expert"), "form": request.query_params.get("as")}
