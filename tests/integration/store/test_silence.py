"""What counts as silence of a session: not the time of an outage. And clearing it is no sign of life."""

from datetime import timedelta

import pytest
from parley.store import erasing, sessions
from parley.store.leader import tick

from tests.integration.store.story import Story


async def quiet_for(story: Story, session: str) -> timedelta:
    async with story.conn() as conn:
        found = await sessions.session_summary(conn, session)
    assert found is not None
    assert found.active_at is not None
    assert found.now is not None
    return found.now - found.active_at


@pytest.mark.parametrize("quiet", ["5 hours 10 min", "4 hours"])
async def test_an_outage_is_no_silence(story: Story, quiet: str) -> None:
    # Given a session in which something happened before an outage of five hours, or in it
    session = await story.session()
    await story.sql("UPDATE sessions SET active_at = now() - %s::interval WHERE uid = %s", quiet, session)
    await story.sql("UPDATE leader SET tick = tick - interval '5 hours'")
    # When the operator is there again
    async with story.conn() as conn:
        assert await tick(conn, story.fence) > timedelta(hours=5)
    # Then only the time counts in which it was there
    assert timedelta(0) <= await quiet_for(story, session) < timedelta(minutes=11)


async def test_a_session_that_is_over_keeps_its_time(story: Story) -> None:
    session = await story.session()
    await story.sql("UPDATE sessions SET active_at = now() - interval '6 hours', state = 'Ended'")
    await story.sql("UPDATE leader SET tick = tick - interval '5 hours'")
    async with story.conn() as conn:
        await tick(conn, story.fence)
    assert await quiet_for(story, session) > timedelta(hours=5)


async def test_to_be_cleared_is_no_sign_of_life(story: Story) -> None:
    session = await story.session()
    await story.sql("UPDATE sessions SET active_at = now() - interval '6 hours'")
    async with story.conn() as conn:
        assert await erasing.clear_history(conn, story.fence, session, 1, "maria") == 0
    assert await quiet_for(story, session) > timedelta(hours=5)
