"""Pushing: begin, send bytes in any number of pieces, ask how much has arrived, commit or abandon."""

import base64

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from composition.formats.content import SNIFF_BYTES
from hub import access
from hub.api.bodies import Body, Text, Whole
from hub.api.view import READS, View
from hub.errors import Invalid
from hub.http.bodies import body_stream
from hub.models import Kind, Visibility
from hub.services.content import first_push, uploads

TAGS = ["uploads"]
OFFSET = OpenApiParameter(
    "Upload-Offset", OpenApiTypes.INT, OpenApiParameter.HEADER, required=True, description="bytes received so far"
)


class Head(Text):
    """The first bytes of a file, in Base64."""

    default_error_messages = {"base64": f"Give the first {SNIFF_BYTES} bytes, or fewer, in Base64."}

    def __init__(self, **options: object) -> None:
        super().__init__(max_length=4 * -(-SNIFF_BYTES // 3), allow_blank=True, **options)

    def to_internal_value(self, data: object) -> bytes:
        try:
            return base64.b64decode(super().to_internal_value(data), validate=True)
        except ValueError:
            self.fail("base64")


class UploadFileBody(Body):
    """A file that the client announces."""

    path = Text(max_length=1024, trim_whitespace=False)
    size = Whole(min_value=0, max_value=2**53)
    sha256 = serializers.RegexField(r"\A[0-9a-f]{64}\Z")
    head = Head(default=b"", help_text=f"its first {SNIFF_BYTES} bytes in Base64: refused early by them, not late")


class MakeBody(Body):
    """The repository to make, if it is not there, when the push is published and not before."""

    kind = serializers.ChoiceField(
        Kind.choices, default=None, allow_null=True, help_text="null: the kind of what is there, or an adapter"
    )
    visibility = serializers.ChoiceField(Visibility.choices, default=Visibility.PUBLIC)


class UploadBody(Body):
    """A push: files to put, paths to delete, onto a branch."""

    files = serializers.ListField(child=UploadFileBody(), default=list, max_length=10_000)
    message = Text(max_length=500, default="", allow_blank=True)
    branch = Text(max_length=200, default="main")
    base = Text(max_length=300, default=None, allow_null=True, help_text="name or alias; default: what the config says")
    deletions = serializers.ListField(
        child=Text(max_length=1024, trim_whitespace=False), default=list, max_length=10_000
    )
    make = MakeBody(default=None, allow_null=True, help_text="make the repository if it is missing; refused: none left")


class UploadFileShape(serializers.Serializer):
    """A file, and how much of it has been received."""

    path = serializers.CharField()
    size = serializers.IntegerField()
    received = serializers.IntegerField()


class UploadShape(serializers.Serializer):
    """An upload under way."""

    id = serializers.UUIDField()
    repository = serializers.CharField(source="path")
    branch = serializers.CharField()
    files = serializers.SerializerMethodField()
    committed_at = serializers.DateTimeField(allow_null=True)

    @extend_schema_field(UploadFileShape(many=True))
    def get_files(self, upload) -> list:
        return UploadFileShape(uploads.refresh(upload), many=True).data


class ReceivedShape(serializers.Serializer):
    """How many bytes of the file have been received."""

    received = serializers.IntegerField()


class PublishedShape(serializers.Serializer):
    """What a commit made; `created` false where nothing was new."""

    revision = serializers.CharField(source="revision.oid")
    version = serializers.CharField(source="version.label", default=None, allow_null=True)
    created = serializers.BooleanField()
    warnings = serializers.ListField(
        child=serializers.CharField(), help_text="what is stored as it is and may be no intention of the author"
    )


class Uploads(View):
    """Begin a push."""

    @extend_schema(operation_id="uploads_begin", tags=TAGS, request=UploadBody, responses={201: UploadShape})
    def post(self, request, namespace, name):
        wanted = self.read(UploadBody)
        repository = first_push.goal(self.viewer, namespace, name, wanted.pop("make"))
        wanted["base"] = wanted["base"] and access.base(wanted["base"])
        place = repository if repository.pk else repository.namespace
        wanted["may_protected"] = access.may(self.viewer, place, "admin")
        upload = uploads.begin_upload(actor=self.actor(), repository=repository, **wanted)
        return Response(UploadShape(upload).data, status=201)


class Upload(View):
    """A push under way, for the user who began it."""

    scopes = {"GET": "write"}
    within_limit = (*READS, "PUT", "POST", "DELETE")

    @extend_schema(operation_id="uploads_read", tags=TAGS, responses=UploadShape)
    def get(self, request, pk):
        return Response(UploadShape(access.upload(self.viewer, pk)).data)

    @extend_schema(operation_id="uploads_abandon", tags=TAGS, responses={204: None})
    def delete(self, request, pk):
        uploads.abandon_upload(actor=self.actor(), upload=access.upload(self.viewer, pk))
        return Response(status=204)


class UploadBytes(View):
    """A piece of a file, appended to what has come. `hub.front` hands a large one over in several."""

    front = {"PUT": "pieces"}

    within_limit = ("PUT",)

    @extend_schema(
        operation_id="uploads_send",
        tags=TAGS,
        parameters=[OFFSET],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses=ReceivedShape,
    )
    def put(self, request, pk, path):
        upload = access.upload(self.viewer, pk)
        at, goes_on = upload_offset(request), bool(request.META.get("hub.more"))
        before = request.META.get("hub.onward")
        body = {"offset": at, "stream": body_stream(request), "goes_on": goes_on, "onward": before}
        received, onward = uploads.receive(upload=upload, path=path, **body)
        answer = Response({"received": received})
        answer.onward = onward
        return answer


class Commit(View):
    """Check everything and publish it, or refuse and publish nothing."""

    within_limit = ("POST",)

    @extend_schema(
        operation_id="uploads_commit", tags=TAGS, request=None, responses={201: PublishedShape, 200: PublishedShape}
    )
    def post(self, request, pk):
        upload = access.upload(self.viewer, pk)
        may_protected = access.may(self.viewer, upload.place, "admin")
        done = uploads.commit_upload(actor=self.actor(), upload=upload, may_protected=may_protected)
        return Response(PublishedShape(done).data, status=201 if done.created else 200)


def upload_offset(request) -> int:
    """The Upload-Offset header: where this piece begins."""
    text = request.headers.get("Upload-Offset", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Invalid(
            f"Upload-Offset is {text!r}: send the number of bytes received so far, 0 for a new file.",
            field="Upload-Offset",
            code="upload.offset_header",
        )
    return int(text)
