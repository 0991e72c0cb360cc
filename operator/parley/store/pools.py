"""What is asked of warm runners' pools."""

from collections.abc import Iterable

from parley.store.pool import Connection
from parley.store.rows import fetch_value

# What a suspended task has not begun is not taken before it goes on.
IS_NEEDED = """
SELECT EXISTS (
  SELECT FROM attempts a JOIN tasks t ON t.uid = a.task_uid
  WHERE a.pool = ANY(%(pools)s::text[]) AND a.ended_at IS NULL
    AND (a.state = 'Running' OR t.suspended_since IS NULL))
"""


async def is_needed(conn: Connection, pools: Iterable[str]) -> bool:
    """Tell whether one of these pools has an attempt that a runner has, or may take now."""
    return await fetch_value(conn, bool, IS_NEEDED, {"pools": [*pools]}) is True
