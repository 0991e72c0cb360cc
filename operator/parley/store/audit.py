"""The audit trail of tasks: every attempt of every step, as it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from parley.store.pool import Connection
from parley.store.records import AttemptState, Cause, EndPhase, Runtime
from parley.store.rows import fetch_all

MOST_ATTEMPTS = 500
"""Attempts of one task that an audit shows, the newest; a fan-out may have tens of thousands."""

# By the position of the last one of the page before: pages stay as they are while tasks are added.
TASKS = """
SELECT t.uid, t.name, t.created_at, t.ended_at, t.end_phase AS phase, t.end_reason AS reason,
       t.end_message AS message, t.gone_since, t.parent_uid,
       (SELECT coalesce(sum(a.input_tokens), 0)::bigint FROM attempts a WHERE a.task_uid = t.uid) AS input_tokens,
       (SELECT coalesce(sum(a.output_tokens), 0)::bigint FROM attempts a WHERE a.task_uid = t.uid) AS output_tokens
FROM tasks t
WHERE t.session_uid = %(session_uid)s
  AND (%(after)s::text IS NULL
       OR (t.created_at, t.uid) < (SELECT last.created_at, last.uid FROM tasks last WHERE last.uid = %(after)s))
ORDER BY t.created_at DESC, t.uid DESC LIMIT %(limit)s
"""
ATTEMPTS = """
SELECT id, task_uid, step, item, number, cause, state, reason, message, runtime, job, pool, exit_code, created_at,
       taken_at, ended_at, input_tokens, output_tokens, made > %(most)s AS cut
FROM (SELECT *, row_number() OVER (PARTITION BY task_uid ORDER BY id DESC) AS newest,
             count(*) OVER (PARTITION BY task_uid) AS made
      FROM attempts
      WHERE task_uid = ANY(%(uids)s::text[])) each
WHERE newest <= %(most)s
ORDER BY task_uid, id
"""


@dataclass(frozen=True, slots=True)
class AttemptAudit:
    """One run of a step. ``message`` is empty once it was erased; ``item`` is -1 without a forEach."""

    id: int
    task_uid: str
    step: str
    item: int
    number: int
    cause: Cause
    state: AttemptState
    reason: str | None
    message: str | None
    runtime: Runtime
    job: str | None
    pool: str | None
    exit_code: int | None
    created_at: datetime
    taken_at: datetime | None
    ended_at: datetime | None
    input_tokens: int
    output_tokens: int
    cut: bool
    """Its task has more, older ones."""


@dataclass(frozen=True, slots=True)
class TaskAudit:
    """A task of a session; ``phase`` is None while it is open."""

    uid: str
    name: str
    created_at: datetime
    ended_at: datetime | None
    phase: EndPhase | None
    reason: str | None
    message: str | None
    gone_since: datetime | None
    parent_uid: str | None
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Tasks, newest first, and where the next page begins."""

    tasks: list[TaskAudit]
    attempts: dict[str, list[AttemptAudit]]
    """By the task's uid, in the order they were made; at most MOST_ATTEMPTS each."""
    next: str | None
    """For ``after``; None at the end."""


async def session_tasks(
    conn: Connection, session_uid: str, *, limit: int, after: str | None = None
) -> TaskPage:
    """Return tasks that belong to a session, with their attempts, those that are gone included."""
    parameters = {"session_uid": session_uid, "limit": limit + 1, "after": after}
    found = await fetch_all(conn, TaskAudit, TASKS, parameters)
    page = found[:limit]
    attempts = await task_attempts(conn, [task.uid for task in page])
    return TaskPage(page, attempts, page[-1].uid if len(found) > limit else None)


async def task_attempts(conn: Connection, task_uids: Sequence[str]) -> dict[str, list[AttemptAudit]]:
    """Return the attempts of tasks, by their uid; the newest MOST_ATTEMPTS of each, in the order they were made."""
    made: dict[str, list[AttemptAudit]] = {uid: [] for uid in task_uids}
    rows = await fetch_all(conn, AttemptAudit, ATTEMPTS, {"uids": list(task_uids), "most": MOST_ATTEMPTS})
    for row in rows:
        made[row.task_uid].append(row)
    return made
