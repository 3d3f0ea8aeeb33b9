"""Base models: listing, reading, registering by a config.json."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.bodies import Body, ConfigJSONParser, Object, Text
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.view import READS, View
from hub.models import BaseModel
from hub.services import base_owners, bases

TAGS = ["bases"]


class BaseBody(Body):
    """A base to register: its id, its config.json, where it comes from, how workers find its weights."""

    name = Text(max_length=200, help_text="org/name")
    revision = Text(max_length=64, default="main")
    config = Object(
        default=None, allow_null=True, help_text="without it, that of the model which a worker holds under the name"
    )
    derived_from = Text(max_length=300, default=None, allow_null=True)
    relation = serializers.ChoiceField(BaseModel.Relation.choices, default="", allow_blank=True)
    aliases = serializers.ListField(child=Text(max_length=300), default=list, max_length=bases.MAX_ALIASES)
    license = Text(max_length=100, default="", allow_blank=True)
    source = Object(default=dict)


class BaseChangeBody(Body):
    """What its owner and administrators change of a base: who owns it, and what else it is called."""

    owner = Text(max_length=150, required=False, help_text="the account to give it to")
    add_aliases = serializers.ListField(child=Text(max_length=300), default=list, max_length=bases.MAX_ALIASES)
    drop_aliases = serializers.ListField(child=Text(max_length=300), default=list, max_length=bases.MAX_ALIASES)


class BaseQuery(Body):
    """Which of the bases of one name."""

    revision = Text(max_length=64, default=None)


class BaseShape(serializers.ModelSerializer):
    """A base; `ready` once its shapes are known. `owner` is null where administrators own it."""

    derived_from = serializers.CharField(source="derived_from.name", default=None, allow_null=True)
    owner = serializers.CharField(source="owner.username", default=None, allow_null=True)
    aliases = serializers.SlugRelatedField("name", many=True, read_only=True)
    ready = serializers.SerializerMethodField()
    adapters = serializers.SerializerMethodField(help_text="visible adapters on it")

    class Meta:
        model = BaseModel
        fields = (
            "name",
            "revision",
            "owner",
            "derived_from",
            "relation",
            "aliases",
            "license",
            "fingerprint",
            "parameters",
        )
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


class OfferShape(serializers.Serializer):
    """A model that a worker holds and nobody has registered; `config` is its config.json."""

    name = serializers.CharField()
    revision = serializers.CharField()
    where = serializers.CharField(help_text="how the worker has it")
    source = serializers.JSONField()
    config = serializers.JSONField()


class Offers(View):
    """What workers hold and nobody has registered."""

    within_limit = READS

    @extend_schema(operation_id="bases_held", tags=TAGS, responses=OfferShape(many=True))
    def get(self, request):
        actor = self.actor()
        found = access.offers(administrator=access.is_admin(actor, self.viewer.is_site_admin))
        return Response(OfferShape(found, many=True).data)


class Bases(View):
    """All bases."""

    within_limit = READS
    parser_classes = [ConfigJSONParser]

    @extend_schema(operation_id="bases_list", tags=TAGS, responses=paged(BaseShape))
    def get(self, request):
        found = queries.bases(self.viewer).defer("config", "shapes", "derived_from__config", "derived_from__shapes")
        return page(request, found, ("name", "id"), lambda rows: BaseShape(rows, many=True).data)

    @extend_schema(operation_id="bases_register", tags=TAGS, request=BaseBody, responses={201: RegisteredShape})
    def post(self, request):
        actor, wanted = self.actor(), self.read(BaseBody)
        wanted["derived_from"] = wanted["derived_from"] and access.base(wanted["derived_from"])
        base, job = bases.register_base(actor=actor, site_admin=self.viewer.is_site_admin, **wanted)
        return Response({"base": BaseShape(base).data, "job": job and job.pk}, status=201)


class Base(View):
    """One base, by its name or an alias."""

    scopes = {"PATCH": "admin", "DELETE": "admin"}
    within_limit = READS

    @extend_schema(operation_id="bases_read", tags=TAGS, parameters=[BaseQuery], responses=BaseDetailShape)
    def get(self, request, name):
        return Response(BaseDetailShape(self._counted(self._base(name))).data)

    @extend_schema(
        operation_id="bases_change", tags=TAGS, parameters=[BaseQuery], request=BaseChangeBody, responses=BaseShape
    )
    def patch(self, request, name):
        actor, base, wanted = self.actor(), self._base(name), self.read(BaseChangeBody)
        changes = {"owner": wanted.get("owner"), "names": wanted["add_aliases"], "drop": wanted["drop_aliases"]}
        bases.change_base(actor=actor, base=base, site_admin=self.viewer.is_site_admin, **changes)
        return Response(BaseShape(self._counted(access.base(base.name, base.revision))).data)

    @extend_schema(operation_id="bases_delete", tags=TAGS, parameters=[BaseQuery], responses={204: None})
    def delete(self, request, name):
        actor, base = self.actor(), self._base(name)
        base_owners.delete_base(actor=actor, base=base, site_admin=self.viewer.is_site_admin)
        return Response(status=204)

    def _base(self, name):
        return access.base(name, self.query(BaseQuery)["revision"])

    def _counted(self, base):
        base.adapters = queries.bases(self.viewer).get(pk=base.pk).adapters
        return base
