"""The document that clients are made from: every operation named, and every answer described."""

import re
from pathlib import Path
from typing import Any

import pytest
from parley.gateway.app import create_app
from parley.gateway.settings import GatewaySettings
from parley.store.pool import open_pool

from tests.fake_kube import FakeKube


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(GatewaySettings(database_url=""), open_pool("", size=1), FakeKube()).openapi()


@pytest.fixture
def of_people(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Operations for people, by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "people" in operation["tags"]
    }


def test_it_is_openapi_3_1_with_a_bearer_token(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


def test_every_operation_has_a_name_and_words(of_people: dict[str, dict[str, Any]]) -> None:
    names = [operation["operationId"] for operation in of_people.values()]
    assert len(set(names)) == len(names) >= 17
    assert all(name.isalpha() for name in names), names
    for what, operation in of_people.items():
        assert what.split()[1].startswith("/v1/namespaces/{namespace}/"), what
        assert operation["description"], what
        assert operation["security"], what


def test_every_refusal_is_described_as_a_problem(of_people: dict[str, dict[str, Any]]) -> None:
    for what, operation in of_people.items():
        refusals = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert {"400", "401", "403", "404", "408", "413", "415", "422", "429", "503"} <= refusals.keys(), what
        for status, answer in refusals.items():
            assert list(answer["content"]) == ["application/problem+json"], (what, status)
            assert answer["description"], (what, status)


def test_whoever_asks_of_one_session_may_meet_a_spec_that_cannot_be_read(
    of_people: dict[str, dict[str, Any]],
) -> None:
    undeclared = [
        what
        for what, operation in of_people.items()
        if "/sessions/{name}" in what and "409" not in operation["responses"]
    ]
    assert not undeclared


def test_a_runners_malformed_headers_are_described(document: dict[str, Any]) -> None:
    undeclared = [
        path
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if "runner" in operation["tags"] and "400" not in operation["responses"]
    ]
    assert not undeclared


def test_the_page_lists_every_request_with_its_parameters(of_people: dict[str, dict[str, Any]]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "gateway.md").read_text()
    rows = re.findall(r"^\| `([A-Z]+ /\S*)` \| `(\w+)` \| ?(.*?) ?\|$", page, re.MULTILINE)
    listed = {what: (name, frozenset(re.findall(r"`(\w+)`", more))) for what, name, more in rows}
    known = {
        what.replace("/v1/namespaces/{namespace}", ""): (
            operation["operationId"],
            frozenset(one["name"] for one in operation.get("parameters", []) if one["in"] == "query"),
        )
        for what, operation in of_people.items()
    }
    assert listed == known


def test_nothing_of_the_crds_machinery_is_in_it(document: dict[str, Any]) -> None:
    text = str(document)
    assert "x-kubernetes" not in text
    assert "x-parley" not in text
    assert document["components"]["schemas"]["CreateSession"]["additionalProperties"] is False
