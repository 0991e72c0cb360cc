"""Requests of what runs in a runner's pod: prompts, and calls of a tool without a model.

Both are rendered in their pod, so they carry templates, and the values these may read.
"""

from collections.abc import Iterable, Mapping, Sequence

from pydantic import JsonValue

from parley.controller.scopes import (
    Item,
    agent_snapshot,
    needed_outputs,
    session_snapshot,
    sources_in,
    task_snapshot,
)
from parley.controller.stored_values import Stored
from parley.controller.task_under_work import TaskUnderWork
from parley.protocol.request import PromptRequest, ToolRequest, ToolUse
from parley.resources.task import PromptStep, Step
from parley.resources.tools import ToolStep
from parley.templates.fields import call_fields, prompt_fields
from parley.templates.tool_fields import tool_fields
from parley.templates.usage import read_usage

RunnerRequest = PromptRequest | ToolRequest


async def runner_request(
    task: TaskUnderWork, index: int, step: Step, stored: Stored, item: Item | None = None
) -> RunnerRequest:
    """Build the request of a prompt or tool step's attempt.

    Raises:
        TemplateError: a template of the step can never be rendered.
    """
    if task.agent is None:
        raise RuntimeError(f"step {step.name} has no agent")
    request: RunnerRequest
    if step.prompt is not None:
        request = await _prompt_request(task, index, step.prompt, stored)
    elif step.tool is not None:
        request = await _tool_request(task, index, step.tool, stored)
    else:
        raise RuntimeError(f"no runner runs step {step.name}")
    return request if item is None else request.model_copy(update={"item": item.value, "index": item.index})


async def round_requests(
    task: TaskUnderWork, index: int, step: Step, stored: Stored, items: Sequence[int]
) -> list[dict[str, JsonValue]]:
    """Build the requests of a step's round, in the order of ``items``; all but the item is the same.

    Raises:
        TemplateError: a template of the step can never be rendered.
    """
    request = await runner_request(task, index, step, stored)
    inputs = _mentioned_inputs(request, _all_sources(task, step))
    base = request.model_copy(update={"inputs": inputs}).model_dump(mode="json", by_alias=True)
    values = await stored.items(step.name, items)
    return [base | {"item": values[item], "index": item} for item in items]


async def _prompt_request(
    task: TaskUnderWork, index: int, prompt: PromptStep, stored: Stored
) -> PromptRequest:
    step, session = task.steps[index], task.session_spec
    default = "Session" if task.session is not None and step.for_each is None else "None"
    history = prompt.history or default
    runs_tools = prompt.auto_run_tools
    if runs_tools is None:
        runs_tools = session is None or session.auto_run_tools is not False
    speaker = task.speaker
    return PromptRequest(
        task=task_snapshot(task),
        step=step.name,
        path="spec.message" if task.spec.message is not None else f"spec.steps[{index}].prompt",
        prompt=prompt,
        literal=task.spec.message is not None,
        history=history if task.session is not None else "None",
        agent=agent_snapshot(task),
        session=await session_snapshot(task, stored),
        inputs=task.spec.inputs,
        needs_outputs=[*needed_outputs(task, index, _own_sources(task, step)).values()],
        auto_run_tools=runs_tools,
        speaker=(speaker.name or speaker.id) if speaker is not None else None,
        several=session is not None and (len(session.people) > 1 or len(session.agent_names) > 1),
    )


async def _tool_request(task: TaskUnderWork, index: int, tool: ToolStep, stored: Stored) -> ToolRequest:
    step = task.steps[index]
    return ToolRequest(
        task=task_snapshot(task),
        step=step.name,
        path=f"spec.steps[{index}].tool",
        tool=ToolUse(name=tool.name, arguments=tool.arguments),
        agent=agent_snapshot(task),
        session=await session_snapshot(task, stored),
        inputs=task.spec.inputs,
        needs_outputs=[*needed_outputs(task, index, _own_sources(task, step)).values()],
    )


def _own_sources(task: TaskUnderWork, step: Step) -> list[str]:
    """Every template that the step's runner renders with the outputs of earlier steps in scope."""
    if step.tool is not None:
        return sources_in(call_fields(step.tool, ""))
    if step.prompt is None:
        return []
    agent, session = task.agent_spec, task.session_spec
    sources = [] if task.spec.message is not None else sources_in(prompt_fields(step.prompt, ""))
    if agent is not None:
        sources += [agent.instructions, agent.system_template]
    if session is not None:
        sources.append(session.system_template)
    return sources


def _all_sources(task: TaskUnderWork, step: Step) -> list[str]:
    """Those, and the templates of the agent's tools, which read the inputs as well."""
    tools = task.agent_spec.tools if task.agent_spec is not None else []
    return _own_sources(task, step) + [text for tool in tools for text in sources_in(tool_fields(tool, ""))]


def _mentioned_inputs(request: RunnerRequest, sources: Iterable[str]) -> Mapping[str, JsonValue]:
    """Leave out the inputs that no template reads: the list of all items need not be in each item's request."""
    found: set[str] = set()
    for source in sources:
        for mention in read_usage(source, request.path).mentions:
            match mention.chain:
                case ("inputs", str(name), *_):
                    found.add(name)
                case ("inputs", *_):
                    return request.inputs
                case _:
                    pass
    return {name: value for name, value in request.inputs.items() if name in found}
