"""A request with a key is answered once, and its repeats alike, for a day."""

import asyncio

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
