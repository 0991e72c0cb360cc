"""What a person was asked about stays what it was: a step that paused goes on with the tools it had then.

Else an Agent that is edited while a call waits would have another call approved than the one that was shown.
"""

from collections.abc import Mapping

from pydantic import JsonValue

from parley.controller.context import Context
from parley.engine.state import Attempt, TaskState
from parley.store.attempts import load_request

_TOOLS = ("tools", "builtinTools")
"""Fields of an agent, in a request, that say what its calls do."""


def newest_pauses(state: TaskState, step: str) -> dict[int, Attempt]:
    """Return, by item, the newest attempt of a step that paused for calls."""
    paused = [attempt for attempt in state.attempts if (attempt.step, attempt.phase) == (step, "Paused")]
    return {attempt.item: attempt for attempt in sorted(paused, key=lambda attempt: attempt.number)}


async def with_tools_of_pauses(
    context: Context, requests: Mapping[int, dict[str, JsonValue]], state: TaskState, step: str
) -> dict[int, dict[str, JsonValue]]:
    """Return a step's requests, by item, with the tools of the attempts that paused, where one has."""
    pauses, found = newest_pauses(state, step), dict(requests)
    for item in requests.keys() & pauses.keys():
        async with context.store() as connection:
            asked = await load_request(connection, pauses[item].id)
        found[item] = with_tools_of(found[item], asked)
    return found


def with_tools_of(request: dict[str, JsonValue], asked: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return a request whose agent has the tools that another request's agent has, and no others."""
    agent, before = request.get("agent"), asked.get("agent")
    if not isinstance(agent, dict) or not isinstance(before, dict):
        return request
    kept = {name: value for name, value in agent.items() if name not in _TOOLS}
    asked_about = {name: before[name] for name in _TOOLS if name in before}
    return {**request, "agent": {**kept, **asked_about}}
