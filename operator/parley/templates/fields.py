"""Which fields of a step are templates: one list for checking, for rendering, and for putting the result back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import JsonValue

from parley.resources.common import MAX_TEMPLATE
from parley.resources.flow import FailStep, ReturnStep, SetStep, SleepStep, TaskStep, WaitStep
from parley.resources.task import ContainerStep, PromptStep, Step
from parley.resources.tools import ToolStep
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


def when_fields(step: Step, path: str) -> dict[str, Field]:
    """The template of a step's condition, if it has one. It is rendered once, also for a step with forEach.

    Args:
        step: as it stands in the spec.
        path: of the step, such as ``spec.steps[1]``.
    """
    return {} if step.when is None else {f"{path}.when": ValueField(step.when)}


def items_fields(step: Step, path: str) -> dict[str, Field]:
    """The templates of a step's list of items, if it has one."""
    return {} if step.for_each is None else {f"{path}.forEach.items": ValueField(step.for_each.items)}


def kind_fields(step: Step, path: str) -> dict[str, Field]:
    """All templates of what a step does; ``item`` and ``index`` are in their scope where it has forEach."""
    match step:
        case Step(prompt=PromptStep() as prompt):
            return prompt_fields(prompt, path)
        case Step(tool=ToolStep() as call):
            return call_fields(call, path)
        case Step(container=ContainerStep() as container):
            return container_fields(container, path) | input_file_fields(container, path)
        case Step(wait=WaitStep() as wait):
            return question_fields(wait, path) | on_timeout_fields(wait, path)
        case Step(sleep=SleepStep() as sleep):
            return sleep_fields(sleep, path)
        case Step(set=SetStep() as change):
            return set_fields(change, path)
        case Step(task=TaskStep() as task):
            return child_fields(task, path)
        case Step(return_=ReturnStep() as end):
            return return_fields(end, path)
        case Step(fail=FailStep() as end):
            return fail_fields(end, path)
        case _:
            return {}


def container_fields(container: ContainerStep, path: str) -> dict[str, Field]:
    """The templates of a container, by the path of their field; without those of its input file.

    Args:
        container: as it stands in the spec.
        path: of its step or tool, such as ``spec.steps[1]``.
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
    """The container with its templates rendered.

    Args:
        container: as it stands in the spec.
        path: of its step or tool, as for ``container_fields``.
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


def call_fields(call: ToolStep, path: str) -> dict[str, Field]:
    """The templates of the arguments of a tool step."""
    return {f"{path}.tool.arguments": ValueField(dict(call.arguments))} if call.arguments else {}


def input_file_fields(container: ContainerStep, path: str) -> dict[str, Field]:
    """The templates of a container's input file, if it has one; they are rendered in its pod."""
    value = container.input_file
    return {} if value is None else {f"{path}.container.inputFile": ValueField(value)}


def question_fields(wait: WaitStep, path: str) -> dict[str, Field]:
    """The template of a question."""
    return {f"{path}.wait.question": TextField(wait.question)}


def on_timeout_fields(wait: WaitStep, path: str) -> dict[str, Field]:
    """The templates of the answer when nobody replied, if there is one; rendered when the time is over."""
    return {} if wait.on_timeout is None else {f"{path}.wait.onTimeout": ValueField(wait.on_timeout)}


def sleep_fields(sleep: SleepStep, path: str) -> dict[str, Field]:
    """The template of the instant at which a sleep is over, if it has one."""
    return {} if sleep.until is None else {f"{path}.sleep.until": TextField(sleep.until)}


def set_fields(change: SetStep, path: str) -> dict[str, Field]:
    """The templates of what is written into the session's context."""
    return {f"{path}.set.context": ValueField(dict(change.context))}


def child_fields(task: TaskStep, path: str) -> dict[str, Field]:
    """The templates of a child's inputs; those of its spec are its own."""
    return {f"{path}.task.inputs": ValueField(dict(task.inputs))} if task.inputs else {}


def return_fields(end: ReturnStep, path: str) -> dict[str, Field]:
    """The templates of the output with which a task ends early."""
    return {f"{path}.return.value": ValueField(end.value)}


def fail_fields(end: FailStep, path: str) -> dict[str, Field]:
    """The template of why a task fails."""
    return {f"{path}.fail.message": TextField(end.message)}


def output_fields(output: Mapping[str, JsonValue] | None) -> dict[str, Field]:
    """The template of a task's output, if it has one, by the path of its field."""
    return {} if output is None else {"spec.output": ValueField(dict(output))}
