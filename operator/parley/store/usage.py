"""Tokens by agent and day. A day is UTC's, on Postgres's clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from parley.store.pool import Connection
from parley.store.rows import Statement, fetch_all

COUNT = """
INSERT INTO agent_usage AS u (cluster, namespace, agent, day, input_tokens, output_tokens)
SELECT t.cluster, t.namespace, %(agent)s, (now() AT TIME ZONE 'UTC')::date, %(input)s, %(output)s
FROM tasks t WHERE t.uid = %(task_uid)s
ON CONFLICT (cluster, namespace, agent, day) DO UPDATE
SET input_tokens = u.input_tokens + excluded.input_tokens, output_tokens = u.output_tokens + excluded.output_tokens
"""
READ = """
WITH clock AS (SELECT (now() AT TIME ZONE 'UTC')::date AS day)
SELECT asked.agent, clock.day, (clock.day + 1)::timestamp AT TIME ZONE 'UTC' AS renews_at,
       coalesce(sum(u.input_tokens), 0)::bigint AS total_in, coalesce(sum(u.output_tokens), 0)::bigint AS total_out,
       coalesce(sum(u.input_tokens) FILTER (WHERE u.day = clock.day), 0)::bigint AS today_in,
       coalesce(sum(u.output_tokens) FILTER (WHERE u.day = clock.day), 0)::bigint AS today_out
FROM clock CROSS JOIN unnest(%(agents)s::text[]) AS asked (agent)
LEFT JOIN agent_usage u ON u.cluster = %(cluster)s AND u.namespace = %(namespace)s AND u.agent = asked.agent
GROUP BY asked.agent, clock.day
"""


@dataclass(frozen=True, slots=True)
class AgentUsage:
    """Tokens an agent has used: in all, and on ``day``, which ends at ``renews_at``."""

    agent: str
    total_in: int
    total_out: int
    today_in: int
    today_out: int
    day: date
    renews_at: datetime


async def agent_usage(
    conn: Connection, cluster: str, namespace: str, agents: Sequence[str]
) -> dict[str, AgentUsage]:
    """Return what agents have used, by name; zeros for one that has used nothing."""
    parameters = {"cluster": cluster, "namespace": namespace, "agents": list(dict.fromkeys(agents))}
    return {row.agent: row for row in await fetch_all(conn, AgentUsage, READ, parameters)}


def count_agent_usage(task_uid: str, agent: str, input_tokens: int, output_tokens: int) -> Statement:
    """Return what adds to an agent's usage. Its row is the last that a transaction locks."""
    counted = {"task_uid": task_uid, "agent": agent, "input": input_tokens, "output": output_tokens}
    return COUNT, counted
