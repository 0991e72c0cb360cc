"""What a tool's container holds while it runs: a place, a pod, time; and who is told when it cannot go on."""

from parley.kube.kinds import JOB

from tests.integration.controller.cluster import Cluster, Exit, Run, is_prompt
from tests.integration.controller.scripted_runner import Script
from tests.integration.controller.test_tool_calls import model
from tests.integration.controller.tools import SCORE, conversation, reply, results, say, waiting


async def test_a_tools_container_takes_a_place_and_a_question_takes_none(cluster: Cluster) -> None:
    # Given an agent that works on one task at once, and a call that must be approved before its container runs
    def behave(run: Run) -> Exit | Script | None:
        return [[("score", {"number": 7})], "Done."] if is_prompt(run.body) else None

    cluster.behaviour = behave
    await cluster.agent(tools=[{**SCORE, "approval": "Required"}], limits={"maxConcurrentTasks": 1})
    await cluster.task("refund", message="Refund me.", agentRef={"name": "support"})
    await cluster.settle()
    (entry,) = waiting(cluster)

    # While it asks, another one works
    await cluster.task("plain", {"name": "run", "container": {"image": "i"}}, agentRef={"name": "support"})
    await cluster.settle()
    (run,) = cluster.running.values()
    assert run.job.startswith("plain")
    await reply(cluster, "yes", entry["id"], "approve")
    assert cluster.status("refund")["phase"] == "Queued"
    assert cluster.step("refund", "reply")["reason"] == "ConcurrencyLimited"

    # And while the tool runs, no other does
    await cluster.end(run, Exit(0))
    await cluster.settle()
    (run,) = cluster.running.values()
    assert run.step.startswith("reply--")
    await cluster.task("later", {"name": "run", "container": {"image": "i"}}, agentRef={"name": "support"})
    await cluster.settle()
    assert cluster.step("later", "run")["reason"] == "ConcurrencyLimited"

    await cluster.end(run, Exit(0, "7"))
    await cluster.settle()
    assert cluster.status("refund")["phase"] == "Succeeded"
    assert cluster.status("later")["phase"] == "Running"


async def test_a_cancelled_task_takes_its_tools_pod_with_it(cluster: Cluster) -> None:
    cluster.behaviour = lambda run: [[("score", {"number": 7})], "Done."] if is_prompt(run.body) else None
    await conversation(cluster, SCORE)
    await say(cluster)
    (run,) = cluster.running.values()

    cluster.edit("refund", desiredState="Cancelled")
    await cluster.settle()

    assert cluster.status("refund")["phase"] == "Cancelled"
    assert cluster.object(JOB, run.job)["spec"]["suspend"] is True
    # The session is free, and the call has no result but that.
    cluster.behaviour = model("Hello.")
    await say(cluster, "next")
    assert cluster.status("next")["phase"] == "Succeeded"
    (result,) = [event.content for event in cluster.taken[-1].history if event.type == "toolResult"]
    assert "Cancelled" in str(result) or "cancelled" in str(result)


async def test_a_tool_that_takes_too_long_is_the_models_to_hear_of(cluster: Cluster) -> None:
    tool = {**SCORE, "container": {**SCORE["container"], "timeout": "1s"}}
    cluster.behaviour = lambda run: [[("score", {"number": 7})], "Late."] if is_prompt(run.body) else None
    await conversation(cluster, tool)
    await say(cluster)

    await cluster.until(lambda: cluster.status("refund").get("phase") == "Succeeded", "the tool's deadline")

    (result,) = results(cluster).values()
    assert "1s" in result["error"]
