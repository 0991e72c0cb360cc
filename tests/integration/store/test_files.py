"""Files of containers: fetched before they run, sent at their end, and kept when the outcome is committed."""

import asyncio
from typing import Any

import pytest
from parley.store import attempts, reading, tasks, uploads
from parley.store.entries import Done
from parley.store.errors import Stopped
from parley.store.rows import MAX_STORED_BYTES

from tests.integration.store.story import Story, container_request
from tests.integration.store.test_waking import listening


async def container(story: Story, task: str | None = None, **request: Any) -> tuple[str, int]:
    task = task or await story.task()
    return task, await story.start(task, "score", request=container_request("t", "score") | request)


async def upload(story: Story, task: str, *, job: str = "", namespace: str = "default", **what: Any) -> None:
    async with story.conn() as conn:
        await uploads.put_upload(
            conn, job=job or f"{task}-score-1", index=0, task_uid=task, namespace=namespace, **what
        )


async def finish(story: Story, attempt: int, outcome: Any = "Succeeded", **changes: Any) -> bool:
    fields: dict[str, Any] = {
        "reason": outcome, "message": "", "exit_code": 0, "output": "said", "pod_uid": "pod-1",
    } | changes  # fmt: skip
    async with story.conn() as conn:
        return await attempts.finish_container(conn, story.fence, attempt, outcome=outcome, **fields)


@pytest.mark.parametrize("value", [{"rows": [1, None]}, None, "text", "x" * (MAX_STORED_BYTES - 2)])
async def test_the_file_is_the_output(story: Story, value: Any) -> None:
    task, attempt = await container(story)
    assert not (await story.load(task)).attempts[0].uploaded
    await upload(story, task, value=value)
    await upload(story, task, value="a repeat changes nothing")
    assert (await story.load(task)).attempts[0].uploaded
    assert await finish(story, attempt)
    assert await story.outputs(task) == {"score": value}
    assert await story.sql("SELECT * FROM uploads") == [], "it is not kept twice"
    with pytest.raises(Stopped):
        await upload(story, task, value=value)


@pytest.mark.parametrize(
    ("what", "reason", "message"),
    [
        ({"problem": "/parley/output is binary"}, "Error", "/parley/output is binary"),
        (
            {"problem": "/parley/output is large", "too_large": True},
            "ResultTooLarge",
            "/parley/output is large",
        ),
        ({"value": "x" * MAX_STORED_BYTES}, "ResultTooLarge", "The output file is 16,777,218 bytes as JSON"),
    ],
)
async def test_a_file_that_is_no_output_fails_a_success(
    story: Story, what: dict[str, Any], reason: str, message: str
) -> None:
    task, attempt = await container(story)
    await upload(story, task, **what)
    assert (await story.load(task)).attempts[0].uploaded
    assert await finish(story, attempt)
    failed = (await story.load(task)).attempts[0]
    assert (failed.state, failed.reason, failed.exit_code) == ("Failed", reason, 0)
    assert message in (failed.message or "")
    assert await story.outputs(task) == {}


async def test_the_exit_code_comes_before_the_file(story: Story) -> None:
    for what in ({"value": "partial"}, {"problem": "broken"}):
        task, attempt = await container(story)
        await upload(story, task, **what)
        assert await finish(story, attempt, "Failed", reason="ExitCode", message="exit code 3", exit_code=3)
        failed = (await story.load(task)).attempts[0]
        assert (failed.reason, failed.message) == ("ExitCode", "exit code 3")
        assert await story.outputs(task) == {}


async def test_only_the_open_container_of_this_pod_has_files(story: Story) -> None:
    task, attempt = await container(story)
    await story.start(task, "prompt")
    for wrong in ({"job": "another"}, {"job": f"{task}-prompt-1"}, {"namespace": "another"}):
        with pytest.raises(Stopped):
            await upload(story, task, value=1, **wrong)
    async with story.conn() as conn:
        await attempts.close_attempt(conn, story.fence, attempt, "Lost", "PodLost", "", end_turn=False)
    with pytest.raises(Stopped) as stopped:
        await upload(story, task, value=1)
    assert stopped.value.reason == "PodLost"
    ended, _ = await container(story)
    await story.end(ended, "Cancelled")
    with pytest.raises(Stopped):
        await upload(story, ended, value=1)
    gone, _ = await container(story)
    async with story.conn() as conn:
        await tasks.task_gone(conn, story.fence, gone)
    with pytest.raises(Stopped):
        await upload(story, gone, value=1)
    assert await story.sql("SELECT * FROM uploads") == []


