"""Whole values, for rendering and for whoever asks for one; ``load_task`` gives them cut."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from parley.store.pool import Connection
from parley.store.rows import fetch_all, fetch_one, fetch_value

OUTPUTS = """
SELECT step, value FROM outputs
WHERE task_uid = %(task_uid)s AND item = -1 AND step = ANY(%(steps)s::text[])
"""
ITEMS = """
SELECT (each.nth - 1)::int AS index, each.value
FROM steps, json_array_elements(steps.items) WITH ORDINALITY AS each (value, nth)
WHERE steps.task_uid = %(task_uid)s AND steps.step = %(step)s AND each.nth - 1 = ANY(%(indexes)s::bigint[])
"""
CONTEXT = "SELECT context, context_version AS version FROM sessions WHERE uid = %(session_uid)s"
TASK_OUTPUT = "SELECT output AS value FROM tasks WHERE uid = %(uid)s AND ended_at IS NOT NULL"
SPEC = "SELECT spec AS value FROM tasks WHERE uid = %(uid)s"
LOG = "SELECT log FROM attempts WHERE id = %(attempt_id)s"


@dataclass(frozen=True, slots=True)
class _Output:
    step: str
    value: JsonValue


@dataclass(frozen=True, slots=True)
class _Item:
    index: int
    value: JsonValue


@dataclass(frozen=True, slots=True)
class _Context:
    context: dict[str, JsonValue] | None
    version: int


@dataclass(frozen=True, slots=True)
class _Value:
    value: JsonValue


async def load_outputs(conn: Connection, task_uid: str, steps: Sequence[str]) -> dict[str, JsonValue]:
    """Return the whole outputs of these steps; one without an output is left out."""
    rows = await fetch_all(conn, _Output, OUTPUTS, {"task_uid": task_uid, "steps": list(steps)})
    return {row.step: row.value for row in rows}


async def load_items(
    conn: Connection, task_uid: str, step: str, indexes: Sequence[int]
) -> dict[int, JsonValue]:
    """Return the items of a step's forEach at these indexes, counted from 0."""
    parameters = {"task_uid": task_uid, "step": step, "indexes": list(indexes)}
    return {row.index: row.value for row in await fetch_all(conn, _Item, ITEMS, parameters)}


async def load_context(conn: Connection, session_uid: str) -> tuple[dict[str, JsonValue] | None, int]:
    """Return a session's stored context and its version; None, 0 until a step has changed it."""
    found = await fetch_one(conn, _Context, CONTEXT, {"session_uid": session_uid})
    return (None, 0) if found is None else (found.context, found.version)


async def task_output(conn: Connection, uid: str) -> JsonValue:
    """Return the whole output of a task that has ended; None for any other."""
    found = await fetch_one(conn, _Value, TASK_OUTPUT, {"uid": uid})
    return None if found is None else found.value


async def registered_spec(conn: Connection, uid: str) -> dict[str, JsonValue] | None:
    """Return the spec a task was registered with; None for an unknown task."""
    found = await fetch_one(conn, _Value, SPEC, {"uid": uid})
    return found.value if found is not None and isinstance(found.value, dict) else None


async def load_log(conn: Connection, attempt_id: int) -> str | None:
    """Return the end of what an attempt's container wrote; None where nothing was kept."""
    return await fetch_value(conn, str, LOG, {"attempt_id": attempt_id})
