"""What a turn's runner is shown of the turns before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncCursor
from pydantic import JsonValue

from parley.protocol.messages import StoredEvent
from parley.store.holding import LockedAttempt
from parley.store.pool import Connection
from parley.store.rows import ask

DEFAULT_WINDOW = 1000
"""Newest messages that a step is shown when its session sets no contextWindow, or does not truncate."""
MAX_HISTORY_BYTES = 2 * 1024 * 1024
"""Most content, as JSON, that a step is shown of earlier turns, whatever the window: the answer to ``take`` is held in
memory by gateway and runner."""
TRUNCATE = "Truncate"

# Tickets are granted in their order, so this is the order in which turns were granted. An event without a turn is
# no part of what the model is shown, but for a queued task's end that came before any turn: it goes with the first. Of
# the events before the oldest message in the window none is shown either: a result never comes without its call, nor
# where one of the two was erased. The end of a queued task may have come between them: it comes after its turn. What
# this step itself has said already is its input, not its history; but a summary that it has made stands for what it
# says, in its next attempt too. Turns older than the oldest message in the window are not even read: a call and its
# result are of one turn. OFFSET 0: turn by turn, by the index; the planner would read the whole session. What fits is
# asked for by subqueries, which are run once: joined, it was counted anew for each event.
HISTORY = """
WITH summary AS (
  SELECT sequence, time, type, role, content, speaker, task, step, item, attempt
  FROM events
  WHERE session_uid = %(session_uid)s AND type = 'summary' AND json_typeof(content) = 'object'
  ORDER BY sequence DESC LIMIT 1
), told AS (
  SELECT (each.range ->> 0)::bigint AS first, (each.range ->> 1)::bigint AS last
  FROM summary, json_array_elements(summary.content -> 'ranges') AS each (range)
), cut AS (
  SELECT coalesce(min(ticket), 0) AS ticket FROM (
    SELECT t.ticket FROM turns t CROSS JOIN LATERAL (
      SELECT FROM events e
      WHERE e.session_uid = t.session_uid AND e.ticket = t.ticket AND e.type = 'message'
        AND json_typeof(e.content) <> 'null'
        AND (e.task_uid, e.step, e.item) IS DISTINCT FROM (%(task_uid)s, %(own_step)s, %(item)s)
        AND NOT EXISTS (SELECT FROM told WHERE e.sequence BETWEEN told.first AND told.last)
      OFFSET 0) message
    WHERE t.session_uid = %(session_uid)s AND t.state = 'Done'
    ORDER BY t.ticket DESC LIMIT %(window)s) newest_messages
), near AS (
  SELECT e.*, e.ticket AS shown_in FROM turns t CROSS JOIN LATERAL (
    SELECT * FROM events WHERE session_uid = t.session_uid AND ticket = t.ticket OFFSET 0) e
  WHERE t.session_uid = %(session_uid)s AND t.ticket >= (SELECT ticket FROM cut) AND t.state = 'Done'
  UNION ALL
  SELECT e.*, 1 AS shown_in FROM events e
  WHERE e.session_uid = %(session_uid)s AND e.ticket IS NULL AND e.type = 'state' AND (SELECT ticket FROM cut) <= 1
), kept AS (
  SELECT e.sequence, e.time, e.type, e.role, e.content, e.speaker, e.task, e.step, e.item, e.attempt,
         e.shown_in AS ticket, e.type = 'state' AS aside,
         CASE WHEN e.type IN ('toolCall', 'toolResult') THEN e.content ->> 'id' END AS call_id
  FROM near e
  WHERE json_typeof(e.content) <> 'null'
    AND (e.task_uid, e.step, e.item) IS DISTINCT FROM (%(task_uid)s, %(own_step)s, %(item)s)
    AND CASE e.type WHEN 'summary' THEN false WHEN 'state' THEN e.content ->> 'state' = 'TaskEnded' ELSE true END
    AND NOT EXISTS (SELECT FROM told WHERE e.sequence BETWEEN told.first AND told.last)
), paired AS (
  SELECT *, bool_or(type = 'toolCall') OVER pair AND bool_or(type = 'toolResult') OVER pair AS whole
  FROM kept WINDOW pair AS (PARTITION BY ticket, call_id)
), past AS (
  SELECT *, count(*) FILTER (WHERE type = 'message') OVER (ORDER BY ticket DESC, aside DESC, sequence DESC) AS newest
  FROM paired WHERE whole OR type NOT IN ('toolCall', 'toolResult')
), shown AS (
  SELECT *, sum(octet_length(content::text)) OVER (ORDER BY ticket DESC, aside DESC, sequence DESC) AS size
  FROM past WHERE newest < %(window)s OR (newest = %(window)s AND type = 'message')
), fitting AS (
  SELECT max(newest) FILTER (WHERE type = 'message' AND size <= %(bytes)s) AS messages FROM shown
)
SELECT sequence, time, type, role, content, speaker, task, step, item, attempt
FROM (SELECT *, 0 AS ticket, false AS aside FROM summary
      UNION ALL
      SELECT sequence, time, type, role, content, speaker, task, step, item, attempt, ticket, aside
      FROM shown
      WHERE newest < (SELECT messages FROM fitting)
         OR (newest = (SELECT messages FROM fitting) AND type = 'message')
         OR (newest = 0 AND type = 'state' AND size <= %(bytes)s)) history
ORDER BY ticket, aside, sequence
"""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """An event of an ended turn."""

    sequence: int
    time: datetime
    type: str
    role: str | None
    content: JsonValue
    speaker: str | None
    task: str | None
    step: str | None
    item: int
    attempt: int | None


async def ask_history(conn: Connection, attempt: LockedAttempt) -> AsyncCursor[HistoryRow]:
    """Ask, in a ``conn.pipeline()``, for the events of ended turns that a turn's attempt is shown, as granted.

    First comes the newest summary; what it stands for is left out. ``contextWindow`` counts messages, and only while
    the session truncates: one that summarizes or fails sees for itself what is too much.
    """
    session = attempt.request.get("session")
    limits = session if isinstance(session, dict) else {}
    window = limits.get("contextWindow")
    truncates = (limits.get("contextOverflow") or TRUNCATE) == TRUNCATE
    parameters = {
        "session_uid": attempt.session_uid,
        "task_uid": attempt.task_uid,
        "own_step": attempt.step,
        "item": attempt.item,
        "window": window if truncates and isinstance(window, int) else DEFAULT_WINDOW,
        "bytes": MAX_HISTORY_BYTES,
    }
    return await ask(conn, HistoryRow, HISTORY, parameters)


def stored_events(rows: Sequence[HistoryRow]) -> list[StoredEvent]:
    """Return the events as a runner is told them."""
    return [StoredEvent.model_validate(row, from_attributes=True) for row in rows]
