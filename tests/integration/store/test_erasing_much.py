"""A session with years of turns is cleared in one go: no statement takes as long as Postgres lets it."""

from parley.store import erasing

from tests.integration.store.story import Story

TASKS = 3000
GROW_TASKS = """
INSERT INTO tasks (uid, cluster, install, namespace, name, session_uid, spec, created_at, registered_at, ended_at,
                   end_phase, end_reason, end_message, output)
SELECT 'old-' || n, t.cluster, t.install, t.namespace, 'old-' || n, t.session_uid, '{"message": "Hi"}', now(), now(),
       now(), 'Succeeded', 'Succeeded', '', '"Hello"'
FROM generate_series(1, %s) n, tasks t WHERE t.uid = %s
"""
GROW_EVENTS = """
INSERT INTO events (session_uid, sequence, id, type, role, content, task_uid)
SELECT %s, n, gen_random_uuid(), 'message', 'user', to_json(repeat('hello world ', 40)), 'old-' || ((n + 3) / 4)
FROM generate_series(1, %s) n
"""


async def test_a_long_session_is_cleared(story: Story) -> None:
    # Given a session of 3,000 tasks that have said four things each
    session = await story.session()
    last = await story.task(session)
    await story.sql(GROW_TASKS, TASKS, last)
    await story.sql("UPDATE sessions SET last_sequence = %s WHERE uid = %s", TASKS * 4, session)
    await story.sql(GROW_EVENTS, session, TASKS * 4)
    # When half of it is cleared, then the rest
    async with story.conn() as conn:
        assert await erasing.clear_history(conn, story.fence, session, TASKS * 2, "maria") == TASKS * 2
        assert await erased(story) == TASKS // 2
        assert await erasing.clear_history(conn, story.fence, session, TASKS * 5, "maria") == TASKS * 4 + 1
    # Then it is gone, but for who cleared it
    assert await erased(story) == TASKS
    ((left,),) = await story.sql(
        "SELECT count(*) FROM events WHERE session_uid = %s AND json_typeof(content) <> 'null'", session
    )
    assert left == 2


async def erased(story: Story) -> int:
    ((count,),) = await story.sql("SELECT count(*) FROM tasks WHERE erased_at IS NOT NULL")
    return int(count)
