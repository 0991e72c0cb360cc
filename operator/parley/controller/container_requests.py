"""Requests of containers: a step's own, and what a child Task is asked for. Both are rendered here, in the evaluator.

Only a container's input file is rendered in its pod, for the outputs it reads may be larger than a request.
"""

from collections.abc import Mapping

from pydantic import JsonValue

from parley.controller.scopes import (
    Item,
    load_scope,
    needed_outputs,
    sources_in,
    task_snapshot,
)
from parley.controller.stored_values import Stored
from parley.controller.task_under_work import TaskUnderWork
from parley.protocol.request import ContainerRequest, InputFile
from parley.resources.agent import MAX_TEMPLATE
from parley.resources.task import ContainerStep
from parley.templates.errors import TemplateError
from parley.templates.evaluator import Evaluator
from parley.templates.fields import container_fields, input_file_fields, rendered_container

MAX_ARGUMENTS_BYTES = 512 * 1024
"""Most bytes of a container's command, arguments and environment together: they are part of its Job, and of what a
process is started with."""
_INSTEAD = "give large values through container.inputFile, which the container finds in /parley/input.json"


async def container_request(
    evaluator: Evaluator,
    task: TaskUnderWork,
    index: int,
    container: ContainerStep,
    stored: Stored,
    item: Item | None,
) -> ContainerRequest:
    """Build the request of a container step's attempt.

    Raises:
        TemplateError: a field could not be rendered, or yields too much.
    """
    path, step = f"spec.steps[{index}]", task.steps[index]
    needed = needed_outputs(task, index, sources_in(container_fields(container, path)))
    scope = await load_scope(task, stored, [*needed.values()], item)
    return ContainerRequest(
        task=task_snapshot(task),
        step=step.name,
        container=await render_container(evaluator, container, path, scope),
        index=None if item is None else item.index,
        input_file=await _input_file(task, index, container, stored, item),
    )


async def render_container(
    evaluator: Evaluator, container: ContainerStep, path: str, scope: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Render all of a container but its input file.

    Args:
        evaluator: where templates are rendered.
        container: of a step, or of an agent's tool.
        path: of the step or the tool, for messages.
        scope: what its templates may read.

    Raises:
        TemplateError: a field could not be rendered, or yields too much.
    """
    values = await evaluator.render(container_fields(container, path), scope)
    _check_sizes(path, values)
    return rendered_container(container, path, values).model_copy(update={"input_file": None}).to_json()


async def _input_file(
    task: TaskUnderWork, index: int, container: ContainerStep, stored: Stored, item: Item | None
) -> InputFile | None:
    if container.input_file is None:
        return None
    fields = input_file_fields(container, f"spec.steps[{index}]")
    scope = await load_scope(task, stored, [], item)
    return InputFile(
        path=next(iter(fields)),
        template=container.input_file,
        scope={name: value for name, value in scope.items() if name != "steps"},
        steps=needed_outputs(task, index, sources_in(fields)),
    )


def _check_sizes(path: str, values: Mapping[str, JsonValue]) -> None:
    """Refuse what no process can be started with, before the API server or the kubelet does.

    Raises:
        TemplateError: one value, or all together, are too large.
    """
    total = 0
    for field, value in values.items():
        text = value if isinstance(value, str) else ""
        if len(text) > MAX_TEMPLATE:
            message = f"the result has {len(text)} characters; at most {MAX_TEMPLATE} fit here: {_INSTEAD}"
            raise TemplateError(field, message)
        total += len(text.encode(errors="replace"))
    if total > MAX_ARGUMENTS_BYTES:
        message = f"command, args and env have {total} bytes; at most {MAX_ARGUMENTS_BYTES} fit: {_INSTEAD}"
        raise TemplateError(f"{path}.container", message)
