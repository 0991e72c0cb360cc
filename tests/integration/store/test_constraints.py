"""What no code may write, whatever its faults: the tables themselves refuse it."""

import pytest
from parley.store.entries import Enter
from psycopg import errors

from tests.integration.store.story import Story

IMPOSSIBLE = {
    "an open step that has ended": "UPDATE steps SET ended_at = now()",
    "an ended step without its time": "UPDATE steps SET state = 'Succeeded'",
    "a failure without a reason": "UPDATE steps SET state = 'Failed', ended_at = now()",
    "items without their number": "UPDATE steps SET item_count = NULL",
    "a number without items": "UPDATE steps SET items = NULL",
    "more outputs than items": "UPDATE steps SET succeeded = 2, failed = 1",
    "an unknown state": "UPDATE steps SET state = 'Dreaming'",
    "an unknown runtime": "UPDATE attempts SET runtime = 'Cloud'",
    "a parent without an attempt": "UPDATE tasks SET parent_uid = 'p', root_uid = 'p', depth = 1",
    "a depth without a parent": "UPDATE tasks SET depth = 1",
    "a file that is also a problem": "INSERT INTO uploads SELECT id, '1', 'Error', 'broken' FROM attempts",
    "no file and no problem": "INSERT INTO uploads SELECT id FROM attempts",
    "an accepted reply to nothing": "INSERT INTO replies (uid, accepted, body, by) VALUES ('r', true, '{}', 'ann')",
    "a slot taken twice": "INSERT INTO slots VALUES ('s', '1', 'a'), ('s', '1', 'b')",
}


@pytest.mark.parametrize("statement", IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
async def test_the_schema_refuses(story: Story, statement: str) -> None:
    task = await story.task()
    await story.enter(task, "each", Enter([1, 2]))
    await story.start(task)
    with pytest.raises(errors.IntegrityError):
        await story.sql(statement)


async def test_a_task_that_is_erased_takes_all_its_rows_along(story: Story) -> None:
    task = await story.task()
    await story.enter(task, "each", Enter([1, 2]))
    await story.ask(task)
    await story.start(task)
    await story.sql("INSERT INTO uploads (attempt, value) SELECT id, '1' FROM attempts")
    await story.sql(
        "INSERT INTO replies (uid, task_uid, accepted, body, by) VALUES ('r', %s, false, '{}', 'ann')", task
    )
    await story.sql("DELETE FROM tasks WHERE uid = %s", task)
    counts = "SELECT (SELECT count(*) FROM {}), (SELECT count(*) FROM {}), (SELECT count(*) FROM {})"
    assert await story.sql(counts.format("steps", "uploads", "replies")) == [(0, 0, 0)]
