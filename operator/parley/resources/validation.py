"""What only the operator can find wrong in a spec, beyond what the API server refuses: pure functions.

Problems of templates are ``parley.templates``'s to find. Whatever is found becomes ``Stalled, InvalidSpec``.
"""

from collections.abc import Iterator
from typing import TypeVar, cast

from pydantic import BaseModel, JsonValue, ValidationError

from parley.resources.agent import AgentSpec
from parley.resources.output_schema import schema_problems
from parley.resources.problems import MAX_DEPTH, Problem, deepest_path, free_value_problems, join_path
from parley.resources.session import SessionSpec
from parley.resources.task import PromptStep, TaskSpec

__all__ = ["Problem", "parse_problems", "read_spec", "spec_problems"]

SpecT = TypeVar("SpecT", bound=BaseModel)

_FREE = frozenset({"inputs", "output", "outputSchema", "context"})
"""Fields that hold values of the user's own."""


def read_spec(model: type[SpecT], value: object) -> SpecT | list[Problem]:
    """The spec, or why it cannot be read: it is nested without end, or of another version of the API.

    The API server takes JSON of 10,000 levels; what is far below that ends in a RecursionError in Python's own
    reader and in pydantic's.
    """
    if (deep := deepest_path(value)) is not None:
        field = next((i for i, part in enumerate(deep, 1) if part in _FREE), 1)
        return [Problem(join_path("spec", deep[:field]), f"is nested deeper than {MAX_DEPTH} levels")]
    try:
        return model.model_validate(value)
    except ValidationError as error:
        return parse_problems(error)


def parse_problems(error: ValidationError, root: str = "spec") -> list[Problem]:
    """What pydantic says of a spec, with the paths of its fields."""
    return [Problem(join_path(root, item["loc"]), item["msg"]) for item in error.errors(include_url=False)]


def spec_problems(spec: TaskSpec | AgentSpec | SessionSpec) -> list[Problem]:
    """All that is wrong in a spec, in the order of its fields; empty for a good one.

    An outputSchema takes 2 ms a kilobyte: call it once per generation, and away from the event loop.
    """
    match spec:
        case TaskSpec():
            return list(_task_problems(spec))
        case SessionSpec():
            return [
                *free_value_problems(spec.context, "spec.context"),
                *free_value_problems(cast("JsonValue", spec.metadata), "spec.metadata"),
            ]
        case AgentSpec():
            return []


def _task_problems(spec: TaskSpec) -> Iterator[Problem]:
    # The first three are CEL rules too; an object may be older than the rule.
    if (spec.message is None) == (spec.steps is None):
        yield Problem("spec", "a Task has exactly one of message and steps")
    yield from free_value_problems(spec.inputs, "spec.inputs")
    for index, step in enumerate(spec.steps or ()):
        path = f"spec.steps[{index}]"
        if (step.prompt is None) == (step.container is None):
            yield Problem(path, "a step has exactly one of prompt and container")
        if step.prompt is not None:
            yield from _prompt_problems(step.prompt, f"{path}.prompt")
    if spec.output is not None:
        yield from free_value_problems(spec.output, "spec.output")


def _prompt_problems(prompt: PromptStep, path: str) -> Iterator[Problem]:
    if (prompt.text is None) == (prompt.messages is None):
        yield Problem(path, "a prompt has exactly one of text and messages")
    if prompt.output_schema is not None:
        yield from schema_problems(prompt.output_schema, f"{path}.outputSchema")
