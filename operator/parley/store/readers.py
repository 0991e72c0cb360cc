"""Who reads which session along, at which gateway; and the pieces of answers that are passed between gateways."""

from collections.abc import Sequence
from dataclasses import dataclass

from parley.store.pool import Connection
from parley.store.rows import execute, fetch_one, fetch_values

READER_SECONDS = 15
"""How long a gateway counts as a session's reader after it has last said so."""

# What is lost of these in a crash is noted anew, or is in the committed event all the same: nobody waits for the disk.
NOTE = """
INSERT INTO readers AS r (session_uid, gateway, until)
SELECT uid, %(gateway)s, now() + make_interval(secs => %(seconds)s)
FROM unnest(%(session_uids)s::text[]) AS reading (uid)
WHERE set_config('synchronous_commit', 'off', true) = 'off' ORDER BY uid
ON CONFLICT (session_uid, gateway) DO UPDATE SET until = excluded.until
"""
# Of gateways that were killed. One that is just being renewed is let be.
FORGET_OLD = """
DELETE FROM readers WHERE (session_uid, gateway) IN
  (SELECT session_uid, gateway FROM readers WHERE until < now() - interval '1 min' FOR UPDATE SKIP LOCKED)
"""
FORGET = "DELETE FROM readers WHERE gateway = %(gateway)s"
READING = "SELECT gateway FROM readers WHERE session_uid = %(session_uid)s AND until > now()"
# Of a turn: other steps say nothing in their session.
SOURCE = """
SELECT a.session_uid, t.name AS task, a.step, a.number AS attempt FROM attempts a JOIN tasks t ON t.uid = a.task_uid
WHERE a.id = %(attempt_id)s AND a.holder = %(holder)s AND a.state = 'Running' AND a.session_uid IS NOT NULL
"""
TELL = """
SELECT pg_notify('parley_deltas', payload)::text FROM unnest(%(payloads)s::text[]) AS each (payload)
WHERE set_config('synchronous_commit', 'off', true) = 'off'
"""


@dataclass(frozen=True, slots=True)
class DeltaSource:
    """Whose answer a piece is of."""

    session_uid: str
    task: str
    step: str
    attempt: int
    """Its number in the step."""


async def delta_source(conn: Connection, attempt_id: int, holder: str) -> DeltaSource | None:
    """Return what a running attempt of a turn is; None for any other, and for one that somebody else holds."""
    return await fetch_one(conn, DeltaSource, SOURCE, {"attempt_id": attempt_id, "holder": holder})


async def note_readers(conn: Connection, gateway: str, session_uids: Sequence[str]) -> None:
    """Say that these sessions are read at this gateway, for some seconds."""
    parameters = {"gateway": gateway, "session_uids": list(session_uids), "seconds": READER_SECONDS}
    await execute(conn, NOTE, parameters)


async def forget_old_readers(conn: Connection) -> None:
    """Drop what gateways have said that were killed since."""
    await execute(conn, FORGET_OLD, {})


async def forget_readers(conn: Connection, gateway: str) -> None:
    """Say that nobody reads at this gateway any more."""
    await execute(conn, FORGET, {"gateway": gateway})


async def reading_gateways(conn: Connection, session_uid: str) -> list[str]:
    """Return the gateways that somebody reads a session at."""
    return await fetch_values(conn, str, READING, {"session_uid": session_uid})


async def tell_deltas(conn: Connection, payloads: Sequence[str]) -> None:
    """Pass pieces of answers to all gateways; each under 8,000 bytes."""
    await execute(conn, TELL, {"payloads": list(payloads)})
