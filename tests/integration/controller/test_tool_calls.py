"""Tools: calls that a pod runs itself, and calls for which a turn pauses while a container of their own runs."""

from typing import Any

from tests.integration.controller.cluster import Cluster, Exit, Run, is_prompt
from tests.integration.controller.scripted_runner import Script
from tests.integration.controller.tools import (
    ORDERS,
    SCORE,
    conversation,
    reply,
    results,
    say,
    told,
    waiting,
)


def model(*said: Any, container: Exit | None = None) -> Any:
    """A model that answers so, and containers that end so."""

    def behave(run: Run) -> Exit | Script | None:
        return list(said) if is_prompt(run.body) else container or Exit(0, '{"score": 7}')

    return behave


async def test_what_a_pod_can_call_itself_needs_no_other_pod(cluster: Cluster) -> None:
    cluster.behaviour = model([("get_order", {"number": 7})], "It is late.")
    await conversation(cluster, ORDERS)

    await say(cluster)

    assert cluster.status("refund")["phase"] == "Succeeded", cluster.status("refund")
    assert len(cluster.runs) == 1
    assert [name for name, _ in cluster.called] == ["get_order"]


async def test_a_turn_pauses_while_a_container_runs_for_it(cluster: Cluster) -> None:
    # Given a model that wants a score before it answers
    cluster.behaviour = model([("score", {"number": 7})], "The score is 7.")
    await conversation(cluster, SCORE)

    await say(cluster)

    # Then the pod ended, a Job ran the tool with the call's arguments, and a new attempt went on from its result
    first, tool, second = cluster.runs
    assert (first.step, second.step) == ("reply", "reply")
    assert tool.step.startswith("reply--")
    assert tool.args == ["7"]
    assert results(cluster) == {(0, 0): {"score": 7}}
    assert cluster.status("refund")["output"] == "The score is 7."
    assert cluster.status("refund")["usage"] == {"inputTokens": 6, "outputTokens": 4}
    # It is no failure, and no step of its own.
    step = cluster.step("refund", "reply")
    assert [attempt["number"] for attempt in step["attempts"]] == [1, 2]
    assert step["phase"] == "Succeeded"
    assert [each["name"] for each in cluster.status("refund")["steps"]] == ["reply"]
    assert f"tool score of step reply runs in Job {tool.job}" in told(cluster, "Running")


async def test_a_step_that_changes_a_context_needs_a_session_before_anything_runs(cluster: Cluster) -> None:
    await cluster.agent(builtinTools=["update_context"])
    change = {"name": "update_context", "arguments": {"changes": {"seen": True}}}
    await cluster.task("refund", {"name": "note", "tool": change}, agentRef={"name": "support"})

    await cluster.settle()

    assert cluster.status("refund")["phase"] == "Failed"
    (ready,) = [each for each in cluster.status("refund")["conditions"] if each["type"] == "Ready"]
    assert ready["reason"] == "InvalidSpec"
    assert "spec.steps[0].tool.name: update_context changes a Session's context" in ready["message"]
    assert cluster.runs == []


async def test_while_a_tool_runs_the_task_runs_and_the_session_is_taken(cluster: Cluster) -> None:
    scripts = {"refund": [[("score", {"number": 7})], "Done."], "other": ["Hello."]}

    def behave(run: Run) -> Exit | Script | None:
        task = run.job.split("-reply")[0]
        return scripts[task] if is_prompt(run.body) else None

    cluster.behaviour = behave
    await conversation(cluster, SCORE)
    await say(cluster)
    await say(cluster, "other")

    status = cluster.status("refund")
    assert status["phase"] == "Running"
    assert "tool score runs in Job" in cluster.step("refund", "reply")["message"]
    assert waiting(cluster) == []
    await cluster.until(lambda: cluster.status("other").get("phase") == "Queued", "the other's place")
    assert cluster.step("other", "reply")["reason"] == "SessionBusy"

    (run,) = cluster.running.values()
    await cluster.end(run, Exit(0, "7"))
    await cluster.settle()

    assert cluster.status("refund")["phase"] == "Succeeded"
    assert cluster.status("other")["phase"] == "Succeeded"


async def test_each_pod_of_a_call_has_the_same_key(cluster: Cluster) -> None:
    lost: list[Run] = []

    def behave(run: Run) -> Exit | Script | None:
        if is_prompt(run.body):
            return [[("score", {"number": 7})], "Done."]
        lost.append(run)
        return None if len(lost) == 1 else Exit(0, "7")

    cluster.behaviour = behave
    await conversation(cluster, SCORE)
    await say(cluster)

    # When the first pod of the tool is evicted
    (run,) = cluster.running.values()
    await cluster.end(run, Exit(137))
    await cluster.until(lambda: cluster.status("refund")["phase"] == "Succeeded", "the tool's second pod")

    keys = {run.env["PARLEY_IDEMPOTENCY_KEY"] for run in lost}
    assert len(lost) in {1, 2}
    assert len(keys) == 1


