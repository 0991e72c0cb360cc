"""The names a template can use."""

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from parley.protocol.request import AgentSnapshot, SessionSnapshot, TaskSnapshot

TASK_NAMES = ("inputs", "steps", "session", "agent", "task")
"""All names a task's templates can use; ``session`` and ``agent`` only where the task has them."""

ITEM_NAMES = ("item", "index")
"""Names that only the templates of a step with forEach can use, beside those."""

TOOL_NAMES = ("arguments", "inputs", "session", "agent", "task")
"""All names the templates of an agent's tools can use; ``session`` only where the task has one."""

SYSTEM_NAMES = (
    *TASK_NAMES,
    *("instructions", "user", "users", "situation", "context", "metadata", "tools"),
)
"""All names a system prompt's templates can use; those of the session are empty where the task has none."""


_PERSON = ("id", "name", "about")
FIELDS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("agent",): ("name", "displayName", "description"),
    ("session",): ("name", "user", "users", "agents", "situation", "context", "metadata"),
    ("session", "user"): _PERSON,
    ("task",): ("name", "namespace"),
    ("user",): _PERSON,
}
"""What is known below names that hold the same fields everywhere."""


def step_variable(name: str) -> str:
    """How a step is called in templates: hyphens, which would be minus signs, become underscores.

    Step names are DNS labels, without underscores, so no two of them meet.
    """
    return name.replace("-", "_")


def task_scope(
    inputs: Mapping[str, JsonValue],
    outputs: Mapping[str, JsonValue],
    *,
    task: TaskSnapshot,
    session: SessionSnapshot | None = None,
    agent: AgentSnapshot | None = None,
) -> dict[str, JsonValue]:
    """The scope of a task's templates.

    Args:
        inputs: ``spec.inputs``.
        outputs: by step name, of the steps that are done; a skipped step's output is null.
        task: the task itself.
        session: the conversation the task belongs to, if any; ``session`` is undefined without one.
        agent: who answers, if anybody; ``agent`` is undefined without one.
    """
    scope: dict[str, JsonValue] = {
        "inputs": dict(inputs),
        "steps": {step_variable(name): {"output": output} for name, output in outputs.items()},
        "task": {"name": task.name, "namespace": task.namespace},
    }
    if session is not None:
        user = session.user.to_json() if session.user is not None else {}
        scope["session"] = {
            "name": session.name,
            "user": user,
            "users": [person.to_json() for person in session.users],
            "agents": list(session.agents),
            "situation": session.situation,
            "context": session.context,
            "metadata": dict(session.metadata),
        }
    if agent is not None:
        scope["agent"] = {
            "name": agent.name,
            "displayName": agent.display_name,
            "description": agent.description,
        }
    return scope


def system_scope(
    scope: Mapping[str, JsonValue], tools: Iterable[tuple[str, str]] = ()
) -> dict[str, JsonValue]:
    """The scope of a system prompt's templates, but for ``instructions``, which is such a template itself.

    Args:
        scope: of the task, as ``task_scope`` makes it.
        tools: names and descriptions of the tools that the model is offered.
    """
    session = scope.get("session")
    known = session if isinstance(session, dict) else {}
    return {
        **scope,
        "user": known.get("user", {}),
        "users": known.get("users", []),
        "situation": known.get("situation", ""),
        "context": known.get("context", {}),
        "metadata": known.get("metadata", {}),
        "tools": [{"name": name, "description": description} for name, description in tools],
    }


def tool_scope(scope: Mapping[str, JsonValue], arguments: JsonValue) -> dict[str, JsonValue]:
    """The scope of a tool's templates, for one call.

    Args:
        scope: of the task that calls, as ``task_scope`` makes it; what a tool may not know is left out.
        arguments: of the call.
    """
    return {"arguments": arguments} | {name: scope[name] for name in TOOL_NAMES if name in scope}
