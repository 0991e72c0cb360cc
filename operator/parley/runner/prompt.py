"""From an attempt's request to what the model is told: system prompt and this turn's messages, rendered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from parley.protocol.messages import InputMessage
from parley.protocol.request import PromptRequest, ToolRequest
from parley.resources.reasons import Reason
from parley.runner.chat import ToolDefinition
from parley.runner.failure import StepFailure
from parley.runner.rendering import Renderer
from parley.runner.text import storable_text
from parley.templates.errors import TemplateError
from parley.templates.scope import system_scope, task_scope

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


async def render_prompt(
    request: PromptRequest,
    scope: Mapping[str, JsonValue],
    stored: Sequence[InputMessage] | None,
    tools: Sequence[ToolDefinition],
    renderer: Renderer,
) -> Prompt:
    """Render everything a prompt step tells the model.

    Args:
        request: the attempt's request.
        scope: of the step's templates, see ``step_scope``.
        stored: the turn's messages if an earlier attempt stored them; they are then not rendered again.
        tools: what the model is offered.
        renderer: renders.

    Raises:
        StepFailure: TemplateError, definite; the message names the field.
    """
    try:
        messages = stored if stored is not None else await _messages(request, scope, renderer)
        offered = [(tool.name, tool.description) for tool in tools]
        return Prompt(await _system(request, system_scope(scope, offered), renderer), messages)
    except TemplateError as error:
        raise StepFailure(Reason.TEMPLATE_ERROR, str(error), definite=True) from error


async def _messages(
    request: PromptRequest, scope: Mapping[str, JsonValue], renderer: Renderer
) -> list[InputMessage]:
    prompt, path = request.prompt, request.path
    if prompt.messages:
        roles = {f"{path}.messages[{index}].content": said.role for index, said in enumerate(prompt.messages)}
        templates = dict(zip(roles, (said.content for said in prompt.messages), strict=True))
    else:
        roles, templates = {f"{path}.text": "user"}, {f"{path}.text": prompt.text or ""}
        if request.literal:
            return [_message("user", prompt.text or "")]
    texts = await renderer.texts(templates, scope)
    return [_message(role, texts[field]) for field, role in roles.items()]


def _message(role: str, content: str) -> InputMessage:
    return InputMessage.model_validate({"role": role, "content": storable_text(content)})


async def _system(request: PromptRequest, scope: Mapping[str, JsonValue], renderer: Renderer) -> str:
    """Render the system prompt: the session's template, else the agent's, else the built-in one."""
    agent, session = request.agent, request.session
    path = f"agent {agent.name}: spec.instructions"
    scope = {**scope, "instructions": (await renderer.texts({path: agent.instructions}, scope))[path]}
    if session is not None and session.system_template:
        template, path = session.system_template, f"session {session.name}: spec.systemTemplate"
    elif agent.system_template:
        template, path = agent.system_template, f"agent {agent.name}: spec.systemTemplate"
    else:
        template, path = DEFAULT_SYSTEM_TEMPLATE, "the built-in system template"
    return (await renderer.texts({path: template}, scope))[path].strip()
