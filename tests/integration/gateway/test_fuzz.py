"""The gateway fuzzed from its own OpenAPI document: no server error, and no answer that the document does not know.

Two ways: requests as the document allows and forbids them, which mostly meet nothing; and the same with the names of
things that are there. The seed is fixed.
"""

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from parley.gateway.app import create_app
from parley.gateway.settings import GatewaySettings
from parley.store.pool import open_pool
from schemathesis import Case, GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    negative_data_rejection,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.schemas import APIOperation

from tests.fake_kube import FakeKube
from tests.integration.gateway.people import NAMESPACE
from tests.integration.gateway.running import LONG

CHECKED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
IN_PLACE = [check for check in CHECKED if check is not negative_data_rejection]
"""For requests that are given names of what is there: that may have been what was wrong with them."""
APART = ("streamSession", "chat", "deleteSession")
"""With a Session that is there the first two answer as long as they are read, and the third leaves none."""


def examples(operation: APIOperation[Any, Any, Any, Any]) -> settings:
    """How much is tried: a person is no runner, and gets no further than the door of its operations."""
    return settings(
        max_examples=6 if "people" in operation.tags else 2,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )


@schemathesis.serializer("application/jsonl", "application/x-ndjson")
def as_lines(_context: Any, value: Any) -> bytes:
    """Generated values are no transcript: this is what a client sends by mistake."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def operations() -> list[APIOperation[Any, Any, Any, Any]]:
    app = create_app(GatewaySettings(database_url=""), open_pool("", size=1), FakeKube())
    document = schemathesis.openapi.from_dict(app.openapi())
    return [found.ok() for found in document.get_all_operations()]


OPERATIONS = operations()
OF_PEOPLE = [
    one for one in OPERATIONS if "people" in one.tags and one.definition.raw["operationId"] not in APART
]


def send(case: Case, gateway: str, checks: list[Any]) -> None:
    case.headers["Authorization"] = "Bearer token-of-ann"
    case.call_and_validate(base_url=gateway, checks=checks, timeout=LONG)


def test_every_operation_is_fuzzed() -> None:
    assert len(OPERATIONS) > 25
    assert len(OF_PEOPLE) >= 14


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.label)
def test_whatever_is_sent_gets_an_answer_of_the_document(
    operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, people_gateway: str
) -> None:
    @examples(operation)
    @given(operation.as_strategy(generation_mode=mode))
    def fuzz(case: Case) -> None:
        send(case, people_gateway, CHECKED)

    fuzz()


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("operation", OF_PEOPLE, ids=lambda one: one.label)
def test_whatever_is_asked_of_what_is_there_gets_one_too(
    operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, people_gateway: str
) -> None:
    @examples(operation)
    @given(operation.as_strategy(generation_mode=mode))
    def fuzz(case: Case) -> None:
        case.path_parameters["namespace"] = NAMESPACE
        if "name" in case.path_parameters:
            case.path_parameters["name"] = "one" if "/tasks/" in case.path else "first"
        case.headers.pop("Parley-User", None)
        send(case, people_gateway, IN_PLACE)

    fuzz()
