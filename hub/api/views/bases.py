"""Base models: listing, reading, registering by a config.json."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.bodies import Body, Object, Text
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.view import READS, View
from hub.models import BaseModel
from hub.services import bases

TAGS = ["bases"]


class BaseBody(Body):
    """A base to register: its id, its config.json, where it comes from, how workers find its weights."""

    name = Text(max_length=200, help_text="org/name")
    revision = Text(max_length=64, default="main")
    config = Object()
    derived_from = Text(max_length=300, default=None, allow_null=True)
    relation = serializers.ChoiceField(BaseModel.Relation.choices, default="", allow_blank=True)
    aliases = serializers.ListField(child=Text(max_length=300), default=list, max_length=bases.MAX_ALIASES)
    license = Text(max_length=100, default="", allow_blank=True)
    source = Object(default=dict)


class BaseShape(serializers.ModelSerializer):
    """A base; `ready` once its shapes are known."""

    derived_from = serializers.CharField(source="derived_from.name", default=None, allow_null=True)
    aliases = serializers.SlugRelatedField("name", many=True, read_only=True)
    ready = serializers.SerializerMethodField()
    adapters = serializers.SerializerMethodField(help_text="visible adapters on it")

    class Meta:
        model = BaseModel
        fields = ("name", "revision", "derived_from", "relation", "aliases", "license", "fingerprint", "parameters")
        fields += ("ready", "error", "adapters", "created_at")

    def get_ready(self, base) -> bool:
        return bool(base.fingerprint)

    def get_adapters(self, base) -> int:
        return getattr(base, "adapters", None) or 0


class BaseDetailShape(BaseShape):
    """A base with its config, and module name → [out, in]."""

    config = serializers.JSONField()
    shapes = serializers.JSONField(allow_null=True)

    class Meta(BaseShape.Meta):
        fields = (*BaseShape.Meta.fields, "config", "shapes")


class RegisteredShape(serializers.Serializer):
    """The base, and the job that reads its shapes where one is under way."""

    base = BaseShape()
    job = serializers.IntegerField(allow_null=True)


class Bases(View):
    """All bases."""

    within_limit = READS

    @extend_schema(operation_id="bases_list", tags=TAGS, responses=paged(BaseShape))
    def get(self, request):
        found = queries.bases(self.viewer).defer("config", "shapes", "derived_from__config", "derived_from__shapes")
        return page(request, found, ("name", "id"), lambda rows: BaseShape(rows, many=True).data)

    @extend_schema(operation_id="bases_register", tags=TAGS, request=BaseBody, responses={201: RegisteredShape})
    def post(self, request):
        actor, wanted = self.actor(), self.read(BaseBody)
        wanted["derived_from"] = wanted["derived_from"] and access.base(wanted["derived_from"])
        base, job = bases.register_base(actor=actor, **wanted)
        return Response({"base": BaseShape(base).data, "job": job and job.pk}, status=201)


class Base(View):
    """One base, by its name or an alias."""

    within_limit = READS

    @extend_schema(
        operation_id="bases_read",
        tags=TAGS,
        parameters=[OpenApiParameter("revision", OpenApiTypes.STR)],
        responses=BaseDetailShape,
    )
    def get(self, request, name):
        base = access.base(name, request.query_params.get("revision"))
        base.adapters = queries.bases(self.viewer).get(pk=base.pk).adapters
        return Response(BaseDetailShape(base).data)
