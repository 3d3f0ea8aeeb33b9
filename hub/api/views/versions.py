"""Versions: the list, and one with its facts, family, recipe, report and measured quality."""

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.view import View
from hub.http.job_serializers import EvaluationShape
from hub.models import Version

TAGS = ["versions"]


class VersionShape(serializers.ModelSerializer):
    """A version in short."""

    version = serializers.CharField(source="label")
    revision = serializers.SerializerMethodField(help_text="id of the revision that made it")
    base = serializers.CharField(source="base.name", default=None, allow_null=True)
    created_by = serializers.CharField(source="created_by.username", default=None, allow_null=True)

    class Meta:
        model = Version
        fields = ("version", "number", "revision", "base", "origin", "content_digest", "job", "created_by")
        fields += ("created_at",)

    def get_revision(self, version) -> str | None:
        made = version.revision
        return made and made.oid


class RelativeShape(serializers.Serializer):
    """A parent or child; only `hidden` and `position` where it can't be seen."""

    hidden = serializers.BooleanField()
    position = serializers.IntegerField()
    name = serializers.CharField(required=False, help_text="ns/name@v1")
    repository = serializers.CharField(required=False)
    version = serializers.CharField(required=False)
    origin = serializers.CharField(required=False)
    method = serializers.CharField(required=False, allow_blank=True)
    recipe = serializers.JSONField(required=False, allow_null=True)


class ServerShape(serializers.Serializer):
    """What an inference server makes of the adapter."""

    server = serializers.CharField(help_text="vllm, vllm-0.31, sglang, llama.cpp, lorax")
    label = serializers.CharField()
    answer = serializers.ChoiceField(["right", "wrong", "refuses"], help_text="of the files as they are stored")
    why = serializers.CharField(allow_blank=True)
    factors = serializers.ListField(
        child=serializers.FloatField(), allow_null=True, help_text="ΔW served / ΔW in PEFT, least and greatest"
    )
    modules = serializers.IntegerField(help_text="how many modules that is")
    uniform = serializers.BooleanField(help_text="whether it reads the uniform form right (?uniform=1)")
    rank = serializers.IntegerField(help_text="the largest rank it has to hold then")


class VersionDetailShape(VersionShape):
    """A version with everything known about it."""

    repository = serializers.CharField(source="repository.path")
    facts = serializers.JSONField()
    recipe = serializers.JSONField(allow_null=True)
    report = serializers.SerializerMethodField(help_text="private inputs by name only where they are seen, or null")
    environment = serializers.JSONField(allow_null=True)
    parents = serializers.SerializerMethodField()
    children = serializers.SerializerMethodField()
    evaluations = serializers.SerializerMethodField(help_text="on datasets the viewer may see")
    servers = serializers.SerializerMethodField(help_text="of an adapter: which servers read it right")

    class Meta(VersionShape.Meta):
        fields = ("repository", *VersionShape.Meta.fields)
        fields += ("facts", "recipe", "report", "environment", "parents", "children", "evaluations", "servers")

    @extend_schema_field(serializers.JSONField(allow_null=True))
    def get_report(self, version) -> dict | None:
        return queries.report_of(self.context["viewer"], version)

    @extend_schema_field(RelativeShape(many=True))
    def get_parents(self, version) -> list:
        return self.context["family"]["parents"]

    @extend_schema_field(RelativeShape(many=True))
    def get_children(self, version) -> list:
        return self.context["family"]["children"]

    @extend_schema_field(EvaluationShape(many=True))
    def get_evaluations(self, version) -> list:
        return EvaluationShape(self.context["evaluations"], many=True).data

    @extend_schema_field(ServerShape(many=True))
    def get_servers(self, version) -> list:
        return queries.servers(version)


class Versions(View):
    """All versions of a repository, newest first."""

    @extend_schema(operation_id="versions_list", tags=TAGS, responses=paged(VersionShape))
    def get(self, request, namespace, name):
        repository = access.repository(self.viewer, namespace, name)
        found = queries.versions(repository).defer("report", "facts", "base__config", "base__shapes")
        return page(request, found, ("-number",), lambda rows: VersionShape(rows, many=True).data)


class OneVersion(View):
    """The version a ref stands for."""

    @extend_schema(operation_id="versions_read", tags=TAGS, responses=VersionDetailShape)
    def get(self, request, namespace, name, ref):
        version = access.version(self.viewer, namespace, name, ref)
        family = queries.lineage(self.viewer, version)
        measured = queries.evaluations(self.viewer, version)
        context = {"viewer": self.viewer, "family": family, "evaluations": measured}
        return Response(VersionDetailShape(version, context=context).data)
