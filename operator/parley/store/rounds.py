"""A round: the attempts of many items of one step, which one Indexed Job runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from parley.store.attempts import Refused, close_old, is_child
from parley.store.leader import Fence, leading
from parley.store.locks import lock_live_task
from parley.store.pool import Connection
from parley.store.records import NO_ITEM, Close, Inserted, NewAttempt, NotGranted
from parley.store.rows import Parameters, encode, fetch_all

INSERT = """
INSERT INTO attempts (task_uid, step, item, number, cause, job, index, request, deadline, runtime, run_timeout)
SELECT %(task_uid)s, %(step)s, n.item, n.number, n.cause, %(job)s, n.index, n.request::json, now() + n.timeout,
       %(runtime)s, n.item_timeout
FROM unnest(%(items)s::int[], %(numbers)s::int[], %(causes)s::text[], %(indexes)s::int[], %(requests)s::text[],
            %(timeouts)s::interval[], %(item_timeouts)s::interval[])
  AS n (item, number, cause, index, request, timeout, item_timeout)
WHERE n.number = 1 + coalesce((SELECT max(a.number) FROM attempts a
                               WHERE a.task_uid = %(task_uid)s AND a.step = %(step)s AND a.item = n.item), 0)
  AND NOT EXISTS (SELECT FROM attempts a WHERE a.task_uid = %(task_uid)s AND a.step = %(step)s AND a.item = n.item
                  AND a.state IN ('Open', 'Running', 'Succeeded'))
  AND NOT EXISTS (SELECT FROM steps s
                  WHERE s.task_uid = %(task_uid)s AND s.step = %(step)s AND s.ended_at IS NOT NULL)
ON CONFLICT DO NOTHING
RETURNING item, id, deadline
"""


@dataclass(frozen=True, slots=True)
class _Row:
    item: int
    id: int
    deadline: datetime


async def insert_round(
    conn: Connection, fence: Fence, round_: Sequence[NewAttempt], close: Sequence[Close] = ()
) -> list[Inserted] | NotGranted:
    """Insert the attempts of a round, in order, and close those that they follow: all or nothing.

    They are of one task and one step, without a turn, with the same job and indexes of their own. Only after an
    answer that lists them may the Job be created.

    Raises:
        ValueError: they are not, or there are none.
    """
    parameters = _checked(round_)
    followed = [*close, *(new.close for new in round_ if new.close is not None)]
    try:
        async with leading(conn, fence):
            await _prepare(conn, round_[0].task_uid, followed)
            return await _insert(conn, round_, parameters)
    except Refused as refused:
        return refused.answer


async def _prepare(conn: Connection, task_uid: str, close: Sequence[Close]) -> None:
    """Lock the task and close what the round follows."""
    if not await lock_live_task(conn, task_uid):
        raise Refused("task")
    for old in close:
        await close_old(conn, task_uid, old)


async def _insert(conn: Connection, round_: Sequence[NewAttempt], parameters: Parameters) -> list[Inserted]:
    rows = {row.item: row for row in await fetch_all(conn, _Row, INSERT, parameters)}
    if len(rows) < len(round_):
        raise Refused("stale")
    return [Inserted(rows[new.item].id, rows[new.item].deadline, None) for new in round_]


def _checked(round_: Sequence[NewAttempt]) -> dict[str, object]:
    """Return the round as parameters."""
    if not round_:
        raise ValueError("a round has at least one attempt")
    first = round_[0]
    if any((new.task_uid, new.step, new.job) != (first.task_uid, first.step, first.job) for new in round_):
        raise ValueError("a round is of one task, one step and one Job")
    if any(new.session_uid is not None or new.item == NO_ITEM or is_child(new) for new in round_):
        raise ValueError("a round has items, no turn and no children")
    if len({new.index for new in round_}) < len(round_) or len({new.item for new in round_}) < len(round_):
        raise ValueError("in a round every item and every index comes once")
    return {
        "task_uid": first.task_uid,
        "step": first.step,
        "job": first.job,
        "runtime": first.runtime,
        "items": [new.item for new in round_],
        "numbers": [new.number for new in round_],
        "causes": [new.cause for new in round_],
        "indexes": [new.index for new in round_],
        "requests": [encode(dict(new.request)) for new in round_],
        "timeouts": [new.timeout for new in round_],
        "item_timeouts": [new.item_timeout for new in round_],
    }
