"""Which fields of a step are templates: one list for checking, for rendering, and for putting the result back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import JsonValue

from parley.resources.agent import MAX_TEMPLATE
from parley.resources.task import ContainerStep, PromptStep
from parley.templates.errors import TemplateError


@dataclass(frozen=True, slots=True)
class TextField:
    """A template of a string field: its result is a text."""

    template: str


@dataclass(frozen=True, slots=True)
class ValueField:
    """A value whose strings are templates: its result is any JSON."""

    template: JsonValue


Field: TypeAlias = TextField | ValueField


def container_fields(container: ContainerStep, path: str) -> dict[str, Field]:
    """The templates of a container step, by the path of their field.

    Args:
        container: as it stands in the spec.
        path: of the step, such as ``spec.steps[1]``.
    """
    path = f"{path}.container"
    fields: dict[str, Field] = {}
    for name, texts in (("command", container.command), ("args", container.args)):
        fields |= {f"{path}.{name}[{index}]": TextField(text) for index, text in enumerate(texts)}
    for index, variable in enumerate(container.env):
        if variable.value is not None:
            fields[f"{path}.env[{index}].value"] = TextField(variable.value)
    return fields


def rendered_container(container: ContainerStep, path: str, values: Mapping[str, JsonValue]) -> ContainerStep:
    """The container step with its templates rendered.

    Args:
        container: as it stands in the spec.
        path: of the step, as for ``container_fields``.
        values: what the fields of ``container_fields`` were rendered to, by the same paths.

    Raises:
        TemplateError: a result is longer than the field may be.
    """
    for field, value in values.items():
        if isinstance(value, str) and len(value) > MAX_TEMPLATE:
            message = f"the result has {len(value)} characters; at most {MAX_TEMPLATE} fit here"
            raise TemplateError(field, message)
    path = f"{path}.container"
    texts = {name: text for name, text in values.items() if isinstance(text, str)}
    return container.model_copy(
        update={
            "command": [texts[f"{path}.command[{index}]"] for index in range(len(container.command))],
            "args": [texts[f"{path}.args[{index}]"] for index in range(len(container.args))],
            "env": [
                variable
                if variable.value is None
                else variable.model_copy(update={"value": texts[f"{path}.env[{index}].value"]})
                for index, variable in enumerate(container.env)
            ],
        }
    )


def prompt_fields(prompt: PromptStep, path: str) -> dict[str, Field]:
    """The templates of a prompt step, by the path of their field.

    Args:
        prompt: as it stands in the spec.
        path: of the step, such as ``spec.steps[1]``.
    """
    if prompt.text is not None:
        return {f"{path}.prompt.text": TextField(prompt.text)}
    return {
        f"{path}.prompt.messages[{index}].content": TextField(message.content)
        for index, message in enumerate(prompt.messages or ())
    }


def output_fields(output: Mapping[str, JsonValue] | None) -> dict[str, Field]:
    """The template of a task's output, if it has one, by the path of its field."""
    return {} if output is None else {"spec.output": ValueField(dict(output))}
