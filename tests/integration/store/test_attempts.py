"""Attempts: one open at a time, one success, one holder; repeats get the stored answer."""

from datetime import timedelta

import pytest
from parley.protocol.messages import MAX_OUTPUT_BYTES, CallBody, FinishBody, ResponseBody, Usage
from parley.store import attempts, runner_calls
from parley.store.errors import OtherHolder, ResultTooLarge, Stopped
from parley.store.records import Inserted, NotGranted
from parley.store.tasks import end_task, set_suspended
from pydantic import JsonValue

from tests.integration.store.story import Story, container_request, fails, prompt_request, says


async def test_a_step_has_one_open_attempt_and_numbers_without_a_gap(story: Story) -> None:
    task = await story.task()
    first = await story.start(task)
    assert await story.insert(task) == NotGranted("stale"), "this attempt is there already"
    assert await story.insert(task, number=2) == NotGranted("stale"), "the first is still open"
    assert await story.insert(task, number=3, close=story.close(first)) == NotGranted("stale"), (
        "two is missing"
    )
    assert (await story.load(task)).attempts[0].state == "Open", "what was refused has changed nothing"

    second = await story.insert(task, number=2, cause="Disruption", close=story.close(first))
    assert isinstance(second, Inserted)
    record = await story.load(task)
    assert [(a.number, a.state, a.reason) for a in record.attempts] == [
        (1, "Lost", "PodLost"),
        (2, "Open", None),
    ]
    assert record.attempts[1].deadline == second.deadline
    assert await story.insert(task, number=3, close=story.close(first)) == NotGranted("closed")


async def test_a_step_that_succeeded_runs_no_more(story: Story) -> None:
    task = await story.task()
    attempt = await story.start(task)
    await story.take(task)
    await story.finish(attempt, says("done"))
    assert await story.insert(task, number=2, cause="Retry") == NotGranted("stale")


async def test_nothing_starts_in_a_task_that_ended_went_is_suspended_or_unknown(story: Story) -> None:
    task = await story.task()
    async with story.conn() as conn:
        assert await set_suspended(conn, story.fence, task, suspended=True)
        assert not await set_suspended(conn, story.fence, task, suspended=True)
    assert await story.insert(task) == NotGranted("task")
    async with story.conn() as conn:
        assert await set_suspended(conn, story.fence, task, suspended=False)
        assert not await set_suspended(conn, story.fence, task, suspended=False)
        await end_task(conn, story.fence, task, phase="Cancelled", reason="Cancelled", message="asked for")
    assert await story.insert(task) == NotGranted("task")
    story.names["nobody"] = "nobody"
    assert await story.insert("nobody") == NotGranted("task")


async def test_take_answers_the_holder_again_and_nobody_else(story: Story) -> None:
    task = await story.task()
    await story.start(task)
    taken = await story.take(task, holder="pod/1")
    assert await story.take(task, holder="pod/1") == taken
    with pytest.raises(OtherHolder):
        await story.take(task, holder="pod/2")
    right = {"job": f"{task}-reply-1", "task_uid": task, "namespace": "default"}
    for wrong in ({"job": "no-such-job"}, {"task_uid": "another task"}, {"namespace": "elsewhere"}):
        async with story.conn() as conn:
            with pytest.raises(Stopped):
                await runner_calls.take(conn, index=0, holder="pod/1", **(right | wrong))


async def test_nobody_takes_a_container_step(story: Story) -> None:
    task = await story.task()
    await story.start(task, request=container_request("t", "reply"))
    with pytest.raises(Stopped):
        await story.take(task)


