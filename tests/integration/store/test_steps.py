"""What is decided about a step is decided once, and stands."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from parley.store import reading, sessions
from parley.store.context import MAX_CONTEXT_BYTES
from parley.store.entries import AskPerson, Done, Enter, Entry, FailStep, Skip, Sleep
from parley.store.errors import ResultTooLarge
from parley.store.leader import tick
from parley.store.records import Inserted, NotGranted, OutputRecord
from parley.store.rows import MAX_STORED_BYTES
from psycopg import errors

from tests.integration.store.story import Story, says

HOUR = timedelta(hours=1)


async def context(story: Story, session: str) -> tuple[dict[str, Any] | None, int]:
    async with story.conn() as conn:
        return await reading.load_context(conn, session)


@pytest.mark.parametrize(
    ("entry", "state", "reason", "outputs"),
    [
        (Skip("kind is late"), "Skipped", "Skipped", {}),
        (Enter(), "Entered", None, {}),
        (Enter([1, "two", None]), "Entered", None, {}),
        (Enter([]), "Succeeded", None, {"step": []}),
        (Sleep(HOUR), "Entered", None, {}),
        (Done({"b": 1, "a": None}), "Succeeded", None, {"step": {"b": 1, "a": None}}),
        (Done(None), "Succeeded", None, {"step": None}),
        (FailStep("Error", "as written"), "Failed", "Error", {}),
        (FailStep("TemplateError", "a\x00b"), "Failed", "TemplateError", {}),
        (AskPerson("00000000-0000-4000-8000-000000000001", {"question": "Why?"}), "Entered", None, {}),
    ],
)
async def test_the_first_decision_stands(
    story: Story, entry: Entry, state: str, reason: str | None, outputs: dict[str, Any]
) -> None:
    task = await story.task()
    assert await story.enter(task, "step", entry)
    first = await story.step(task, "step")
    assert (first.state, first.reason) == (state, reason)
    assert (first.ended_at is None) == (state == "Entered")
    assert await story.outputs(task) == outputs

    for other in (entry, Done("another"), Skip("no")):
        assert not await story.enter(task, "step", other)
    assert await story.step(task, "step") == first
    assert await story.outputs(task) == outputs


async def test_nothing_is_decided_of_a_task_that_stands_still(story: Story) -> None:
    ended, suspended = await story.task(), await story.task()
    await story.end(ended)
    await story.suspend(suspended)
    for task in (ended, suspended, "unknown"):
        assert not await story.enter(task, "step", Done(1))
    assert await story.sql("SELECT * FROM steps") == []
    await story.suspend(suspended, suspended=False)
    assert await story.enter(suspended, "step", Done(1))


async def test_a_step_that_has_an_attempt_is_not_decided_again(story: Story) -> None:
    task = await story.task()
    await story.start(task, "step")
    assert not await story.enter(task, "step", Skip("too late"))


async def test_a_step_that_has_ended_gets_no_attempt(story: Story) -> None:
    task = await story.task()
    await story.enter(task, "skipped", Skip("no"))
    await story.enter(task, "entered", Enter())
    assert await story.insert(task, "skipped") == NotGranted("stale")
    assert isinstance(await story.insert(task, "entered"), Inserted)


async def test_of_many_decisions_at_once_one_is_taken(story: Story) -> None:
    task = await story.task()
    entries: list[Entry] = [Done(number) for number in range(8)] + [Skip("no"), Enter([1])]
    taken = await asyncio.gather(*[story.enter(task, "step", entry) for entry in entries])
    assert sum(taken) == 1
    won = entries[taken.index(True)]
    assert await story.outputs(task) == ({"step": won.output} if isinstance(won, Done) else {})


async def test_a_sleep_ends_when_its_time_has_come(story: Story) -> None:
    task = await story.task()
    await story.enter(task, "nap", Sleep(HOUR))
    nap = await story.step(task, "nap")
    assert nap.until is not None
    assert nap.until - nap.entered_at == HOUR
    assert not await story.end_step(task, "nap")
    await story.sql("UPDATE steps SET until = now() - interval '1 s'")
    assert await story.end_step(task, "nap")
    assert not await story.end_step(task, "nap")
    assert await story.outputs(task) == {"nap": None}


async def test_a_sleep_until_an_instant_moves_neither_with_outages_nor_with_suspension(story: Story) -> None:
    task = await story.task()
    until = datetime(2100, 1, 1, tzinfo=UTC)
    await story.enter(task, "nap", Sleep(until=until))
    await story.suspend(task)
    await story.sql("UPDATE leader SET tick = tick - interval '100 s'")
    async with story.conn() as conn:
        assert await tick(conn, story.fence) > timedelta(0)
    await story.suspend(task, suspended=False)
    assert (await story.step(task, "nap")).until == until


def test_a_sleep_has_one_end() -> None:
    for wrong in ({}, {"duration": HOUR, "until": datetime(2100, 1, 1, tzinfo=UTC)}):
        with pytest.raises(ValueError, match="either a duration or an end"):
            Sleep(**wrong)  # type: ignore[arg-type]


async def test_set_merges_into_the_context_of_the_session(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    assert await context(story, alice) == (None, 0)

    base = {"order": "12345", "kind": "late", "note": None}
    assert await story.enter(task, "one", Done(None, {"kind": None, "paid": {"amount": 10}}, base))
    assert await context(story, alice) == ({"order": "12345", "note": None, "paid": {"amount": 10}}, 1)
    assert await story.enter(task, "two", Done(None, {"paid": 1, "none": None}, {"order": "changed since"}))
    assert await context(story, alice) == ({"order": "12345", "note": None, "paid": 1}, 2)

    assert not await story.enter(task, "two", Done(None, {"paid": 2}))
    assert (await context(story, alice))[1] == 2, "a repeat changes nothing"
    async with story.conn() as conn:
        summary = await sessions.session_summary(conn, alice)
    assert summary is not None
    assert (summary.context, summary.context_version) == ({"order": "12345", "note": None, "paid": 1}, 2)


async def test_two_that_set_at_once_lose_no_change(story: Story) -> None:
    alice = await story.session()
    tasks = [await story.task(alice) for _ in range(10)]
    sets = [story.enter(task, "set", Done(None, {f"k{n}": n})) for n, task in enumerate(tasks)]
    assert all(await asyncio.gather(*sets))
    assert await context(story, alice) == ({f"k{n}": n for n in range(10)}, 10)


async def test_what_is_too_large_is_refused_and_nothing_is_written(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    large = "x" * MAX_STORED_BYTES
    with pytest.raises(ResultTooLarge, match=r"The output is 16,777,218 bytes as JSON; at most 16,777,216"):
        await story.enter(task, "step", Done(large))
    with pytest.raises(ResultTooLarge, match="The list of items"):
        await story.enter(task, "step", Enter([large]))
    with pytest.raises(ResultTooLarge, match="The session's context"):
        await story.enter(task, "step", Done("kept?", {"key": "x" * MAX_CONTEXT_BYTES}))
    with pytest.raises(LookupError, match="its task has none"):
        await story.enter(await story.task(), "step", Done(1, {"key": 1}))
    assert (await story.load(task)).steps == []
    assert await story.outputs(task) == {}
    assert await context(story, alice) == (None, 0)
    assert await story.enter(task, "step", Done("x" * (MAX_STORED_BYTES - 2))), "the largest fits"
    async with story.conn() as conn:
        assert len(str((await reading.load_outputs(conn, task, ["step"]))["step"])) == MAX_STORED_BYTES - 2


async def test_a_plan_sees_values_cut_and_whoever_renders_sees_them_whole(story: Story) -> None:
    task = await story.task()
    values: dict[str, Any] = {
        "short": "x" * 2046, "long": "ä" * 2047, "list": list(range(1000)), "object": {"b": 1, "a": [None]},
        "null": None,
    }  # fmt: skip
    for step, value in values.items():
        await story.enter(task, step, Done(value))
    shown = {
        "short": OutputRecord(values["short"]), "long": OutputRecord("ä" * 2000, cut=True),
        "list": OutputRecord(None, cut=True), "object": OutputRecord(values["object"]), "null": OutputRecord(None),
    }  # fmt: skip
    assert (await story.load(task)).outputs == shown

    # Rows that an earlier version wrote carry no note of their size
    await story.sql("ALTER TABLE outputs DISABLE TRIGGER show_value")
    await story.sql("UPDATE outputs SET cut = NULL, shown = NULL")
    assert (await story.load(task)).outputs == shown

    async with story.conn() as conn:
        assert await reading.load_outputs(conn, task, ["long", "object", "absent"]) == {
            "long": values["long"],
            "object": values["object"],
        }
        assert await reading.task_output(conn, task) is None
        await story.end(task, output=values["long"] * 5)
        assert await reading.task_output(conn, task) == values["long"] * 5
        assert await reading.registered_spec(conn, task) == {"message": "Hello"}
        assert await reading.registered_spec(conn, "unknown") is None
    ended = (await story.load(task)).ended
    assert ended is not None
    assert ended.output == OutputRecord("ä" * 8000, cut=True)


async def test_a_task_output_over_the_limit_is_refused(story: Story) -> None:
    task = await story.task()
    with pytest.raises(ResultTooLarge, match="The task's output"):
        await story.end(task, output="x" * MAX_STORED_BYTES)
    assert (await story.load(task)).ended is None
    assert await story.end(task, output="x" * (MAX_STORED_BYTES - 2))


async def test_an_ended_step_never_changes(story: Story) -> None:
    task = await story.task()
    await story.enter(task, "step", Skip("no"))
    with pytest.raises(errors.IntegrityError, match="what was decided about a step stands"):
        await story.sql("UPDATE steps SET state = 'Entered', ended_at = NULL")


async def test_a_task_is_bound_to_session_and_spec_by_the_first_decision(story: Story) -> None:
    alice, again = await story.session(), await story.session()
    task = await story.task(alice)
    await story.register(task, again)
    assert (await story.load(task)).session_uid == again
    await story.enter(task, "step", Enter())
    await story.register(task, alice)
    assert (await story.load(task)).session_uid == again
    async with story.conn() as conn:
        assert await sessions.session_gone(conn, story.fence, again)
    ended = (await story.load(task)).ended
    assert ended is not None
    assert ended.reason == "SessionDeleted"


async def test_the_spec_may_change_until_the_first_step(story: Story) -> None:
    task = await story.task()
    await story.sql('UPDATE tasks SET spec = \'{"message": "an earlier one"}\'')
    await story.register(task, None)
    assert await story.spec(task) == {"message": "Hello"}
    await story.start(task)
    await story.sql('UPDATE tasks SET spec = \'{"message": "what began"}\'')
    await story.register(task, None)
    assert await story.spec(task) == {"message": "what began"}


async def test_marks_come_in_the_order_they_were_made(story: Story) -> None:
    task = await story.task()
    for step in ("c", "a", "b"):
        await story.enter(task, step, Enter())
    attempt = await story.start(task, "c")
    await story.take(task, "c")
    await story.finish(attempt, says("done"))
    assert [row.step for row in (await story.load(task)).steps] == ["c", "a", "b"]
