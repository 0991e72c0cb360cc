"""From an attempt's request to what the model is told: system prompt and this turn's messages, rendered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from parley.protocol.messages import InputMessage
from parley.protocol.request import PromptRequest
from parley.resources.reasons import Reason
from parley.runner.failure import StepFailure
from parley.runner.text import storable_text
from parley.templates.errors import TemplateError
from parley.templates.render import render_text
from parley.templates.scope import task_scope

DEFAULT_SYSTEM_TEMPLATE = """\
You are {{ agent.displayName or agent.name }}.
{%- if agent.description %} {{ agent.description }}{% endif %}
{%- if instructions %}

{{ instructions }}
{%- endif %}
{%- if session is defined %}
{%- set id, name = session.user.id | default(""), session.user.name | default("") %}
{%- if name or id %}

You talk with {{ name or id }}{% if name and id %} ({{ id }}){% endif %}.
{%- endif %}
{%- if session.user.about is defined %}

About the person you talk with: {{ session.user.about }}
{%- endif %}
{%- if session.situation %}

The situation: {{ session.situation }}
{%- endif %}
{%- if session.context %}

What is known, as JSON: {{ session.context }}
{%- endif %}
{%- endif %}
"""
"""The system prompt where neither session nor agent has a ``systemTemplate``."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a turn begins with."""

    system: str
    messages: Sequence[InputMessage]


def render_prompt(
    request: PromptRequest, outputs: Mapping[str, JsonValue], stored: Sequence[InputMessage] | None
) -> Prompt:
    """Render everything a prompt step tells the model.

    Args:
        request: the attempt's request.
        outputs: by step name, of the steps that templates may read.
        stored: the turn's messages if an earlier attempt stored them; they are then not rendered again.

    Raises:
        StepFailure: TemplateError, definite; the message names the field.
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
    try:
        messages = stored if stored is not None else _messages(request, scope)
        return Prompt(_system(request, scope), messages)
    except TemplateError as error:
        raise StepFailure(Reason.TEMPLATE_ERROR, str(error), definite=True) from error


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
