"""What lets turns through or not: the session's state, how much was said, how many tokens the agent has left."""

import asyncio
from typing import Any

import pytest
from parley.controller.context import TASK_KEY
from parley.controller.queue import Key
from parley.kube.kinds import SESSION
from parley.store import steps as steps_store
from parley.store.pool import connect

from tests.integration.controller.cluster import NAMESPACE, Cluster, Run
from tests.integration.controller.tools import PAY, conversation, say, waiting

USE = """
INSERT INTO agent_usage (cluster, namespace, agent, day, input_tokens, output_tokens)
VALUES (%s, 'team', 'support', (now() AT TIME ZONE 'UTC')::date, %s, %s)
"""


def change_session(cluster: Cluster, **fields: Any) -> None:
    cluster.kube.edit(SESSION, NAMESPACE, "alice", lambda body: body["spec"].update(fields))


async def used(cluster: Cluster, tokens: int) -> None:
    async with connect(cluster.pool) as connection:
        await connection.execute(USE, (cluster.context.cluster, tokens - 1, 1))


async def test_an_agent_that_has_used_its_tokens_waits_for_the_next_day(cluster: Cluster) -> None:
    await conversation(cluster)
    cluster.change_agent(limits={"tokensPerDay": 1000})
    await used(cluster, 1000)

    await say(cluster)
    await cluster.until(lambda: "phase" in cluster.status("refund"), "how the task stands")

    status = cluster.status("refund")
    assert status["phase"] == "Queued"
    step = cluster.step("refund", "reply")
    assert step["reason"] == "QuotaExceeded"
    assert "used 1,000 of its 1,000 tokens" in step["message"]
    assert "T00:00:00Z" in step["message"]
    assert cluster.runs == []

    # More tokens are given.
    cluster.change_agent(limits={"tokensPerDay": 2000})
    await cluster.settle()
    assert cluster.status("refund")["phase"] == "Succeeded"


async def test_tokens_are_counted_as_they_are_used(cluster: Cluster) -> None:
    await conversation(cluster)
    cluster.change_agent(limits={"tokensPerDay": 6})

    await say(cluster, "first")
    await say(cluster, "second")
    await say(cluster, "third")

    assert cluster.status("first")["phase"] == "Succeeded"
    assert cluster.status("second")["phase"] == "Succeeded"
    await cluster.until(lambda: "phase" in cluster.status("third"), "how the third stands")
    assert cluster.step("third", "reply")["reason"] == "QuotaExceeded"


async def test_what_needs_no_model_needs_no_tokens(cluster: Cluster) -> None:
    await conversation(cluster)
    cluster.change_agent(limits={"tokensPerDay": 10})
    await used(cluster, 10)

    await cluster.task("plain", {"name": "run", "container": {"image": "i"}}, agentRef={"name": "support"})
    await cluster.settle()

    assert cluster.status("plain")["phase"] == "Succeeded"


async def test_a_paused_session_queues_and_goes_on(cluster: Cluster) -> None:
    await conversation(cluster)
    change_session(cluster, desiredState="Paused")
    await say(cluster)
    await cluster.until(lambda: "phase" in cluster.status("refund"), "how the task stands")

    assert cluster.status("refund")["phase"] == "Queued"
    assert cluster.step("refund", "reply")["reason"] == "SessionPaused"
    assert cluster.runs == []

    change_session(cluster, desiredState="Active")
    await cluster.settle()
    assert cluster.status("refund")["phase"] == "Succeeded"


async def test_what_waits_for_a_person_fails_when_the_session_ends(cluster: Cluster) -> None:
    cluster.behaviour = lambda _: [[("pay", {"amount": 5})], "Paid."]
    await conversation(cluster, PAY)
    await say(cluster)
    assert waiting(cluster)
    await cluster.task("next", message="Hello?", sessionRef={"name": "alice"})

    change_session(cluster, desiredState="Ended")
    await cluster.settle()

    assert cluster.status("refund")["phase"] == "Failed"
    assert cluster.status("next")["phase"] == "Failed"
    for name in ("refund", "next"):
        (ready,) = [each for each in cluster.status(name)["conditions"] if each["type"] == "Ready"]
        assert ready["reason"] == "SessionEnded"
    assert cluster.called == []


async def test_a_running_turn_finishes_although_its_session_has_ended(cluster: Cluster) -> None:
    runs: list[Run] = []

    def behave(run: Run) -> None:
        runs.append(run)

    cluster.behaviour = behave
    await conversation(cluster)
    await say(cluster)
    change_session(cluster, desiredState="Ended")
    await cluster.settle()
    assert cluster.status("refund")["phase"] == "Running"

    await cluster.end(runs[0], "Goodbye.")
    await cluster.settle()

    assert cluster.status("refund")["phase"] == "Succeeded", cluster.status("refund")
    async with connect(cluster.pool) as connection:
        cursor = await connection.execute("SELECT content FROM events WHERE role = 'assistant'")
        assert [row[0] for row in await cursor.fetchall()] == ["Goodbye."]


