"""Parts of specs inside a request: read as leniently as the rest of the protocol, written without what is unset.

A spec's own model refuses fields it does not know. During an upgrade a request may hold some, of a neighbouring
version; here they are dropped, at any depth.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, cast, get_args

from pydantic import BaseModel, BeforeValidator, JsonValue, PlainSerializer

from parley.resources.agent import ModelEndpoint, ModelSpec
from parley.resources.runtime import RunnerPod
from parley.resources.session import SessionUser
from parley.resources.task import PromptStep
from parley.resources.tools import ToolSpec


def known_fields(model: type[BaseModel], value: object) -> object:
    """Drop what a model does not know from a value that is to become one."""
    if not isinstance(value, Mapping):
        return value
    given = cast("Mapping[str, object]", value)
    known: dict[str, object] = {}
    for name, field in model.model_fields.items():
        alias = field.alias or name
        for key in (alias, name):
            if key in given:
                known[key] = _known_within(tuple(_models_in(field.annotation)), given[key])
                break
    return known


def _known_within(models: tuple[type[BaseModel], ...], value: object) -> object:
    if len(models) != 1:  # none: free-form, or a plain value
        return value
    if isinstance(value, list):
        return [known_fields(models[0], entry) for entry in cast("list[object]", value)]
    return known_fields(models[0], value)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _model(value: object) -> object:
    return known_fields(ModelSpec, value)


def _tool(value: object) -> object:
    return known_fields(ToolSpec, value)


def _prompt(value: object) -> object:
    return known_fields(PromptStep, value)


def _user(value: object) -> object:
    return known_fields(SessionUser, value)


def _pod(value: object) -> object:
    return known_fields(RunnerPod, value)


ModelSnapshot = Annotated[
    ModelSpec,
    BeforeValidator(_model),
    PlainSerializer(ModelEndpoint.to_json, return_type=dict[str, JsonValue]),
]
ToolSnapshot = Annotated[
    ToolSpec, BeforeValidator(_tool), PlainSerializer(ToolSpec.to_json, return_type=dict[str, JsonValue])
]
PromptSnapshot = Annotated[
    PromptStep,
    BeforeValidator(_prompt),
    PlainSerializer(PromptStep.to_json, return_type=dict[str, JsonValue]),
]
UserSnapshot = Annotated[
    SessionUser,
    BeforeValidator(_user),
    PlainSerializer(SessionUser.to_json, return_type=dict[str, JsonValue]),
]
PodSnapshot = Annotated[
    RunnerPod, BeforeValidator(_pod), PlainSerializer(RunnerPod.to_json, return_type=dict[str, JsonValue])
]
