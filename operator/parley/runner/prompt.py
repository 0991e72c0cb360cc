"""From an attempt's request to what the model is told: system prompt and this turn's messages, rendered."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import JsonValue

from parley.protocol.messages import InputMessage
from parley.protocol.request import PromptRequest, ToolRequest
from parley.resources.reasons import Reason
from parley.runner.chat import ToolDefinition
from parley.runner.daemon_thread import in_daemon_thread
from parley.runner.failure import StepFailure
from parley.runner.text import storable_text
from parley.templates.errors import TemplateError
from parley.templates.render import render_text
from parley.templates.scope import system_scope, task_scope

RENDER_SECONDS = 10.0
Rendered = TypeVar("Rendered")

DEFAULT_SYSTEM_TEMPLATE = """\
You are {{ agent.displayName or agent.name }}.
{%- if agent.description %} {{ agent.description }}{% endif %}
{%- if instructions %}

{{ instructions }}
{%- endif %}
{%- if session is defined %}
{%- set agents = session.agents | default([]) %}
{%- if users | length > 1 %}

You talk with several people:
{%- for person in users %}
- {{ person.name | default(person.id) }}{% if person.name is defined %} ({{ person.id }}){% endif %}
{%- if person.about is defined %}: {{ person.about }}{% endif %}
{%- endfor %}
{%- else %}
{%- set id, name = user.id | default(""), user.name | default("") %}
{%- if name or id %}

You talk with {{ name or id }}{% if name and id %} ({{ id }}){% endif %}.
{%- endif %}
{%- if user.about is defined %}

About the person you talk with: {{ user.about }}
{%- endif %}
{%- endif %}
{%- if agents | length > 1 %}

Other agents take part as well: {{ agents | reject("equalto", agent.name) | join(", ") }}.
{%- endif %}
{%- if users | length > 1 or agents | length > 1 %}

A message that begins with a name and a colon was said by whoever bears the name. Do not begin yours so.
{%- endif %}
{%- if situation %}

The situation: {{ situation }}
{%- endif %}
{%- if context %}

What is known, as JSON: {{ context }}
{%- endif %}
{%- endif %}
"""
"""The system prompt where neither session nor agent has a ``systemTemplate``."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a turn begins with."""

    system: str
    messages: Sequence[InputMessage]


def step_scope(
    request: PromptRequest | ToolRequest, outputs: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """The names that the templates of a step know.

    Args:
        request: the attempt's request.
        outputs: by step name, of the steps that templates may read.
    """
    # A step that was skipped has no output in the store: in templates it is null.
    known = dict.fromkeys(request.needs_outputs) | dict(outputs)
    scope = task_scope(
        inputs=request.inputs,
        outputs=known,
        session=request.session,
        agent=request.agent,
        task=request.task,
    )
    if request.index is not None:
        scope |= {"item": request.item, "index": request.index}
    return scope


def render_prompt(
    request: PromptRequest,
    scope: Mapping[str, JsonValue],
    stored: Sequence[InputMessage] | None,
    tools: Sequence[ToolDefinition] = (),
) -> Prompt:
    """Render everything a prompt step tells the model.

    Args:
        request: the attempt's request.
        scope: of the step's templates, see ``step_scope``.
        stored: the turn's messages if an earlier attempt stored them; they are then not rendered again.
        tools: what the model is offered.

    Raises:
        StepFailure: TemplateError, definite; the message names the field.
    """
    try:
        messages = stored if stored is not None else _messages(request, scope)
        offered = [(tool.name, tool.description) for tool in tools]
        return Prompt(_system(request, system_scope(scope, offered)), messages)
    except TemplateError as error:
        raise StepFailure(Reason.TEMPLATE_ERROR, str(error), definite=True) from error


async def render_within(render: Callable[[], Rendered], path: str) -> Rendered:
    """Render in a thread: a template may loop, and the runner must still hear a SIGTERM.

    Raises:
        StepFailure: TemplateError, definite: it took too long.
    """
    try:
        # Not wait_for: until Python 3.12 that loses a cancellation which comes just as the work is done.
        async with asyncio.timeout(RENDER_SECONDS):
            return await in_daemon_thread(render)
    except TimeoutError:
        raise StepFailure(
            Reason.TEMPLATE_ERROR,
            f"{path}: rendering the templates took longer than {RENDER_SECONDS:.0f} s",
            definite=True,
        ) from None


def _messages(request: PromptRequest, scope: Mapping[str, JsonValue]) -> list[InputMessage]:
    prompt, path = request.prompt, request.path
    if prompt.messages:
        return [
            _message(message.role, render_text(message.content, scope, f"{path}.messages[{index}].content"))
            for index, message in enumerate(prompt.messages)
        ]
    text = prompt.text or ""
    return [_message("user", text if request.literal else render_text(text, scope, f"{path}.text"))]


def _message(role: str, content: str) -> InputMessage:
    return InputMessage.model_validate({"role": role, "content": storable_text(content)})


def _system(request: PromptRequest, scope: Mapping[str, JsonValue]) -> str:
    """Render the system prompt: the session's template, else the agent's, else the built-in one."""
    agent, session = request.agent, request.session
    instructions = render_text(agent.instructions, scope, f"agent {agent.name}: spec.instructions")
    scope = {**scope, "instructions": instructions}
    if session is not None and session.system_template:
        template, path = session.system_template, f"session {session.name}: spec.systemTemplate"
    elif agent.system_template:
        template, path = agent.system_template, f"agent {agent.name}: spec.systemTemplate"
    else:
        template, path = DEFAULT_SYSTEM_TEMPLATE, "the built-in system template"
    return render_text(template, scope, path).strip()
