"""The OpenAPI document: FastAPI's, with what it cannot know."""

from collections.abc import Iterator
from typing import Any, cast

from fastapi import FastAPI

from parley.api.problems import PROBLEM_JSON

_PROBLEMS = frozenset({"#/components/schemas/ApiProblem", "#/components/schemas/Problem"})
_OF_CRDS = ("x-kubernetes-", "x-parley-")

Node = dict[str, Any]


def describe_with(app: FastAPI) -> None:
    """Let the app answer ``/openapi.json`` with the document of this module, made once."""
    build = app.openapi

    def described() -> Node:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(build())
        return app.openapi_schema

    app.openapi = described


def _completed(document: Node) -> Node:
    document["info"]["description"] = (
        "Sessions with agents, live. Every request carries a Kubernetes token; what it may do is what RBAC lets it do "
        "with Parley's resources and subresources. Operations tagged `people` are for people and programs, those "
        "tagged `runner` for the pods that run steps."
    )
    document.setdefault("components", {})["securitySchemes"] = {
        "kubernetes": {
            "type": "http",
            "scheme": "bearer",
            "description": "a token that the API server takes; of a step's pod: one for the audience parley",
        }
    }
    for node in _nodes(document):
        for key in [key for key in node if key.startswith(_OF_CRDS)]:
            del node[key]
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["security"] = [{"kubernetes": []}]
            for response in operation["responses"].values():
                _name_problem(response)
    return document


def _name_problem(response: Node) -> None:
    """Say that a problem comes as problem+json: FastAPI gives every model the type of the route's answers."""
    content = cast("dict[str, Node]", response.get("content", {}))
    for media, described in list(content.items()):
        if described.get("schema", {}).get("$ref") in _PROBLEMS:
            del content[media]
            content[PROBLEM_JSON] = described


def _nodes(value: object) -> Iterator[Node]:
    if isinstance(value, dict):
        node = cast("Node", value)
        yield node
        for child in list(node.values()):
            yield from _nodes(child)
    elif isinstance(value, list):
        for child in cast("list[object]", value):
            yield from _nodes(child)
