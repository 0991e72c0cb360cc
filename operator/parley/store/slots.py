"""The times of a Schedule: each is taken once, whoever asks and however often."""

from parley.store.leader import Fence, leading
from parley.store.pool import Connection
from parley.store.rows import execute, fetch_value

# A slot that was taken but whose Task was never seen may still be made: else a crash between the two would lose it.
TAKE = """
INSERT INTO slots AS s (schedule_uid, slot, task_name) VALUES (%(schedule_uid)s, %(slot)s, %(task_name)s)
ON CONFLICT (schedule_uid, slot) DO UPDATE SET at = now()
WHERE s.made_at IS NULL AND s.task_name = excluded.task_name
RETURNING task_name
"""
CONFIRM = """
UPDATE slots SET made_at = now() WHERE schedule_uid = %(schedule_uid)s AND slot = %(slot)s AND made_at IS NULL
"""
FORGET_OLD = """
DELETE FROM slots
WHERE schedule_uid = %(schedule_uid)s AND made_at < now() - interval '90 days' AND slot <> %(slot)s
"""


async def take_slot(conn: Connection, fence: Fence, schedule_uid: str, slot: str, task_name: str) -> bool:
    """Take a slot for the Task of this name.

    Returns:
        Whether the caller may make the Task: nobody has taken the slot, or a leader did that may not have got to
        make the Task. False once ``confirm_slot`` was called, or for another name.
    """
    parameters = {"schedule_uid": schedule_uid, "slot": slot, "task_name": task_name}
    async with leading(conn, fence):
        return await fetch_value(conn, str, TAKE, parameters) is not None


async def confirm_slot(conn: Connection, fence: Fence, schedule_uid: str, slot: str) -> None:
    """Say that the slot's Task exists: it is never made again, also once it is deleted. Call it after the create."""
    parameters = {"schedule_uid": schedule_uid, "slot": slot}
    async with leading(conn, fence):
        if await execute(conn, CONFIRM, parameters):
            await execute(conn, FORGET_OLD, parameters)
