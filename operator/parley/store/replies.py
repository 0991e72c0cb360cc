"""What people answer, and what happens when nobody does."""

from collections.abc import Mapping

from pydantic import JsonValue

from parley.store.leader import Fence
from parley.store.pool import Connection
from parley.store.records import ReplyVerdict


async def answer_wait(
    conn: Connection,
    fence: Fence,
    *,
    reply_uid: str,
    task_uid: str,
    wait_id: str,
    body: Mapping[str, JsonValue],
    by: str,
) -> ReplyVerdict:
    """Take a Reply to what a task waits for. The same ``reply_uid`` gets the same verdict again, for good.

    ``body`` has ``choice`` or ``value``, and perhaps ``message``. The caller has checked a value against the wait's
    schema. Accepted: the step has Succeeded with ``{choice|value, by, message, at}``, and the task's session, if it
    has one, a ``reply`` event.
    """
    raise NotImplementedError


async def expire_wait(
    conn: Connection, fence: Fence, wait_id: str, output: JsonValue = None, *, has_default: bool
) -> bool:
    """End a wait whose deadline has passed: with ``output`` as its choice or value, else Failed, WaitTimeout.

    Returns:
        Whether this call ended it. False: it was answered, its deadline has moved, or its task is suspended or ended.
    """
    raise NotImplementedError
