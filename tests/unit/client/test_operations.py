"""Every operation of the gateway's OpenAPI document has a method with its path, its parameters and its models."""

import inspect
from types import NoneType
from typing import Any, cast

import pytest
from parley.client import AsyncParley, Parley
from parley.client.base import Operations
from parley.client.operation import ROOT, Endpoint, Operation
from parley.client.operations import CHAT, EXPORT, IMPORT, STREAM
from parley.gateway.app import create_app
from parley.gateway.settings import GatewaySettings

from tests.fake_kube import FakeKube

STREAMS = {"streamSession": STREAM, "chat": CHAT, "exportSession": EXPORT, "importSession": IMPORT}
METHODS = {"streamSession": "stream", "chat": "chat"}


def described() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """The people's operations, by their id: method, path and description."""
    settings = GatewaySettings(database_url="postgresql://nobody@127.0.0.1:1/none")
    document = create_app(settings, cast("Any", None), FakeKube()).openapi()
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "people" in operation.get("tags", ())
    }


def own() -> dict[str, Endpoint]:
    """The client's operations, by the id they would have."""
    operations = {
        _camel(name): found.endpoint
        for name, found in vars(Operations).items()
        if isinstance(found, Operation)
    }
    return operations | STREAMS


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def _model(content: dict[str, Any]) -> str | None:
    """The model that a body's or an answer's JSON is said to be."""
    reference = content.get("application/json", {}).get("schema", {}).get("$ref")
    return reference.rpartition("/")[2].removesuffix("-Input").removesuffix("-Output") if reference else None


DESCRIBED, OWN = described(), own()


def test_the_client_has_the_gateways_operations_and_no_others() -> None:
    assert sorted(OWN) == sorted(DESCRIBED)


@pytest.mark.parametrize("name", sorted(DESCRIBED))
def test_an_operation_is_as_the_gateway_describes_it(name: str) -> None:
    method, path, operation = DESCRIBED[name]
    endpoint = OWN[name]

    assert (endpoint.method, ROOT + endpoint.path) == (method, path)
    if name != "importSession":
        body = operation.get("requestBody", {}).get("content", {})
        assert (endpoint.body.__name__ if endpoint.body else None) == _model(body)
    if name not in {"streamSession", "chat", "exportSession"}:
        answers = {
            _model(answer.get("content", {}))
            for status, answer in operation["responses"].items()
            if status.startswith("2")
        }
        assert answers == {endpoint.answer.__name__ if endpoint.answer else None}
    keys = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "header"]
    assert endpoint.keyed == ("Idempotency-Key" in keys)


@pytest.mark.parametrize("name", sorted(set(DESCRIBED) - {"streamSession"}))
def test_every_query_parameter_can_be_given(name: str) -> None:
    method = METHODS.get(name) or "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    found = getattr(Parley, method)
    parameters = inspect.signature(getattr(found, "__wrapped__", found)).parameters
    asked = {one["name"] for one in DESCRIBED[name][2].get("parameters", ()) if one["in"] == "query"}
    given = {_camel(parameter) for parameter in parameters} | ({"type"} if "types" in parameters else set())

    assert asked <= given


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    for name in ("stream", "chat", "export_session", "import_session", "close"):
        sync, asynchronous = (inspect.signature(getattr(kind, name)) for kind in (Parley, AsyncParley))
        assert list(sync.parameters) == list(asynchronous.parameters)
    client = Parley("http://gateway", "token", namespace="shop")
    for name, found in vars(Operations).items():
        if isinstance(found, Operation):
            assert inspect.getdoc(getattr(client, name)), f"{name} says what it does"
            assert list(inspect.signature(getattr(client, name)).parameters), f"{name} says what it takes"
    client.close()


def test_no_answer_is_said_by_none() -> None:
    assert OWN["deleteSession"].answer is None
    assert NoneType not in [endpoint.answer for endpoint in OWN.values()]
