"""Storage and bases: who holds how much, what is loose, how much room is left; who uses which base."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.views.admin.view import TAGS, AdminView
from hub.models import BaseModel
from hub.queries import administration as queries


class DiskShape(serializers.Serializer):
    """A folder's disk, in bytes."""

    what = serializers.CharField(help_text="data, uploads or blobs")
    path = serializers.CharField()
    total = serializers.IntegerField()
    used = serializers.IntegerField()
    free = serializers.IntegerField()


class StorageShape(serializers.Serializer):
    """All bytes of the hub."""

    blobs = serializers.IntegerField()
    bytes = serializers.IntegerField()
    unreferenced = serializers.IntegerField(help_text="blobs that nothing refers to; `manage.py gc` frees them")
    unreferenced_bytes = serializers.IntegerField()
    uploads_open = serializers.IntegerField()
    uploads_bytes = serializers.IntegerField(help_text="received and not yet committed")
    disks = DiskShape(many=True)


class SpaceShape(serializers.Serializer):
    """A namespace and the bytes it holds."""

    name = serializers.CharField()
    organisation = serializers.BooleanField(source="is_organisation")
    repositories = serializers.IntegerField(source="repository_count", help_text="those in the trash too")
    file_bytes = serializers.IntegerField(help_text="in the files of all revisions, each blob once")
    companion_bytes = serializers.IntegerField(help_text="kept beside adapters")


class AnyBaseShape(serializers.ModelSerializer):
    """A base with who registered it and who uses it."""

    base = serializers.CharField(source="__str__")
    owner = serializers.CharField(source="created_by.username", default=None, allow_null=True)
    used_by = serializers.IntegerField(help_text="repositories, private ones and those in the trash too")
    derivatives = serializers.IntegerField()
    jobs_open = serializers.IntegerField()

    class Meta:
        model = BaseModel
        fields = ("id", "base", "owner", "parameters", "used_by", "derivatives", "jobs_open", "error", "created_at")


class Storage(AdminView):
    """Counted now; a large hub takes some seconds."""

    @extend_schema(operation_id="admin_storage", tags=TAGS, responses=StorageShape)
    def get(self, request):
        return Response(StorageShape(queries.storage(self.viewer)).data)


class Namespaces(AdminView):
    """All namespaces with their bytes, by name."""

    @extend_schema(operation_id="admin_namespaces_list", tags=TAGS, responses=paged(SpaceShape))
    def get(self, request):
        return page(request, queries.namespaces(self.viewer), ("name",), lambda rows: SpaceShape(rows, many=True).data)


class Bases(AdminView):
    """All bases, by name."""

    @extend_schema(operation_id="admin_bases_list", tags=TAGS, responses=paged(AnyBaseShape))
    def get(self, request):
        found, order = queries.all_bases(self.viewer), ("name", "revision", "id")
        return page(request, found, order, lambda rows: AnyBaseShape(rows, many=True).data)
