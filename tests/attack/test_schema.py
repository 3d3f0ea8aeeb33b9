"""The API against its own OpenAPI document: requests of every shape it allows, and of many it doesn't.

No answer may be ours to blame (5xx), and each must be what the document says: status, media type, body.
"""

import pytest
import schemathesis
from django.core.cache import cache
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hub.wsgi import application
from tests.hub.api_client import Api
from tests.hub.route_rules import FILL
from tests.hub.test_routes import make_world

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 25
# These send what only a live server can: a stream of events.
LEFT_OUT = {"jobs_events"}


@pytest.fixture(autouse=True)
def _one_connection():
    """The application would close the test's connection after each answer."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def aim(case, world, number: int) -> None:
    """Let two of three requests hit something that exists."""
    if number % 3 == 0:
        return
    for name in case.path_parameters or {}:
        if name in FILL:
            case.path_parameters[name] = FILL[name]
    path = case.operation.path
    for part, thing in (("webhooks", "hook"), ("jobs", "job"), ("tokens", "token"), ("uploads", "upload")):
        if f"/{part}/" in path and "pk" in (case.path_parameters or {}):
            case.path_parameters["pk"] = str(world.things[thing])
    if "key" in (case.path_parameters or {}):
        case.path_parameters["key"] = str(world.things["delivery"])


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_keeps_to_the_document(store, mode):
    world = make_world()
    world.owner.is_staff = True
    world.owner.save()
    headers = Api(world.owner).headers
    schema = schemathesis.openapi.from_wsgi("/api/v1/schema", app=application)
    failures: dict[str, str] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        label = f"{operation.method.upper()} {operation.path}"
        if operation.definition.raw.get("operationId") in LEFT_OUT:
            continue
        count = 0

        @hypothesis_settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            nonlocal count
            count += 1
            aim(case, world, count)
            cache.clear()
            with transaction.atomic():
                response = case.call(headers=headers)
                transaction.set_rollback(True)
            case.validate_response(response, checks=CHECKS)

        try:
            ask()
        except Unsatisfiable:
            continue  # There is nothing here that could be sent wrongly.
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # groups of failures are no Exception
            failures[label] = f"{type(error).__name__}: {error}"[:1500]
    assert not failures, "\n\n".join(f"{label}\n{why}" for label, why in failures.items())
