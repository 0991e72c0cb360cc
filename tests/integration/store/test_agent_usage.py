"""Tokens are counted by agent and day as they are used, whatever becomes of what they were used for."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from parley.protocol.messages import Usage
from parley.store.usage import AgentUsage, agent_usage

from tests.integration.store.story import Story, fails, prompt_request, says


async def usage(story: Story, *agents: str, cluster: str | None = None) -> dict[str, AgentUsage]:
    async with story.conn() as conn:
        return await agent_usage(conn, cluster or story.fence.cluster, "default", agents)


async def run(story: Story, agent: str, body: Any, *, session: str | None = None) -> None:
    task = await story.task(session)
    if session is not None:
        await story.queue(session, task)
    request = prompt_request(story.names[task], "reply")
    request = request | {"agent": request["agent"] | {"name": agent}}
    attempt = await story.start(task, request=request, session_uid=session)
    await story.take(task)
    await story.finish(attempt, body)
    await story.end(task)


async def test_every_outcome_counts(story: Story) -> None:
    alice = await story.session()
    await run(story, "support", says("Hello"), session=alice)
    await run(story, "support", fails())
    await run(story, "sales", says("Hello"))
    found = await usage(story, "support", "sales", "nobody")
    assert {name: (u.total_in, u.total_out, u.today_in, u.today_out) for name, u in found.items()} == {
        "support": (13, 5, 13, 5), "sales": (10, 5, 10, 5), "nobody": (0, 0, 0, 0),
    }  # fmt: skip
    assert (await usage(story, "support", cluster="another"))["support"].total_in == 0


async def test_journaled_responses_count_once(story: Story) -> None:
    task = await story.task()
    attempt = await story.start(task)
    await story.take(task)
    for _ in range(2):
        await story.respond(attempt, "get_order")
    assert (await usage(story, "support"))["support"].total_in == 2


async def test_a_new_day_counts_anew(story: Story) -> None:
    await run(story, "support", says("Hello"))
    await story.sql("UPDATE agent_usage SET day = day - 1")
    await run(story, "support", says("Hello"))
    found = (await usage(story, "support"))["support"]
    assert (found.total_in, found.today_in) == (20, 10)
    [(now,)] = await story.sql("SELECT now()")
    assert found.day == now.astimezone(UTC).date()
    assert found.renews_at == datetime.combine(found.day, datetime.min.time(), UTC) + timedelta(days=1)


async def test_many_at_once_lose_nothing(story: Story) -> None:
    await asyncio.gather(*[run(story, "support", says("Hello")) for _ in range(12)])
    found = (await usage(story, "support"))["support"]
    assert (found.total_in, found.total_out) == (120, 60)


async def test_what_used_nothing_leaves_no_row(story: Story) -> None:
    await run(story, "support", says("Hello").model_copy(update={"usage": Usage()}))
    assert await story.sql("SELECT * FROM agent_usage") == []
