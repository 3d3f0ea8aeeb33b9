"""OpenAPI: pages of a shape, the problem shape on every operation, the schema and its browsable page."""

from functools import cache

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema, inline_serializer
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework import serializers
from rest_framework.response import Response

PROBLEM = {
    "type": "object",
    "description": "A refusal (RFC 9457). More members hold facts for programs: field, errors, received, …",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "example": "urn:hub:problem:not_found"},
        "title": {"type": "string", "example": "Not Found"},
        "status": {"type": "integer", "example": 404},
        "code": {"type": "string", "description": "stable; programs branch on it", "example": "not_found"},
        "detail": {"type": "string", "description": "what was given, what was expected, what to do"},
        "field": {"type": "string", "description": "the offending field, such as files.0.size"},
        "errors": {"type": "object", "additionalProperties": True},
    },
    "additionalProperties": True,
}
REFUSAL = {
    "description": "Refused; `code` says why.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
READING = ["get", "head"]
METHODS = {"get", "put", "post", "patch", "delete", "head"}


@cache
def paged(shape: type[serializers.BaseSerializer]) -> serializers.Serializer:
    """`{"results": [shape…], "next": url|null}`."""
    name = f"{shape.__name__.removesuffix('Shape')}Page"
    return inline_serializer(name, {"results": shape(many=True), "next": serializers.URLField(allow_null=True)})


def add_problems(result: dict, generator, request, public) -> dict:
    """Post-processing: every operation may answer a problem."""
    result.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM
    for operations in result["paths"].values():
        for method, operation in operations.items():
            if method in METHODS:
                operation["responses"]["default"] = REFUSAL
    return result


@cache
def document() -> dict:
    """The whole schema; made once, since it changes with the code only."""
    return SchemaGenerator().get_schema(request=None, public=True)


class Schema(SpectacularJSONAPIView):
    """OpenAPI 3 as JSON, for anyone."""

    http_method_names = READING

    @extend_schema(exclude=True)
    def get(self, request):
        return Response(document())


class Docs(SpectacularSwaggerSplitView):
    """The schema to read and try, with the browser's session; all its files are our own."""

    url_name = "api_schema"
    http_method_names = READING

    def finalize_response(self, request, response, *args, **kwargs):
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers["Content-Security-Policy"] = POLICY
        return response
