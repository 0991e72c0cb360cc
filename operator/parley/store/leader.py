"""The leader's fence and its tick."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta

from psycopg import Rollback

from parley.store.errors import Fenced
from parley.store.pool import Connection
from parley.store.rows import Statement, ask, beginning, execute, fetch_value

__all__ = ["Fence", "Fenced", "leading", "raise_epoch", "tick"]

GAP = timedelta(seconds=30)
"""A longer time between two ticks means that the store or the operator was away."""
SILENCE = timedelta(seconds=10)
"""After a longer time between two ticks leases begin anew: runners repeat a lost heartbeat within seconds."""
GRACE = timedelta(seconds=30)
"""What open deadlines get on top of the gap, so that what finished meanwhile can be told first."""

# Three locks on the leader's row. Writes take KEY SHARE: they pass each other, and the tick. The tick takes NO KEY
# UPDATE: with SHARE for the writes it would wait for a moment without any, which under load never comes. A new epoch
# and a tick that moves deadlines take UPDATE, which waits for all writes under way and lets none begin.
FIRST_EPOCH = """
INSERT INTO leader (cluster, install, epoch, holder) VALUES (%(cluster)s, %(install)s, 1, %(holder)s)
ON CONFLICT (cluster, install) DO NOTHING
RETURNING epoch
"""
LOCK_OUT = "SELECT epoch FROM leader WHERE cluster = %(cluster)s AND install = %(install)s FOR UPDATE"
NEXT_EPOCH = """
UPDATE leader SET epoch = epoch + 1, holder = %(holder)s WHERE cluster = %(cluster)s AND install = %(install)s
RETURNING epoch
"""
LOCK_LEADER = """
SELECT now() - tick AS since_tick FROM leader
WHERE cluster = %(cluster)s AND install = %(install)s AND epoch = %(epoch)s FOR KEY SHARE
"""
LOCK_TICK = """
SELECT now() - tick AS since_tick FROM leader
WHERE cluster = %(cluster)s AND install = %(install)s AND epoch = %(epoch)s FOR NO KEY UPDATE
"""
WRITE_TICK = """
UPDATE leader SET tick = greatest(tick, now()) WHERE cluster = %(cluster)s AND install = %(install)s
"""
# Before tasks, as everywhere. Who could not be answered meanwhile has not been silent.
MOVE_SESSIONS = """
UPDATE sessions SET active_at = least(active_at + %(by)s, now())
WHERE cluster = %(cluster)s AND install = %(install)s AND gone_since IS NULL AND state IN ('Active', 'Dormant')
"""
MOVE_TASKS = """
UPDATE tasks SET deadline = deadline + %(by)s
WHERE cluster = %(cluster)s AND install = %(install)s AND deadline IS NOT NULL
  AND ended_at IS NULL AND gone_since IS NULL AND suspended_since IS NULL
"""
MOVE_ATTEMPTS = """
UPDATE attempts a SET deadline = a.deadline + %(by)s, lease_until = a.lease_until + %(by)s
FROM tasks t
WHERE a.state IN ('Open', 'Running') AND t.uid = a.task_uid AND NOT (a.child AND t.suspended_since IS NOT NULL)
  AND t.cluster = %(cluster)s AND t.install = %(install)s
"""
# Who could not be heard meanwhile has as long as ever to be heard now.
KEEP_LEASES = """
UPDATE attempts a SET lease_until = greatest(a.lease_until, now() + interval '9 s')
FROM tasks t
WHERE a.state = 'Running' AND a.lease_until IS NOT NULL AND t.uid = a.task_uid
  AND t.cluster = %(cluster)s AND t.install = %(install)s
"""
MOVE_WAITS = """
UPDATE waits w SET deadline = w.deadline + %(by)s
FROM tasks t
WHERE w.state = 'Open' AND w.deadline IS NOT NULL AND t.uid = w.task_uid AND t.suspended_since IS NULL
  AND t.cluster = %(cluster)s AND t.install = %(install)s
"""


@dataclass(frozen=True, slots=True)
class Fence:
    """A leader's claim.

    ``cluster`` is the uid of the namespace kube-system, ``install`` the release's name.
    """

    cluster: str
    install: str
    epoch: int


@dataclass(frozen=True, slots=True)
class _Leading:
    since_tick: timedelta


async def raise_epoch(conn: Connection, cluster: str, install: str, holder: str) -> Fence:
    """Make the caller, who holds the Lease, the leader: all older fences are refused from now on.

    Writes of older leaders that are under way are waited for. Applies the gap rule of ``tick`` at once.
    """
    async with conn.transaction():
        parameters = {"cluster": cluster, "install": install, "holder": holder}
        epoch = await fetch_value(conn, int, FIRST_EPOCH, parameters)
        if epoch is None:
            await execute(conn, LOCK_OUT, parameters)
            epoch = await fetch_value(conn, int, NEXT_EPOCH, parameters)
        if epoch is None:
            raise AssertionError("a leader's row is never deleted")
        fence = Fence(cluster, install, epoch)
        await tick(conn, fence)
    return fence


@asynccontextmanager
async def leading(conn: Connection, fence: Fence, *first: Statement) -> AsyncGenerator[list[int], None]:
    """Run the block in a transaction that holds the leader's epoch: the frame of every operator write.

    The first write after a gap is preceded by a tick: no deadline strikes for the time when nobody was there.

    Args:
        conn: a connection to the store.
        fence: the leader's claim.
        first: statements that go along with the first question; the block is told how many rows each touched.

    Raises:
        Fenced: another leader has raised the epoch.
    """
    while True:
        async with AsyncExitStack() as transaction:
            # In one round trip: this is how most of what the leader asks begins.
            async with beginning(conn, transaction):
                cursor = await ask(conn, _Leading, LOCK_LEADER, asdict(fence))
                touched = [await conn.execute(query, parameters) for query, parameters in first]
            found = await cursor.fetchone()
            if found is None:
                raise _fenced(fence)
            if found.since_tick <= GAP:
                yield [each.rowcount for each in touched]
                return
            # The tick comes before all of it.
            raise Rollback
        await tick(conn, fence)


async def tick(conn: Connection, fence: Fence) -> timedelta:
    """Say that leader and store are there; call it every 5 s.

    After a gap of more than 30 s every open deadline of this install (attempts and their leases, tasks,
    waits) moves by the gap plus 30 s; a suspended task's own deadlines, and those of its waits and its children, stand
    still and move when it resumes. Sessions do not age meanwhile either. After a gap of more than 10 s leases begin
    anew.
    Any other operator write does this too when it is the first after the gap.

    Returns:
        How far the deadlines moved; zero mostly.

    Raises:
        Fenced: another leader has raised the epoch.
    """
    async with conn.transaction():
        since_tick = await fetch_value(conn, timedelta, LOCK_TICK, asdict(fence))
        if since_tick is None:
            raise _fenced(fence)
        if since_tick > SILENCE:
            await execute(conn, LOCK_OUT, asdict(fence))
        await execute(conn, WRITE_TICK, asdict(fence))
        if since_tick <= GAP:
            if since_tick > SILENCE:
                await execute(conn, KEEP_LEASES, asdict(fence))
            return timedelta(0)
        by = since_tick + GRACE
        for move in (MOVE_SESSIONS, MOVE_TASKS, MOVE_ATTEMPTS, MOVE_WAITS):
            await execute(conn, move, asdict(fence) | {"by": by})
        return by


def _fenced(fence: Fence) -> Fenced:
    return Fenced(f"Epoch {fence.epoch} of {fence.install} is not the newest any more.")
