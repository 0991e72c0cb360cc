"""A request with a key is answered once, and its repeats alike, for a day or for less."""

import asyncio
from datetime import timedelta

import pytest
from parley.store.errors import KeyReused
from parley.store.idempotency import forget_answers, remember, remembered

from tests.integration.store.story import Story

SCOPE = "alice/createReply/shop"


async def test_the_first_answer_is_everybodys(story: Story) -> None:
    async def answer(nth: int) -> object:
        async with story.conn() as conn:
            return await remember(conn, SCOPE, "k1", "hash", {"answer": nth})

    answers = await asyncio.gather(*[answer(nth) for nth in range(8)])
    assert answers == [answers[0]] * 8
    async with story.conn() as conn:
        assert await remembered(conn, SCOPE, "k1", "hash") == answers[0]
        assert await remembered(conn, SCOPE, "k2", "hash") is None
        assert await remembered(conn, "bob/createReply/shop", "k1", "hash") is None


async def test_a_key_is_good_for_one_body(story: Story) -> None:
    async with story.conn() as conn:
        await remember(conn, SCOPE, "k1", "hash", {})
        with pytest.raises(KeyReused):
            await remembered(conn, SCOPE, "k1", "another")
        with pytest.raises(KeyReused):
            await remember(conn, SCOPE, "k1", "another", {})


async def test_answers_are_forgotten_after_a_day(story: Story) -> None:
    async with story.conn() as conn:
        await remember(conn, SCOPE, "old", "hash", {})
        await remember(conn, SCOPE, "new", "hash", {"kept": True})
        await conn.execute("UPDATE idempotency SET at = now() - interval '25 h' WHERE key = 'old'")
        assert await forget_answers(conn, story.fence) == 1
        assert await remembered(conn, SCOPE, "old", "hash") is None
        assert await remembered(conn, SCOPE, "new", "hash") == {"kept": True}


async def test_what_is_over_is_told_nobody_before_it_is_dropped(story: Story) -> None:
    async with story.conn() as conn:
        # Given an answer that is kept for a quarter of an hour, and one for a day
        await remember(conn, SCOPE, "short", "hash", {}, timedelta(minutes=15))
        await remember(conn, SCOPE, "long", "hash", {})
        await conn.execute("UPDATE idempotency SET at = at - interval '14 min'")
        assert await remembered(conn, SCOPE, "short", "hash") == {}
        # When that time is over, then its key is a new one, for any body
        await conn.execute("UPDATE idempotency SET at = at - interval '2 min'")
        assert await remembered(conn, SCOPE, "short", "hash") is None
        assert await remember(conn, SCOPE, "short", "another", {"new": True}) == {"new": True}
        # and the other's is not
        assert await remember(conn, SCOPE, "long", "hash", {"new": True}) == {}
        assert await forget_answers(conn, story.fence) == 0


async def test_a_sweep_drops_so_many_at_most_the_oldest_first(story: Story) -> None:
    async with story.conn() as conn:
        for age in range(5):
            await remember(conn, SCOPE, f"k{age}", "hash", {})
            await conn.execute(
                "UPDATE idempotency SET at = now() - make_interval(hours => %s) WHERE key = %s",
                (23 + age, f"k{age}"),
            )
        assert await forget_answers(conn, story.fence, most=3) == 3
        rows = await (await conn.execute("SELECT key FROM idempotency ORDER BY key")).fetchall()
        assert rows == [("k0",), ("k1",)]
        assert await forget_answers(conn, story.fence, most=3) == 1
        assert await remembered(conn, SCOPE, "k0", "hash") == {}
