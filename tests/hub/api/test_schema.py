"""OpenAPI: complete, without warnings, every operation refusing in the problem shape; docs without another host."""

import re

import pytest
from django.urls import URLPattern
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from hub.api import urls
from tests.hub.api_client import Api

UNDOCUMENTED = {"api_schema", "api_docs", "api_unknown"}


@pytest.fixture(scope="module")
def schema() -> dict:
    GENERATOR_STATS.reset()
    return SchemaGenerator().get_schema(request=None, public=True)


def test_it_is_valid_and_made_without_warnings(schema):
    assert not GENERATOR_STATS, (GENERATOR_STATS._warn_cache, GENERATOR_STATS._error_cache)
    validate_schema(schema)


def handlers(pattern: URLPattern) -> set[str]:
    view = pattern.callback.cls
    return {method for method in ("get", "post", "put", "patch", "delete") if hasattr(view, method)}


def test_every_route_and_method_is_there(schema):
    documented = {path: set(operations) - {"head"} for path, operations in schema["paths"].items()}
    for pattern in urls.urlpatterns:
        if pattern.name not in UNDOCUMENTED:
            path = "/api/v1/" + re.sub(r"<\w+:(\w+)>", r"{\1}", str(pattern.pattern)).replace("{pk}", "{id}")
            assert documented.pop(path, None) == handlers(pattern), path
    assert not documented


def test_every_operation_says_what_it_does_and_may_refuse(schema):
    assert schema["components"]["schemas"]["Problem"]["required"] == ["type", "title", "status", "code", "detail"]
    names = []
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            names.append(operation["operationId"])
            refusal = operation["responses"]["default"]["content"]["application/problem+json"]["schema"]
            assert refusal == {"$ref": "#/components/schemas/Problem"}
            assert operation["tags"], (method, path)
            assert operation.get("description"), (method, path)
    assert len(set(names)) == len(names)


def test_answers_have_the_fields_the_schema_promises(schema, db):
    methods = Api().get("/methods").json()
    promised = schema["components"]["schemas"]["MethodShape"]["properties"]
    assert set(methods[0]) == set(promised)


@pytest.mark.django_db
def test_it_is_served_and_the_docs_need_no_other_host():
    served = Api().get("/schema")
    assert served.status_code == 200
    assert b'"openapi"' in served.content
    docs = Api().get("/docs")
    assert docs.status_code == 200
    text = docs.content.decode() + Api().get("/docs?script=").content.decode()
    assert not re.findall(r"(?:src|href)=[\"'](?:https?:)?//", text)
    assert "/static/drf_spectacular_sidecar/" in text
    assert "X-CSRFTOKEN" in text.upper()
    assert "default-src 'none'" in docs.headers["Content-Security-Policy"]