async def test_finish_repeated_gives_the_stored_answer_also_after_the_task_ended(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    await story.queue(alice, task)
    attempt = await story.start(task, session_uid=alice)
    await story.take(task)
    first = await story.finish(attempt, says("Hello"))
    async with story.conn() as conn:
        await end_task(conn, story.fence, task, phase="Succeeded", reason="Succeeded", message="")
    again = await story.finish(attempt, says("something else"))
    assert again.model_dump_json() == first.model_dump_json()
    assert await story.events(alice) == [(1, "assistant", "Hello")]
    with pytest.raises(OtherHolder):
        await story.finish(attempt, says("Hello"), holder="pod/2")


async def test_a_closed_attempt_writes_nothing_more(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    await story.queue(alice, task)
    attempt = await story.start(task, session_uid=alice)
    await story.take(task)
    await story.start(task, number=2, cause="Disruption", session_uid=alice, close=story.close(attempt))

    async with story.conn() as conn:
        calls = [
            lambda: story.say(attempt, "Hi"),
            lambda: story.finish(attempt, says("Hello")),
            lambda: story.finish(attempt, fails()),
            lambda: story.take(task),
            lambda: runner_calls.heartbeat(conn, attempt, "pod/1"),
            lambda: runner_calls.put_response(conn, attempt, "pod/1", 0, ResponseBody(response=1)),
            lambda: runner_calls.put_call(conn, attempt, "pod/1", 0, 0, CallBody(begun=1)),
        ]
        for call in calls:
            with pytest.raises(Stopped) as stopped:
                await call()
            assert stopped.value.reason == "PodLost"
    assert await story.events(alice) == []
    assert await story.outputs(task) == {}
    assert await story.sql("SELECT * FROM journal") == []
    with pytest.raises(Stopped):
        await story.finish(424242, says("Hello"))


async def test_an_attempt_nobody_took_is_nobodys(story: Story) -> None:
    task = await story.task()
    attempt = await story.start(task)
    with pytest.raises(OtherHolder):
        await story.finish(attempt, says("Hello"))
    async with story.conn() as conn:
        assert await attempts.close_attempt(
            conn, story.fence, attempt, "Cancelled", "Cancelled", "", end_turn=False
        )
        assert not await attempts.close_attempt(
            conn, story.fence, attempt, "Lost", "PodLost", "", end_turn=False
        )
    with pytest.raises(Stopped):
        await story.finish(attempt, says("Hello"))


async def test_closing_with_the_turn_frees_the_session(story: Story) -> None:
    alice = await story.session()
    task, other = await story.task(alice), await story.task(alice)
    await story.queue(alice, task, other)
    attempt = await story.start(task, session_uid=alice)
    async with story.conn() as conn:
        closed = await attempts.close_attempt(
            conn, story.fence, attempt, "Failed", "OOMKilled", "out of memory", end_turn=True
        )
    assert closed
    assert isinstance(await story.insert(other, session_uid=alice), Inserted)


async def test_timed_out_needs_a_deadline_that_has_passed(story: Story) -> None:
    task = await story.task()
    attempt = await story.start(task, timeout=timedelta(hours=1))
    late = story.close(attempt, "TimedOut", "StepTimeout")
    assert await story.insert(task, number=2, cause="Retry", close=late) == NotGranted("closed")
    await story.sql("UPDATE attempts SET deadline = now() - interval '1 s'")
    assert isinstance(await story.insert(task, number=2, cause="Retry", close=late), Inserted)


async def test_a_result_over_the_limit_is_refused_and_can_be_told(story: Story) -> None:
    task = await story.task()
    attempt = await story.start(task)
    await story.take(task)
    with pytest.raises(ResultTooLarge, match=r"The output is 1,048,577 bytes as JSON; at most 1,048,576"):
        await story.finish(attempt, FinishBody(outcome="Succeeded", output="x" * (MAX_OUTPUT_BYTES - 1)))
    assert (await story.load(task)).attempts[0].state == "Running"
    body = FinishBody(
        outcome="Failed", reason="ResultTooLarge", message="1 MiB", definite=True, retry_after=3
    )
    await story.finish(attempt, body)
    failed = (await story.load(task)).attempts[0]
    assert (failed.state, failed.reason, failed.definite, failed.retry_after) == (
        "Failed",
        "ResultTooLarge",
        True,
        3,
    )


async def test_the_largest_result_fits(story: Story) -> None:
    task = await story.task()
    attempt = await story.start(task)
    await story.take(task)
    await story.finish(attempt, FinishBody(outcome="Succeeded", output="x" * (MAX_OUTPUT_BYTES - 2)))
    assert len(str((await story.outputs(task))["reply"])) == MAX_OUTPUT_BYTES - 2


async def test_a_container_is_finished_by_the_leader_once(story: Story) -> None:
    task = await story.task()
    attempt = await story.start(task, "score", request=container_request("t", "score"))

    async def finish(outcome: str, output: object) -> bool:
        async with story.conn() as conn:
            return await attempts.finish_container(
                conn, story.fence, attempt, outcome=outcome, reason=outcome, message="exit 0", exit_code=0,  # type: ignore[arg-type]
                output=output, pod_uid="pod-1",  # type: ignore[arg-type]
            )  # fmt: skip

    assert await finish("Succeeded", {"amount": 10})
    assert not await finish("Failed", None)
    record = await story.load(task)
    assert await story.outputs(task) == {"score": {"amount": 10}}
    (score,) = record.attempts
    assert (score.state, score.exit_code, score.pod_uid, score.holder) == ("Succeeded", 0, "pod-1", None)


async def test_a_container_that_failed_leaves_no_output(story: Story) -> None:
    task = await story.task()
    attempt = await story.start(task, "score", request=container_request("t", "score"))
    async with story.conn() as conn:
        assert await attempts.finish_container(
            conn, story.fence, attempt, outcome="Failed", reason="ExitCode", message="exit 3", exit_code=3,
            output="partial", pod_uid="pod-1",
        )  # fmt: skip
    record = await story.load(task)
    assert await story.outputs(task) == {}
    assert (record.attempts[0].reason, record.attempts[0].exit_code) == ("ExitCode", 3)


async def test_later_steps_are_given_the_outputs_they_need(story: Story) -> None:
    task = await story.task()
    for step, text in (("one", "1"), ("two", "2")):
        attempt = await story.start(task, step)
        await story.take(task, step)
        await story.finish(attempt, says(text))
    request = prompt_request("t", "three") | {"needsOutputs": ["two"]}
    await story.start(task, "three", request=request)
    assert (await story.take(task, "three")).outputs == {"two": "2"}


async def test_the_journal_keeps_the_first_write_over_attempts(story: Story) -> None:
    task = await story.task()
    attempt = await story.start(task)
    await story.take(task)
    async with story.conn() as conn:
        calls: JsonValue = {"calls": [{"name": "get_order"}, {"name": "get_order"}]}
        response = ResponseBody(response=calls, usage=Usage(input_tokens=1))
        first = await runner_calls.put_response(conn, attempt, "pod/1", 0, response)
        assert first.stored == calls
        begun = await runner_calls.put_call(conn, attempt, "pod/1", 0, 0, CallBody(begun={"at": 1}))
        again = await runner_calls.put_call(conn, attempt, "pod/1", 0, 0, CallBody(begun={"at": 2}))
        assert again == begun
        await runner_calls.put_call(conn, attempt, "pod/1", 0, 1, CallBody(begun={"at": 3}))
        await runner_calls.put_call(conn, attempt, "pod/1", 0, 0, CallBody(result=None))

    successor = await story.start(task, number=2, cause="Disruption", close=story.close(attempt))
    taken = await story.take(task, number=2, holder="pod/2")
    assert [(e.round, e.call, e.begun, e.result, e.done) for e in taken.journal] == [
        (0, -1, None, calls, True),
        (0, 0, {"at": 1}, None, True),
        (0, 1, {"at": 3}, None, False),
    ]
    async with story.conn() as conn:
        stored = await runner_calls.put_call(conn, successor, "pod/2", 0, 0, CallBody(result="late"))
        assert stored.stored is None, "null is a result too"
        assert stored.key == begun.key
        other = await runner_calls.put_call(conn, successor, "pod/2", 0, 1, CallBody(result="late"))
        assert other.stored == "late"
        assert other.key != begun.key


async def test_a_heartbeat_extends_the_lease(story: Story) -> None:
    task = await story.task()
    attempt = await story.start(task)
    await story.take(task)
    async with story.conn() as conn:
        await runner_calls.heartbeat(conn, attempt, "pod/1")
    record = await story.load(task)
    lease = record.attempts[0].lease_until
    assert lease is not None
    assert lease > record.now


async def test_text_that_no_postgres_can_hold_is_stored_without_it(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    await story.queue(alice, task)
    attempt = await story.start(task, session_uid=alice)
    await story.take(task)
    await story.say(attempt, "nul \x00 here")
    output = {"key\x00": "a\x00b", "nan": float("nan")}
    event = says("x\x00y").events
    await story.finish(attempt, FinishBody(outcome="Succeeded", output=output, events=event))
    assert (await story.outputs(task))["reply"] == {"key\ufffd": "a\ufffdb", "nan": None}
    assert [event[2] for event in await story.events(alice)] == ["nul \ufffd here", "x\ufffdy"]


async def test_a_runner_whose_pod_was_said_to_have_failed_is_stopped(story: Story) -> None:
    task = await story.task()
    attempt = await story.start(task)
    await story.take(task)
    async with story.conn() as conn:
        await attempts.close_attempt(
            conn, story.fence, attempt, "Failed", "OOMKilled", "out of memory", end_turn=True
        )
    with pytest.raises(Stopped) as stopped:
        await story.finish(attempt, says("late"))
    assert stopped.value.reason == "OOMKilled"
