"""Which tool a journaled call is for, by the attempt's own request: a runner's word counts for nothing here."""

from dataclasses import dataclass

from pydantic import JsonValue, TypeAdapter

from parley.protocol.snapshots import ToolSnapshot
from parley.resources.tools import ToolSpec, tool_called
from parley.store.errors import NotAllowed
from parley.store.holding import LockedAttempt
from parley.store.pool import Connection
from parley.store.rows import fetch_one

RESPONSE = """
SELECT result AS value FROM journal
WHERE task_uid = %(task_uid)s AND step = %(step)s AND item = %(item)s AND round = %(round)s AND call = -1
"""

_TOOLS: TypeAdapter[list[ToolSpec]] = TypeAdapter(list[ToolSnapshot])


@dataclass(frozen=True, slots=True)
class JournaledCall:
    """A call as the model asked for it. ``tool`` is None when the agent has none of that name."""

    name: str
    arguments: JsonValue
    tool: ToolSpec | None


@dataclass(frozen=True, slots=True)
class _Value:
    value: JsonValue


async def journaled_call(
    conn: Connection, attempt: LockedAttempt, round_number: int, call: int
) -> JournaledCall:
    """Return a call of a journaled response.

    Raises:
        NotAllowed: the journal lacks it.
    """
    found = await fetch_one(conn, _Value, RESPONSE, attempt.place | {"round": round_number})
    calls = found.value.get("calls") if found is not None and isinstance(found.value, dict) else None
    asked = calls[call] if isinstance(calls, list) and 0 <= call < len(calls) else None
    if not isinstance(asked, dict):
        raise NotAllowed(f"The journal has no call {call} in round {round_number}.")
    name = str(asked.get("name") or "")
    return JournaledCall(name, asked.get("arguments"), _find(attempt, name))


def offers(attempt: LockedAttempt, builtin: str) -> bool:
    """Tell whether the attempt's agent has a built-in tool."""
    listed = attempt.agent.get("builtinTools")
    return isinstance(listed, list) and builtin in listed


def _find(attempt: LockedAttempt, name: str) -> ToolSpec | None:
    listed = attempt.agent.get("tools")
    return tool_called(_TOOLS.validate_python(listed), name) if listed else None