async def test_a_container_that_fails_is_the_models_to_hear_of(cluster: Cluster) -> None:
    cluster.behaviour = model([("score", {"number": 7})], "I cannot.", container=Exit(3, "no such order"))
    await conversation(cluster, SCORE)

    await say(cluster)

    assert cluster.status("refund")["phase"] == "Succeeded"
    (result,) = results(cluster).values()
    assert "no such order" in result["error"] or "3" in result["error"]
    # One failed run, no retries: the model may call again.
    assert len([run for run in cluster.runs if not is_prompt(run.body)]) == 1


async def test_a_tool_whose_template_fails_starts_nothing(cluster: Cluster) -> None:
    cluster.behaviour = model([("score", {})], "I cannot.")
    await conversation(cluster, SCORE)

    await say(cluster)

    (result,) = results(cluster).values()
    assert "spec.tools[0].container.args[0]" in result["error"]
    assert all(is_prompt(run.body) for run in cluster.runs)


async def test_several_calls_of_one_answer_run_side_by_side(cluster: Cluster) -> None:
    calls = [("score", {"number": number}) for number in (1, 2)]

    def behave(run: Run) -> Exit | Script | None:
        return [calls, "Both."] if is_prompt(run.body) else None

    cluster.behaviour = behave
    await conversation(cluster, SCORE)
    await say(cluster)

    one, two = cluster.running.values()
    assert {*one.args, *two.args} == {"1", "2"}

    # One of two is not enough.
    await cluster.end(two, Exit(0, two.args[0]))
    await cluster.settle()
    assert cluster.status("refund")["phase"] == "Running"
    await cluster.end(one, Exit(0, one.args[0]))
    await cluster.settle()

    assert results(cluster) == {(0, 0): 1, (0, 1): 2}
    assert cluster.status("refund")["output"] == "Both."


async def test_a_new_leader_goes_on_where_the_old_one_stopped(cluster: Cluster) -> None:
    def behave(run: Run) -> Exit | Script | None:
        return [[("score", {"number": 7})], "Done."] if is_prompt(run.body) else None

    cluster.behaviour = behave
    await conversation(cluster, SCORE)
    await say(cluster)
    (run,) = cluster.running.values()

    cluster.lead_anew()
    await cluster.settle()
    assert len(cluster.jobs()) == 2
    await cluster.end(run, Exit(0, "7"))
    await cluster.settle()

    assert cluster.status("refund")["phase"] == "Succeeded"
    assert len(cluster.jobs()) == 3


async def test_a_tool_step_calls_without_a_model(cluster: Cluster) -> None:
    await conversation(cluster, ORDERS)
    await cluster.task(
        "refund",
        {"name": "look-up", "tool": {"name": "get_order", "arguments": {"number": "{{ inputs.order }}"}}},
        sessionRef={"name": "alice"},
        inputs={"order": 7},
    )
    await cluster.settle()

    assert cluster.status("refund")["output"] == {"result of": "get_order"}
    # It is no turn of the session.
    assert cluster.taken[0].history == []
    async with cluster.context.store() as connection:
        cursor = await connection.execute("SELECT count(*) FROM turns")
        assert await cursor.fetchone() == (0,)


async def test_a_tool_step_may_be_a_container_of_the_agents(cluster: Cluster) -> None:
    await conversation(cluster, SCORE)
    await cluster.task(
        "refund",
        {"name": "score", "tool": {"name": "score", "arguments": {"number": 7}}},
        {"name": "pay", "container": {"image": "pay:1", "args": ["{{ steps.score.output.score }}"]}},
        agentRef={"name": "support"},
    )
    cluster.behaviour = model(container=Exit(0, '{"score": 7}'))
    await cluster.settle()

    assert cluster.status("refund")["phase"] == "Succeeded", cluster.status("refund")
    assert [run.args for run in cluster.runs if not is_prompt(run.body)] == [["7"], ["7"]]


async def test_a_tool_is_called_for_each_item(cluster: Cluster) -> None:
    step = {
        "name": "notify",
        "forEach": {"items": ["a", "b"], "parallelism": 2},
        "tool": {"name": "get_order", "arguments": {"number": "{{ item }}"}},
    }
    await conversation(cluster, ORDERS)
    await cluster.task("refund", step, agentRef={"name": "support"})
    await cluster.settle()

    assert cluster.status("refund")["phase"] == "Succeeded", cluster.status("refund")
    assert [taken.request.item for taken in cluster.taken] == ["a", "b"]
    assert len(cluster.jobs()) == 1


async def test_large_arguments_reach_their_container_whole(cluster: Cluster) -> None:
    number = "7" * 20_000
    cluster.behaviour = model([("score", {"number": number})], "Done.")
    await conversation(cluster, {**SCORE, "approval": "Required"})
    await say(cluster)
    (entry,) = waiting(cluster)
    assert entry["truncated"]
    assert entry["arguments"].startswith('{"number":"777')

    await reply(cluster, "yes", entry["id"], "approve")

    assert [run.args for run in cluster.runs if not is_prompt(run.body)] == [[number]]
