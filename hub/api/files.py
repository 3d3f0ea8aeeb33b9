"""Files: the manifest behind a ref, and each file's bytes."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.view import View
from hub.ranges import blob_response
from hub.services.downloads import count_download

TAGS = ["files"]
BYTES = OpenApiResponse(OpenApiTypes.BINARY, "The bytes; ETag is their SHA-256.")
RANGE = OpenApiParameter("Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="bytes=start-end")


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


class Files(View):
    """The files of what a ref stands for."""

    @extend_schema(operation_id="files_list", tags=TAGS, responses=ManifestShape)
    def get(self, request, namespace, name, ref):
        revision = revision_of(access.repository(self.viewer, namespace, name), ref)
        return Response(
            {
                "revision": revision.oid,
                "version": revision.version and revision.version.label,
                "message": revision.message,
                "files": queries.files(revision),
            }
        )


class File(View):
    """One file's bytes."""

    @extend_schema(
        operation_id="files_read",
        tags=TAGS,
        parameters=[RANGE],
        responses={(200, "application/octet-stream"): BYTES, (206, "application/octet-stream"): BYTES},
    )
    def get(self, request, namespace, name, ref, path):
        repository = access.repository(self.viewer, namespace, name)
        blob = queries.file(revision_of(repository, ref), path)
        response = blob_response(request._request, blob, path)
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


def revision_of(repository, ref: str):
    """What `ref` stands for; `latest` of a repository without a version is its main."""
    return access.resolve(repository, None if ref == "latest" else ref)
