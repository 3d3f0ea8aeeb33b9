"""Pushing a base's own files, which the hub then serves to clients of the Hugging Face protocol."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.bodies import Body, Text
from hub.api.view import View
from hub.api.views.uploads import UploadFileBody, UploadShape
from hub.errors import Conflict
from hub.services import base_files

TAGS = ["bases"]


class BaseUploadBody(Body):
    """All files that the base is to have; those it has and that aren't named here are gone with the commit."""

    revision = Text(max_length=64, default="main")
    files = serializers.ListField(child=UploadFileBody(), min_length=1, max_length=10_000)


class BaseFilesShape(serializers.Serializer):
    """What the hub serves of a base: its commit by the Hugging Face protocol, how many files, how many bytes."""

    base = serializers.CharField()
    commit = serializers.CharField()
    files = serializers.IntegerField()
    size = serializers.IntegerField()


class BaseUploads(View):
    """Begin a push of a base's files, by its owner or an administrator. The bytes are sent as in any upload."""

    @extend_schema(operation_id="bases_upload", tags=TAGS, request=BaseUploadBody, responses={201: UploadShape})
    def post(self, request, org, model):
        actor, wanted = self.actor(), self.read(BaseUploadBody)
        base = access.base(f"{org}/{model}", wanted["revision"])
        site_admin = self.viewer.is_site_admin
        upload = base_files.begin_base_upload(actor=actor, base=base, files=wanted["files"], site_admin=site_admin)
        return Response(UploadShape(upload).data, status=201)


class BaseCommit(View):
    """Check every byte and serve the files, or refuse and leave the base as it is."""

    within_limit = ("POST",)

    @extend_schema(operation_id="bases_commit", tags=TAGS, request=None, responses=BaseFilesShape)
    def post(self, request, pk):
        upload = access.upload(self.viewer, pk)
        if not upload.is_of_base:
            raise Conflict("This upload is of a repository; commit it at /commit.", code="upload.other_kind")
        made = base_files.commit_base_upload(actor=self.actor(), upload=upload, site_admin=self.viewer.is_site_admin)
        size = sum(entry.size for entry in made.values())
        said = {"base": str(upload.base), "commit": queries.base_commit(made), "files": len(made), "size": size}
        return Response(BaseFilesShape(said).data)
