"""Calls that the leader carries out get their results, once, whatever becomes of their containers."""

import pytest
from parley.engine.names import call_step
from parley.protocol.messages import MAX_OUTPUT_BYTES
from parley.store import attempts
from parley.store.errors import Fenced
from parley.store.leader import raise_epoch

from tests.integration.store import calling
from tests.integration.store.calling import answer, journal, pause, refuse, resume, run_container, turn
from tests.integration.store.story import Story, container_request


async def waiting(story: Story, session: str | None = None) -> tuple[str, str]:
    """Return a task whose turn waits for a container, and the wait."""
    task, attempt = await turn(story, session, "score")
    (wait,) = await pause(story, attempt, (0, "Container"))
    return task, wait


async def test_a_containers_output_is_the_calls_result(story: Story) -> None:
    task, wait = await waiting(story)
    attempt = await run_container(story, task, wait)
    assert await answer(story, wait, attempt)
    assert not await answer(story, wait, attempt), "once"
    assert not await refuse(story, wait)
    assert (await story.load(task)).waits == []
    taken_by = await resume(story, task)
    taken = await story.take(task, number=2, holder="pod/2")
    assert taken.attempt == taken_by
    assert [(e.call, e.result, e.done) for e in taken.journal][1:] == [(0, {"points": 7}, True)]
    assert taken.replies == []


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ({"outcome": "Failed", "reason": "Error", "message": "exit code 3: no data"}, "exit code 3: no data"),
        ({"outcome": "Failed", "reason": "OOMKilled", "message": ""}, "OOMKilled"),
        ({"output": "x" * MAX_OUTPUT_BYTES}, "The result is 1,048,578 bytes as JSON; at most 1,048,576 go back to a model."),
    ],
)  # fmt: skip
async def test_what_went_wrong_is_the_result_too(story: Story, outcome: dict[str, str], told: str) -> None:
    task, wait = await waiting(story)
    assert await answer(story, wait, await run_container(story, task, wait, **outcome))
    assert await journal(story, task) == {(0, 0): {"error": told}}


async def test_a_null_output_is_a_result(story: Story) -> None:
    task, wait = await waiting(story)
    assert await answer(story, wait, await run_container(story, task, wait, output=None))
    rows = await story.sql("SELECT result::text FROM journal WHERE task_uid = %s AND call = 0", task)
    assert rows == [("null",)]


async def test_only_an_attempt_of_the_call_that_has_ended_answers_it(story: Story) -> None:
    task, wait = await waiting(story)
    other_task, other = await waiting(story)
    foreign = await run_container(story, other_task, other)
    step = call_step("reply", wait)
    request = container_request(story.names[task], step)
    still_open = await story.start(task, step, request=request)
    ordinary = await story.start(task, "other", request=container_request(story.names[task], "other"))
    async with story.conn() as conn:
        await attempts.close_attempt(conn, story.fence, ordinary, "Failed", "Error", "x", end_turn=False)
    for attempt in (foreign, still_open, ordinary, 4_000_000):
        assert not await answer(story, wait, attempt)
    assert not await answer(story, "no-uuid", foreign)
    assert await journal(story, task) == {}
    async with story.conn() as conn:
        await attempts.close_attempt(
            conn, story.fence, still_open, "Lost", "PodLost", "the node went", end_turn=False
        )
    assert await answer(story, wait, still_open)
    assert await journal(story, task) == {(0, 0): {"error": "the node went"}}


async def test_a_plan_reads_nothing_of_a_call_that_is_answered(story: Story) -> None:
    """But for containers that may still run: the one whose node went."""
    task, wait = await waiting(story)
    step = call_step("reply", wait)
    lost = await story.start(task, step, request=container_request(story.names[task], step))
    async with story.conn() as conn:
        await attempts.close_attempt(conn, story.fence, lost, "Lost", "PodLost", "gone", end_turn=False)
    done = await run_container(story, task, wait, number=2)
    assert [each.id for each in (await story.load(task)).attempts if each.step == step] == [lost, done]

    assert await answer(story, wait, done)

    assert [each.id for each in (await story.load(task)).attempts if each.step == step] == [lost]
    assert [each.step for each in (await story.load(task)).attempts] == ["reply", step]


async def test_nobody_answers_what_was_called_off(story: Story) -> None:
    alice = await story.session()
    task, wait = await waiting(story, alice)
    attempt = await run_container(story, task, wait)
    await story.end(task, "Cancelled")
    assert not await answer(story, wait, attempt)
    assert await journal(story, task) == {}


async def test_a_leader_that_was_replaced_answers_nothing(story: Story) -> None:
    task, wait = await waiting(story)
    attempt = await run_container(story, task, wait)
    old = story.fence
    async with story.conn() as conn:
        story.fence = await raise_epoch(conn, old.cluster, old.install, "operator-1")
    new, story.fence = story.fence, old
    with pytest.raises(Fenced):
        await answer(story, wait, attempt)
    with pytest.raises(Fenced):
        await refuse(story, wait)
    story.fence = new
    assert await answer(story, wait, attempt)


async def test_people_do_not_answer_for_containers(story: Story) -> None:
    task, wait = await waiting(story)
    assert not (await calling.reply(story, task, wait, "approve")).accepted
    assert not await calling.expire(story, wait)
    assert [open_wait.id for open_wait in (await story.load(task)).waits] == [wait]


async def test_the_first_result_stands(story: Story) -> None:
    """The leader's, if the runner has written none; and what a call without a place in the journal is told."""
    task, attempt = await turn(story, None, "score", "get_order")
    await calling.begin(story, attempt, 1)
    (wait,) = await pause(story, attempt, (0, "Container"))
    assert await refuse(story, wait, "the template is gone")
    attempt = await resume(story, task)
    kept = await calling.result(story, attempt, {"error": "mine"}, 0, holder="pod/2")
    assert kept.stored == {"error": "the template is gone"}
