"""From a tool call that waits to what is made for it: a container's request, or a Task.

Both are rendered from the paused attempt's own request: the arguments were checked against the tool as it stands there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from pydantic import JsonValue

from parley.controller.child_requests import with_company
from parley.controller.container_requests import render_container
from parley.engine.state import Wait
from parley.protocol.request import ContainerRequest, InputFile, PromptRequest, ToolRequest
from parley.protocol.request import runner_request as read_request
from parley.resources.tools import TaskTool, ToolSpec, tool_called
from parley.templates.errors import TemplateError
from parley.templates.evaluator import Evaluator
from parley.templates.fields import input_file_fields
from parley.templates.scope import task_scope, tool_scope
from parley.templates.tool_fields import queued_fields


@dataclass(frozen=True, slots=True)
class Call:
    """A call that waits.

    Attributes:
        request: of the attempt that made it.
        tool: which one it is of, as that request has it.
        path: of the tool in its Agent, for messages.
        arguments: as the model, or the step, gave them.
    """

    request: PromptRequest | ToolRequest
    tool: ToolSpec
    path: str
    arguments: JsonValue

    @property
    def scope(self) -> dict[str, JsonValue]:
        """What the tool's templates may read."""
        asked = self.request
        known = task_scope(
            inputs=asked.inputs, outputs={}, task=asked.task, session=asked.session, agent=asked.agent
        )
        return tool_scope(known, self.arguments)


@dataclass(frozen=True, slots=True)
class Asked:
    """A call as the store has it: the request of the attempt that paused for it, and the whole arguments."""

    request: Mapping[str, JsonValue]
    arguments: JsonValue


def read_call(paused: Asked, wait: Wait) -> Call:
    """Find a call's tool in the request of the attempt that paused for it.

    Raises:
        TemplateError: the request has no such tool; the store lets no such call wait.
    """
    asked = read_request(paused.request)
    tool = tool_called(asked.agent.tools, wait.call)
    if tool is None:
        raise TemplateError(f"Agent {asked.agent.name}: spec.tools", f"there is no tool {wait.call}")
    path = f"Agent {asked.agent.name}: spec.tools[{asked.agent.tools.index(tool)}]"
    return Call(asked, tool, path, {} if paused.arguments is None else paused.arguments)


async def call_request(
    evaluator: Evaluator, paused: Asked, wait: Wait, step_name: str
) -> dict[str, JsonValue]:
    """Build the request of a container that a call runs.

    Args:
        evaluator: where templates are rendered.
        paused: what was asked for.
        wait: the call; its id is the idempotency key, the same for each attempt.
        step_name: what the container's attempts are kept under.

    Raises:
        TemplateError: a field of the tool could not be rendered.
    """
    call = read_call(paused, wait)
    container = call.tool.container
    if container is None:
        raise TemplateError(call.path, "is no container")
    rendered = await render_container(evaluator, container, call.path, call.scope)
    rendered.pop("timeout", None)
    files = input_file_fields(container, call.path)
    return ContainerRequest(
        task=call.request.task,
        step=step_name,
        container=rendered,
        input_file=InputFile(path=next(iter(files)), template=container.input_file, scope=call.scope)
        if files
        else None,
        idempotency_key=wait.id,
    ).model_dump(mode="json", by_alias=True)


async def queued_inputs(evaluator: Evaluator, call: Call, task: TaskTool) -> dict[str, JsonValue]:
    """Return the inputs of the Task that a call queues.

    Raises:
        TemplateError: they could not be rendered, or are no mapping.
    """
    value = call.arguments
    if task.inputs is not None:
        (value,) = (await evaluator.render(queued_fields(task, call.path), call.scope)).values()
    if not isinstance(value, dict):
        raise TemplateError(f"{call.path}.task.inputs", "the inputs of a Task are a mapping")
    return value


def queued_spec(
    task: TaskTool,
    inputs: Mapping[str, JsonValue],
    company: Mapping[str, JsonValue],
    template_task: Mapping[str, JsonValue],
) -> dict[str, JsonValue]:
    """Return the spec of the Task that a call queues.

    Args:
        task: the tool.
        inputs: rendered.
        company: with whom the calling task is: session, agent, user. The Task's own where its template names nobody.
        template_task: ``spec.task`` of the TaskTemplate.
    """
    spec = {"templateRef": task.template_ref.to_json(), "inputs": dict(inputs)}
    return with_company(cast("dict[str, JsonValue]", spec), company, template_task)
