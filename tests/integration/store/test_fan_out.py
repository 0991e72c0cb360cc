"""Many items of one step: rounds, their order, and a task that stays small to read."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from parley.store import attempts, reading, rounds, runner_calls, tasks
from parley.store.entries import Enter
from parley.store.errors import ResultTooLarge
from parley.store.records import Close, Inserted, NewAttempt, NotGranted
from psycopg import sql

from tests.integration.store.story import MINUTE, Story, fails, prompt_request, says

ITEMS = ["a", {"b": 1}, None]


def entries(story: Story, task: str, *items: int, number: int = 1, **changes: Any) -> list[NewAttempt]:
    request = prompt_request(story.names[task], "each", history="None")
    return [
        replace(
            story.attempt(task, "each", number=number, job=f"{task}-round-{number}", request=request),
            item=item,
            index=index,
            **changes,
        )
        for index, item in enumerate(items)
    ]


async def insert(
    story: Story, round_: list[NewAttempt], close: list[Close] | None = None
) -> list[Inserted] | NotGranted:
    async with story.conn() as conn:
        return await rounds.insert_round(conn, story.fence, round_, close or [])


async def start(story: Story, round_: list[NewAttempt]) -> list[int]:
    inserted = await insert(story, round_)
    assert isinstance(inserted, list), inserted
    return [row.id for row in inserted]


async def run(story: Story, task: str, number: int, index: int, text: str | None) -> None:
    """Run one index of a round to its end; None fails."""
    holder = f"pod-{number}-{index}/1"
    async with story.conn() as conn:
        taken = await runner_calls.take(
            conn, job=f"{task}-round-{number}", index=index, task_uid=task, namespace="default", holder=holder
        )
        body = fails() if text is None else says(text)
        await runner_calls.finish(conn, taken.attempt, holder, body)


async def test_items_that_failed_are_repeated_and_the_list_keeps_their_order(story: Story) -> None:
    # Given a step with three items, of which one fails
    task = await story.task()
    await story.enter(task, "each", Enter(ITEMS))
    assert (await story.step(task, "each")).item_count == 3
    async with story.conn() as conn:
        assert await reading.load_items(conn, task, "each", [2, 1, 7]) == {1: {"b": 1}, 2: None}
        assert await reading.load_items(conn, task, "other", [0]) == {}
    await start(story, entries(story, task, 0, 1, 2))
    await run(story, task, 1, 2, "third")
    await run(story, task, 1, 0, "first")
    await run(story, task, 1, 1, None)

    # When the second round holds that one only
    await start(story, entries(story, task, 1, number=2, cause="Retry"))
    assert not await story.end_step(task, "each"), "an attempt is open"
    await run(story, task, 2, 0, "second")
    assert await story.end_step(task, "each")

    # Then the list is in the order of the items
    assert await story.outputs(task) == {"each": ["first", "second", "third"]}
    each = await story.step(task, "each")
    assert (each.state, each.succeeded, each.failed) == ("Succeeded", 3, 0)
    assert not await story.end_step(task, "each", "Failed", "Error"), "the first end stands"
    assert await insert(story, entries(story, task, 1, number=3)) == NotGranted("stale")


async def test_a_failed_fan_out_has_null_where_an_item_has_no_output(story: Story) -> None:
    task = await story.task()
    await story.enter(task, "each", Enter([*ITEMS, "never tried"]))
    await start(story, entries(story, task, 0, 1, 2))
    await run(story, task, 1, 0, None)
    await run(story, task, 1, 1, "second")
    await run(story, task, 1, 2, None)
    assert await story.end_step(task, "each", "Failed", "ModelError")
    assert await story.outputs(task) == {"each": [None, "second", None, None]}
    each = await story.step(task, "each")
    assert (each.state, each.reason, each.succeeded, each.failed) == ("Failed", "ModelError", 1, 2)


async def test_an_item_that_was_called_off_for_another_has_not_failed(story: Story) -> None:
    # Given an item that failed for good, and two of its round that were called off before they began
    task = await story.task()
    await story.enter(task, "each", Enter(ITEMS))
    _, *others = await start(story, entries(story, task, 0, 1, 2))
    await run(story, task, 1, 0, None)
    async with story.conn() as conn:
        for other in others:
            assert await attempts.close_attempt(
                conn, story.fence, other, "Cancelled", "Cancelled", "item 0 failed", end_turn=True
            )

    assert await story.end_step(task, "each", "Failed", "ModelError")

    each = await story.step(task, "each")
    assert (each.succeeded, each.failed) == (0, 1)


async def test_a_round_is_inserted_whole_or_not_at_all(story: Story) -> None:
    task = await story.task()
    await story.enter(task, "each", Enter(list(range(4))))
    first, second = await start(story, entries(story, task, 0, 1))
    again = entries(story, task, 2, 0, number=1, job=f"{task}-other")
    assert await insert(story, again) == NotGranted("stale")
    gone = entries(story, task, 0, 1, number=2, cause="Disruption")
    lost = [story.close(first), story.close(second)]
    assert await insert(story, gone) == NotGranted("stale"), "the old ones are open"
    assert await insert(story, gone, [lost[0], story.close(999)]) == NotGranted("closed")
    assert [a.state for a in (await story.load(task)).attempts] == ["Open", "Open"]

    by_entry = [gone[0], replace(gone[1], close=lost[1])]
    inserted = await insert(story, by_entry, [lost[0]])
    assert isinstance(inserted, list)
    record = await story.load(task)
    assert [(a.item, a.number, a.state, a.index) for a in record.attempts] == [
        (0, 1, "Lost", 0), (1, 1, "Lost", 1), (0, 2, "Open", 0), (1, 2, "Open", 1),
    ]  # fmt: skip
    assert [row.id for row in inserted] == [a.id for a in record.attempts[2:]]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda _: [],
        lambda good: [good[0], replace(good[1], step="another")],
        lambda good: [good[0], replace(good[1], job="another")],
        lambda good: [good[0], replace(good[1], index=0)],
        lambda good: [good[0], replace(good[1], item=0)],
        lambda good: [good[0], replace(good[1], item=-1)],
        lambda good: [replace(attempt, session_uid="alice") for attempt in good],
        lambda good: [replace(attempt, request={"kind": "Task"}) for attempt in good],
    ],
)
async def test_what_is_no_round_is_a_fault_of_the_caller(story: Story, wrong: Any) -> None:
    task = await story.task()
    with pytest.raises(ValueError, match="round"):
        await insert(story, wrong(entries(story, task, 0, 1)))


async def test_the_time_of_an_item_runs_from_its_take_within_the_rounds(story: Story) -> None:
    task = await story.task()
    await story.enter(task, "each", Enter([1, 2]))
    await start(story, entries(story, task, 0, 1, timeout=10 * MINUTE, item_timeout=MINUTE))
    await story.sql("UPDATE attempts SET deadline = now() + interval '20 s' WHERE item = 1")
    before = (await story.load(task)).attempts
    assert before[0].deadline - before[0].created_at == 10 * MINUTE
    async with story.conn() as conn:
        for index in (0, 1):
            taken = await runner_calls.take(
                conn, job=f"{task}-round-1", index=index, task_uid=task, namespace="default", holder="pod/1"
            )
            attempt = (await story.load(task)).attempts[index]
            assert attempt.taken_at is not None
            assert taken.deadline == attempt.deadline
            by = attempt.deadline - attempt.taken_at
            assert by == MINUTE if index == 0 else timedelta(0) < by <= timedelta(seconds=20)


async def test_a_cancel_leaves_no_round_open_and_stops_its_runners(story: Story) -> None:
    for _ in range(5):
        task = await story.task()
        await story.enter(task, "each", Enter(list(range(20))))
        inserted, _ = await asyncio.gather(
            insert(story, entries(story, task, *range(20))), story.end(task, "Cancelled")
        )
        states = {a.state for a in (await story.load(task)).attempts}
        assert states == ({"Cancelled"} if isinstance(inserted, list) else set())
        assert isinstance(inserted, list) or inserted == NotGranted("task")


async def test_of_two_rounds_at_once_one_stands(story: Story) -> None:
    task = await story.task()
    await story.enter(task, "each", Enter(list(range(20))))
    rounds_ = [entries(story, task, *range(20), job=f"{task}-{n}") for n in range(4)]
    answers = await asyncio.gather(*[insert(story, round_) for round_ in rounds_])
    assert sorted(str(type(answer).__name__) for answer in answers) == ["NotGranted"] * 3 + ["list"]
    assert len((await story.load(task)).attempts) == 20


async def test_outputs_that_are_too_large_together_fail_the_step(story: Story) -> None:
    task = await story.task()
    await story.enter(task, "each", Enter(list(range(17))))
    await story.sql(
        "INSERT INTO outputs (task_uid, step, item, value)"
        " SELECT %s, 'each', n, to_json(repeat('x', 1048574)) FROM generate_series(0, 16) n",
        task,
    )
    with pytest.raises(ResultTooLarge, match=r"The list of all items' outputs is 17,825,810 bytes as JSON"):
        await story.end_step(task, "each")
    assert (await story.step(task, "each")).state == "Entered"
    assert await story.end_step(task, "each", "Failed", "ResultTooLarge")
    assert await story.outputs(task) == {}


FILL = """
WITH s AS (
  INSERT INTO steps (task_uid, step, state, items, item_count, succeeded, failed, ended_at)
  SELECT {uid}, 'step-' || s, 'Succeeded', '[]', 1000, 1000, 0, now() FROM generate_series(1, 64) s
)
INSERT INTO attempts (task_uid, step, item, number, cause, job, index, request, deadline, state, ended_at, input_tokens)
SELECT {uid}, 'step-' || s, i, 1, 'First', 'job-' || s, i, '{{}}', now(), 'Succeeded', now(), 2
FROM generate_series(1, 64) s, generate_series(0, 999) i
"""


async def test_a_task_of_many_items_is_small_to_read(story: Story) -> None:
    # Given 64 steps of 1,000 items that are through, and one that runs
    task = await story.task()
    await story.sql(sql.SQL(FILL).format(uid=sql.Literal(task)))
    await story.sql(
        "INSERT INTO outputs (task_uid, step, item, value)"
        " SELECT %s, 'step-' || s, i, '1' FROM generate_series(1, 64) s, generate_series(0, 999) i",
        task,
    )
    await story.enter(task, "each", Enter(list(range(10))))
    await start(story, entries(story, task, *range(10)))

    # When it is read
    async with story.conn() as conn:
        record = await tasks.load_task(conn, task)
    assert record is not None

    # Then of each that is through there are the newest attempts and the counts; of the other there is all
    assert len(record.attempts) == 64 * 3 + 10
    assert {a.item for a in record.attempts if a.step == "step-1"} == {997, 998, 999}
    assert [a.id for a in record.attempts] == sorted(a.id for a in record.attempts)
    assert record.outputs == {}
    assert {(row.succeeded, row.failed) for row in record.steps} == {(1000, 0), (None, None)}
    assert record.input_tokens == 128_000
