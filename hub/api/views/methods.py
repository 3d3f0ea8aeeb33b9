"""The methods the hub offers, with the fields of their recipes: forms and CLI options are built from them."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from composition.recipes import recipe_fields
from composition.registry import METHODS, Method
from hub.api.bodies import Body, Text
from hub.api.view import READS, View
from hub.services.parsing.plain_yaml import LONGEST
from hub.services.recipes.reading import read_file


class NeedsShape(serializers.Serializer):
    """What a method asks for; `max_inputs` null is any number."""

    min_inputs = serializers.IntegerField()
    max_inputs = serializers.IntegerField(allow_null=True)
    base_model = serializers.BooleanField()
    device = serializers.CharField()


class FieldShape(serializers.Serializer):
    """One field of a recipe."""

    name = serializers.CharField()
    type = serializers.CharField(help_text="integer, number, boolean, choice, numbers, string")
    label = serializers.CharField()
    help = serializers.CharField()
    default = serializers.JSONField(allow_null=True)
    required = serializers.BooleanField()
    minimum = serializers.FloatField(allow_null=True)
    maximum = serializers.FloatField(allow_null=True)
    choices = serializers.ListField(child=serializers.CharField(), allow_null=True)


class MethodShape(serializers.Serializer):
    """A method and its recipe's fields."""

    kind = serializers.CharField()
    verb = serializers.CharField(help_text="merge, evaluate, …")
    label = serializers.CharField()
    summary = serializers.CharField()
    paper = serializers.CharField(allow_null=True)
    needs = NeedsShape()
    fields = FieldShape(many=True)


class Methods(View):
    """Every row of the registry."""

    within_limit = READS

    @extend_schema(operation_id="methods_list", tags=["methods"], responses=MethodShape(many=True))
    def get(self, request):
        return Response([show(method) for method in METHODS.values() if method.offered])


class RecipeBody(Body):
    """A file that says a job."""

    text = Text(max_length=LONGEST, trim_whitespace=False, help_text="YAML of this hub, or of mergekit")


class Recipes(View):
    """Reading a recipe's file; nothing is queued."""

    scopes = {"POST": "read"}
    little = frozenset({"POST"})
    within_limit = ("POST",)

    @extend_schema(
        operation_id="recipes_read",
        tags=["methods"],
        request=RecipeBody,
        responses={200: OpenApiResponse(OpenApiTypes.OBJECT, "The body for POST /jobs, and `notes`.")},
    )
    def post(self, request):
        self.actor()
        return Response(read_file(self.viewer, self.read(RecipeBody)["text"]))


def show(method: Method) -> dict:
    """One row of the registry as JSON."""
    needs = NeedsShape(method.needs).data
    named = {name: getattr(method, name) for name in ("kind", "verb", "label", "summary", "paper")}
    return {**named, "needs": needs, "fields": recipe_fields(method.recipe)}
