"""A session's context has one order of changes: whoever changes it last has seen what he changes, or is told."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from parley.store import reading
from parley.store.entries import Done
from parley.store.errors import NotAllowed
from parley.store.leader import raise_epoch
from parley.store.pool import connect, open_pool

from tests.integration.store.calling import remember, result, turn
from tests.integration.store.story import Story, says

UPDATE = "update_context"


async def context(story: Story, session: str) -> tuple[dict[str, Any] | None, int]:
    async with story.conn() as conn:
        return await reading.load_context(conn, session)


async def set_step(
    story: Story, task: str, step: str, changes: dict[str, Any], version: int | None = None
) -> bool:
    return await story.enter(task, step, Done(None, changes, {"order": "1"}, expected_version=version))


async def test_a_model_changes_the_context_once(story: Story) -> None:
    alice = await story.session()
    _, attempt = await turn(story, alice, UPDATE, context={"order": "1", "mood": "good"})
    told = await remember(story, attempt, {"mood": None, "paid": True}, 0)
    assert told == {"context": {"order": "1", "paid": True}, "version": 1}
    for version in (0, None):
        again = await remember(story, attempt, {"mood": "bad"}, version)
        assert again == told, "a repeat gets the first answer"
    assert await context(story, alice) == ({"order": "1", "paid": True}, 1)


async def test_a_key_that_others_changed_is_not_overwritten(story: Story) -> None:
    alice = await story.session()
    writer = await story.task(alice)
    assert await set_step(story, writer, "one", {"order": "2", "note": "x"})
    _, attempt = await turn(
        story, alice, UPDATE, UPDATE, UPDATE, UPDATE, context={"order": "2", "note": "x"}, contextVersion=1
    )
    # When another changes the order meanwhile
    assert await set_step(story, writer, "two", {"order": "3"})
    # Then a change of it is refused, and one of another key is not
    refused = await remember(story, attempt, {"order": "4"}, 1, 0)
    assert refused == {
        "error": "changed by others meanwhile: order; nothing was written",
        "context": {"order": "3", "note": "x"},
        "version": 2,
    }
    assert (await remember(story, attempt, {"note": "y"}, 1, 1))["version"] == 3
    # And who has seen the newest may change it
    again = await remember(story, attempt, {"order": "4"}, 2, 2)
    assert again == {"context": {"order": "4", "note": "y"}, "version": 4}
    assert await remember(story, attempt, {"order": "5"}, None, 3) == {
        "context": {"order": "5", "note": "y"}, "version": 5,
    }, "without a version it is written in any case"  # fmt: skip


async def test_what_was_never_seen_cannot_be_compared(story: Story) -> None:
    alice = await story.session()
    _, attempt = await turn(story, alice, UPDATE, "get_order", UPDATE, context={"order": "1"})
    writer = await story.task(alice)
    assert await set_step(story, writer, "one", {"order": "2"})
    # A tool's result that looks like the context is none
    await result(story, attempt, {"version": 7, "context": {"order": "2"}}, 1)
    assert "error" in await remember(story, attempt, {"order": "9"}, 7, 0)
    assert await context(story, alice) == ({"order": "2"}, 1)


async def test_a_later_attempt_goes_on_with_what_it_has_seen(story: Story) -> None:
    alice = await story.session()
    task, attempt = await turn(story, alice, UPDATE, UPDATE, context={"order": "1"})
    await remember(story, attempt, {"paid": True}, 0, 0)
    attempt = await story.start(
        task, number=2, cause="Disruption", session_uid=alice, close=story.close(attempt),
        request=(await story.sql("SELECT request FROM attempts WHERE id = %s", attempt))[0][0],
    )  # fmt: skip
    await story.take(task, number=2, holder="pod/2")
    writer = await story.task(alice)
    assert await set_step(story, writer, "one", {"paid": False})
    told = await remember(story, attempt, {"paid": "twice"}, 1, 1, holder="pod/2")
    assert told["context"] == {"order": "1", "paid": False}
    assert "paid" in told["error"]


async def test_a_context_too_large_is_a_result_that_says_so(story: Story) -> None:
    alice = await story.session()
    _, attempt = await turn(story, alice, UPDATE, context={"order": "1"})
    told = await remember(story, attempt, {"note": "x" * 300_000}, 0)
    assert told["error"].startswith("The session's context is 300,")
    assert (told["context"], told["version"]) == ({"order": "1"}, 0)


async def test_only_a_call_of_it_changes_it(story: Story) -> None:
    alice = await story.session()
    _, attempt = await turn(story, alice, "get_order")
    with pytest.raises(NotAllowed):
        await remember(story, attempt, {"paid": True})
    _, lonely = await turn(story, None, UPDATE)
    with pytest.raises(NotAllowed, match="no session"):
        await remember(story, lonely, {"paid": True})
    task, _ = await turn(story, None, UPDATE)
    await story.end(task, "Cancelled")
    assert await context(story, alice) == (None, 0)


async def test_an_agent_without_the_tool_cannot(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    await story.queue(alice, task)
    request = {"kind": "Prompt"} | story.attempt(task).request
    agent = {**request["agent"], "builtinTools": []}
    attempt = await story.start(task, session_uid=alice, request=request | {"agent": agent})
    await story.take(task)
    await story.respond(attempt, UPDATE)
    with pytest.raises(NotAllowed):
        await remember(story, attempt, {"paid": True})


async def test_a_set_step_is_rendered_again_when_the_context_has_changed(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    assert await set_step(story, task, "one", {"n": 1}, 0)
    assert not await set_step(story, task, "two", {"n": 1}, 0), "rendered from what it was before"
    assert [step.step for step in (await story.load(task)).steps] == ["one"], "nothing was written"
    assert await set_step(story, task, "two", {"n": 2}, 1)
    assert await context(story, alice) == ({"order": "1", "n": 2}, 2)


async def test_two_who_count_at_once_lose_no_count(story: Story) -> None:
    alice = await story.session()

    async def count(times: int) -> None:
        task = await story.task(alice)
        for nth in range(times):
            done = False
            while not done:
                stored, version = await context(story, alice)
                n = (stored or {}).get("n", 0)
                done = await set_step(story, task, f"set-{nth}", {"n": n + 1}, version)

    async with asyncio.timeout(60):
        await asyncio.gather(*[count(5) for _ in range(4)])
    assert await context(story, alice) == ({"order": "1", "n": 20}, 20)


KEYS = st.sampled_from("abc")
CHANGE = st.tuples(
    st.sampled_from(["set", "model"]),
    st.dictionaries(KEYS, st.integers(0, 3) | st.none(), min_size=1),
    st.integers(0, 3),
)


async def play(dsn: str, changes: list[tuple[str, dict[str, Any], int]]) -> None:
    async with open_pool(dsn, size=4) as pool:
        async with connect(pool) as conn:
            story = Story(pool, await raise_epoch(conn, "c", "parley", "operator-0"))
        alice = await story.session()
        writer = await story.task(alice)
        _, attempt = await turn(story, alice, *[UPDATE] * len(changes), context={"a": 0})
        seen: dict[int, dict[str, Any]] = {0: {"a": 0}}
        shown = {0}  # to the model
        now: dict[str, Any] = {"a": 0}
        version = 0
        for nth, (who, change, back) in enumerate(changes):
            claimed = max(version - back, 0)
            if who == "set":
                fits = claimed == version
                assert await set_step_on(story, writer, f"set-{nth}", change, claimed) == fits
            else:
                told = await remember(story, attempt, change, claimed, nth)
                known = seen[claimed] if claimed in shown else None
                conflict = claimed != version and any(
                    known is None or known.get(key) != now.get(key) for key in change
                )
                assert ("error" in told) == conflict, (told, known, now)
                fits = not conflict
            if fits:
                now = {k: v for k, v in {**now, **change}.items() if v is not None}
                version += 1
            seen[version] = now
            if who == "model":
                assert (told["context"], told["version"]) == (now, version)
                shown.add(version)
        assert await context(story, alice) == ((now, version) if version else (None, 0))
        await story.finish(attempt, says("done"))


async def set_step_on(story: Story, task: str, step: str, changes: dict[str, Any], version: int) -> bool:
    return await story.enter(task, step, Done(None, changes, {"a": 0}, expected_version=version))


@settings(
    max_examples=25, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(changes=st.lists(CHANGE, min_size=3, max_size=10))
def test_no_change_is_lost_in_any_order(
    database: str, changes: list[tuple[str, dict[str, Any], int]]
) -> None:
    asyncio.run(play(database, changes))