async def test_a_session_takes_no_more_messages_than_it_may_hold(cluster: Cluster) -> None:
    await conversation(cluster, limits={"maxMessages": 2})
    await say(cluster, "first")
    assert cluster.status("first")["phase"] == "Succeeded"

    await say(cluster, "second")

    assert cluster.status("second")["phase"] == "Failed", cluster.status("second")
    step = cluster.step("second", "reply")
    assert step["reason"] == "MessageLimit"
    assert "maxMessages is 2" in step["message"]
    assert len(cluster.runs) == 1


def waits_for(cluster: Cluster, task: str) -> str:
    step = cluster.step(task, "reply")
    assert (step["phase"], step["reason"]) == ("Queued", "SessionBusy"), step
    return str(step["message"])


async def test_who_waits_for_a_session_learns_for_whom(cluster: Cluster) -> None:
    # Given a turn that runs, and three behind it
    cluster.behaviour = lambda _: None
    await conversation(cluster)
    for name in ("first", "second", "third", "fourth"):
        await say(cluster, name)
    await cluster.until(lambda: "phase" in cluster.status("fourth"), "where the last stands")
    assert waits_for(cluster, "second") == "Task first has the session's turn"
    assert waits_for(cluster, "third") == "waits for its turn in the session, after Task second"
    assert waits_for(cluster, "fourth") == "waits for its turn in the session, after Task third"

    # When one that waits leaves, who comes after it says so
    cluster.edit("second", desiredState="Cancelled")
    await cluster.settle()

    assert waits_for(cluster, "third") == "Task first has the session's turn"

    # When the first is done, the next begins, and who comes after it waits for it still
    (run,) = cluster.running.values()
    await cluster.end(run, "Hello.")
    await cluster.settle()

    assert cluster.status("third")["phase"] == "Running"
    assert "Task third" in waits_for(cluster, "fourth")


@pytest.mark.parametrize("writers", [2])
async def test_set_steps_of_two_tasks_lose_nothing(cluster: Cluster, writers: int) -> None:
    """Each adds one to what it has read; between reading and writing the other one writes."""
    await conversation(cluster, context={"count": 0})
    step = {"name": "count", "set": {"context": {"count": "{{ session.context.count + 1 }}"}}}
    render, met = cluster.context.evaluator.render, asyncio.Event()
    held: list[bool] = []

    async def slowly(fields: Any, scope: Any) -> Any:
        rendered = await render(fields, scope)
        if not held:
            # The first writer has read, and the second comes and goes before it writes.
            held.append(True)
            await _write_from_elsewhere(cluster)
            met.set()
        return rendered

    cluster.context.evaluator.render = slowly  # type: ignore[method-assign]
    for number in range(writers):
        await cluster.task(f"add-{number}", step, sessionRef={"name": "alice"})
    await cluster.settle()

    assert met.is_set()
    async with connect(cluster.pool) as connection:
        cursor = await connection.execute("SELECT context FROM sessions")
        assert await cursor.fetchone() == ({"count": 10 + writers},)
    assert cluster.object(SESSION, "alice")["status"]["context"] == {"count": 10 + writers}


async def _write_from_elsewhere(cluster: Cluster) -> None:
    """What a tool of a turn does that runs at the same time."""
    async with connect(cluster.pool) as connection:
        await connection.execute(
            "UPDATE sessions SET context = '{\"count\": 10}', context_version = context_version + 1"
        )


async def test_many_writers_of_one_context_take_turns(cluster: Cluster) -> None:
    """Three tasks, worked on at once as the operator's workers do, with ten changes each."""
    await conversation(cluster, context={"count": 0})
    change = {"context": {"count": "{{ session.context.count + 1 }}"}}
    steps = [{"name": f"add-{number}", "set": change} for number in range(10)]
    for number in range(3):
        await cluster.task(f"writer-{number}", *steps, sessionRef={"name": "alice"})
    keys = [Key(TASK_KEY, NAMESPACE, f"writer-{number}") for number in range(3)]
    entered: list[str] = []
    enter = steps_store.enter_step

    async def noted(connection: Any, fence: Any, uid: str, step: str, entry: Any) -> bool:
        done = await enter(connection, fence, uid, step, entry)
        entered.append("written" if done else "lost")
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps_store, "enter_step", noted)
        await asyncio.gather(*(cluster.workers._reconcile(key) for key in keys))
        await cluster.until(
            lambda: all(cluster.status(key.name).get("phase") == "Succeeded" for key in keys), "all changes"
        )

    async with connect(cluster.pool) as connection:
        cursor = await connection.execute("SELECT context FROM sessions")
        assert await cursor.fetchone() == ({"count": 30},)
    assert entered.count("lost") == 0
