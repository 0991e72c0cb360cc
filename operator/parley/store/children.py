"""Children: Tasks that a ``task`` step made, and how their ends come back to it."""

from dataclasses import dataclass
from typing import Literal

from parley.store.ending import wake
from parley.store.leader import Fence, leading
from parley.store.locks import lock_open_task
from parley.store.pool import Connection
from parley.store.rows import execute, fetch_one, fetch_value

MAX_DEPTH = 5
"""Levels of children below the first task."""
MAX_TREE = 500
"""Tasks in a family: the first one and all below it, those included that were made for retries or by tools."""

FAMILY = "SELECT coalesce(root_uid, uid) AS root_uid, depth FROM tasks WHERE uid = %(task_uid)s"
# Two of a family that make a child at once must not both count the other out. Not the first task's row: rows of tasks
# are locked in no order.
LOCK_FAMILY = "SELECT pg_advisory_xact_lock(hashtextextended('parley/family/' || %(root_uid)s, 0))::text"
# Attempts, not rows of tasks: a child that is not registered yet counts too.
COUNT = """
SELECT 1 + (SELECT count(*) FROM tasks t JOIN attempts a ON a.task_uid = t.uid AND a.child
            WHERE t.uid = %(root_uid)s OR t.root_uid = %(root_uid)s)
         + (SELECT count(*) FROM tasks t JOIN queued_tasks q ON q.queued_by = t.uid
            WHERE t.uid = %(root_uid)s OR t.root_uid = %(root_uid)s)
"""
TASK_OF_ATTEMPT = "SELECT task_uid FROM attempts WHERE id = %(attempt_id)s"
FINISH = """
UPDATE attempts a
SET state = CASE c.end_phase WHEN 'Succeeded' THEN 'Succeeded' ELSE 'Failed' END,
    reason = c.end_reason,
    message = CASE c.end_phase WHEN 'Succeeded' THEN c.end_message
                               ELSE format('Task %%s: %%s', c.name, c.end_message) END,
    ended_at = now()
FROM tasks c
WHERE a.id = %(attempt_id)s AND a.child AND a.state = 'Open'
  AND c.uid = %(child_uid)s AND c.parent_uid = a.task_uid AND c.parent_attempt = a.id AND c.ended_at IS NOT NULL
RETURNING a.state
"""
# Only an attempt that stood once makes the Task of its name a child: an owner reference alone can be forged.
IS_LEFT = """
SELECT EXISTS (SELECT FROM attempts a JOIN tasks p ON p.uid = a.task_uid
               WHERE p.uid = %(parent_uid)s AND a.child AND a.job = %(name)s
                 AND (a.ended_at IS NOT NULL OR p.ended_at IS NOT NULL OR p.gone_since IS NOT NULL))
"""
STORE_OUTPUT = """
INSERT INTO outputs (task_uid, step, item, value)
SELECT a.task_uid, a.step, a.item, coalesce(c.output, 'null')
FROM attempts a, tasks c WHERE a.id = %(attempt_id)s AND c.uid = %(child_uid)s
"""


@dataclass(frozen=True, slots=True)
class _Family:
    root_uid: str
    depth: int


async def finish_child(conn: Connection, fence: Fence, attempt_id: int, child_uid: str) -> bool:
    """Commit the end of a child as the outcome of the attempt that made it: phase, reason, message, whole output.

    A child that was Cancelled makes the attempt Failed, Cancelled. The message of one without success begins with
    the child's name.

    Returns:
        Whether this call committed it. False: the attempt is closed, its task ended, or the child is not this
        attempt's or has not ended.
    """
    which = {"attempt_id": attempt_id, "child_uid": child_uid}
    async with leading(conn, fence):
        task_uid = await fetch_value(conn, str, TASK_OF_ATTEMPT, which)
        if task_uid is None or not await lock_open_task(conn, task_uid):
            return False
        state = await fetch_value(conn, str, FINISH, which)
        if state is None:
            return False
        if state == "Succeeded":
            await execute(conn, STORE_OUTPUT, which)
        await wake(conn, task_uid)
        return True


async def is_left(conn: Connection, parent_uid: str, name: str) -> bool:
    """Tell whether the attempt that made the Task of this name waits for it no more. The Task may have no row yet."""
    return await fetch_value(conn, bool, IS_LEFT, {"parent_uid": parent_uid, "name": name}) or False


async def count_tree(conn: Connection, root_uid: str) -> int:
    """Return how many tasks a family has or is about to have, the first one included."""
    return await fetch_value(conn, int, COUNT, {"root_uid": root_uid}) or 0


async def refuse_child(conn: Connection, task_uid: str) -> Literal["task", "depth", "tree"] | None:
    """Return why a task may have no other child, None if it may; the answer holds until the caller's transaction ends.

    To be called before any task's row is locked.
    """
    family = await fetch_one(conn, _Family, FAMILY, {"task_uid": task_uid})
    if family is None:
        return "task"
    if family.depth >= MAX_DEPTH:
        return "depth"
    await execute(conn, LOCK_FAMILY, {"root_uid": family.root_uid})
    return "tree" if await count_tree(conn, family.root_uid) >= MAX_TREE else None