async def test_the_file_of_an_attempt_that_was_closed_is_not_kept(story: Story) -> None:
    lost, cancelled, followed = [await container(story) for _ in range(3)]
    for task, _ in (lost, cancelled, followed):
        await upload(story, task, value="half")
    async with story.conn() as conn:
        await attempts.close_attempt(conn, story.fence, lost[1], "Lost", "PodLost", "", end_turn=False)
    await story.end(cancelled[0], "Cancelled")
    await story.start(
        followed[0],
        "score",
        number=2,
        close=story.close(followed[1]),
        request=container_request("t", "score"),
    )
    assert await story.sql("SELECT * FROM uploads") == []
    for task in (lost, cancelled, followed):
        assert await story.outputs(task[0]) == {}


async def test_a_file_that_arrived_is_heard_of(story: Story, database: str) -> None:
    task, _ = await container(story)
    async with listening(database) as ear:
        await ear.until(lambda: ear.connected == 1)
        await upload(story, task, value=1)
        await ear.until(lambda: ear.heard == [task])


async def test_the_file_and_the_end_of_the_pod_exclude_each_other_or_go_together(story: Story) -> None:
    for _ in range(8):
        task, attempt = await container(story)
        answers = await asyncio.gather(
            upload(story, task, value="file"), finish(story, attempt), return_exceptions=True
        )
        late = isinstance(answers[0], Stopped)
        assert answers == [answers[0] if late else None, True]
        assert await story.outputs(task) == {"score": "said" if late else "file"}
        assert await story.sql("SELECT * FROM uploads") == []


async def test_the_input_file_is_rendered_from_whole_outputs(story: Story) -> None:
    task = await story.task()
    large = {"rows": ["x" * 1000] * 1000}
    await story.enter(task, "look-up", Done(large))
    await story.enter(task, "other", Done("not asked for"))
    template = {
        "path": "spec.steps[1].container.inputFile", "template": "{{ steps.look_up.output }}", "scope": {},
        "steps": {"look_up": "look-up"},
    }  # fmt: skip
    _, attempt = await container(story, task, inputFile=template)
    async with story.conn() as conn:
        given = await uploads.container_input(
            conn, job=f"{task}-score-1", index=0, task_uid=task, namespace="default"
        )
        assert (given.attempt, given.outputs) == (attempt, {"look-up": large})
        assert given.request["inputFile"] == template
        with pytest.raises(Stopped):
            await uploads.container_input(
                conn, job=f"{task}-score-1", index=0, task_uid=task, namespace="another"
            )
    assert (await story.load(task)).attempts[0].state == "Open", "reading takes nothing"


async def test_a_container_without_an_input_file_is_given_no_outputs(story: Story) -> None:
    task, _ = await container(story)
    async with story.conn() as conn:
        given = await uploads.container_input(
            conn, job=f"{task}-score-1", index=0, task_uid=task, namespace="default"
        )
    assert given.outputs == {}


async def test_the_end_of_the_log_is_kept_whatever_the_outcome(story: Story) -> None:
    async with story.conn() as conn:
        _, first = await container(story)
        await finish(story, first, log="line 1\nline\x002")
        _, second = await container(story)
        await finish(story, second, "Failed", log="boom")
        _, third = await container(story)
        await attempts.close_attempt(
            conn, story.fence, third, "Failed", "Error", "", end_turn=False, log="it hung"
        )
        _, fourth = await container(story)
        await finish(story, fourth)
        logs = [await reading.load_log(conn, attempt) for attempt in (first, second, third, fourth, 999)]
    assert logs == ["line 1\nline\ufffd2", "boom", "it hung", None, None]
