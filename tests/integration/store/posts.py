"""Words for stories in which people post messages."""

import hashlib
from typing import Any

from parley.store.posting import Posted, TurnWanted, post_message
from parley.store.runner_calls import record_input

from tests.integration.store.story import Story, asks, says


def turn(key: str, text: str = "Hi") -> TurnWanted:
    return TurnWanted(f"m-{key}", "reply", {"message": text, "sessionRef": {"name": "alice"}})


async def post(story: Story, session: str, key: str, text: str = "Hi", **changes: Any) -> Posted:
    """Post a message that asks for a turn, unless ``turn=None``."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    given = {"body_hash": digest, "content": text, "turn": turn(key, text)} | changes
    async with story.conn() as conn:
        return await post_message(conn, session_uid=session, key=key, **given)


async def note(story: Story, session: str, key: str, text: str = "By the way") -> Posted:
    return await post(story, session, key, text, turn=None)


async def answer(story: Story, session: str, task: str, text: str, *, number: int = 1) -> None:
    """Run the turn of a task whose turn it is."""
    attempt = await story.start(task, session_uid=session, number=number)
    await story.take(task, number=number)
    async with story.conn() as conn:
        await record_input(conn, attempt, "pod/1", asks("as rendered"))
    await story.finish(attempt, says(text))


async def shown(story: Story, session: str) -> list[str]:
    """Return what the model of one more turn is shown of the conversation."""
    task = await story.task(session)
    await story.queue(session, task)
    await story.start(task, session_uid=session)
    given = await story.take(task)
    return [str(event.content) for event in given.history]
