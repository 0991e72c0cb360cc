"""Approval of tool calls: a turn pauses before the call, a person decides, and it goes on exactly there."""

from typing import Any

import pytest
from parley.kube.kinds import REPLY
from parley.protocol.messages import CallBody, ResponseBody
from parley.store import runner_calls
from parley.store.errors import NotAllowed
from parley.store.pool import connect

from tests.integration.controller.cluster import NAMESPACE, Cluster, Exit, Run, is_prompt
from tests.integration.controller.scripted_runner import Script
from tests.integration.controller.tools import (
    ORDERS,
    PAY,
    SCORE,
    conversation,
    reply,
    results,
    say,
    told,
    waiting,
)

ONE: list[Any] = [[("pay", {"amount": 5})], "Paid."]


def model(*said: Any) -> Any:
    def behave(run: Run) -> Exit | Script | None:
        return list(said) if is_prompt(run.body) else Exit(0, "7")

    return behave


async def asked(cluster: Cluster, script: list[Any] = ONE, *tools: dict[str, Any]) -> list[dict[str, Any]]:
    """A turn that has paused; return what it asks."""
    cluster.behaviour = model(*script)
    await conversation(cluster, *(tools or (PAY,)))
    await say(cluster)
    return waiting(cluster)


async def test_a_turn_asks_before_it_calls(cluster: Cluster) -> None:
    (entry,) = await asked(cluster)

    status = cluster.status("refund")
    assert status["phase"] == "WaitingForInput"
    assert (entry["kind"], entry["call"], entry["step"]) == ("Approval", "pay", "reply")
    assert entry["question"] == "May support call pay?"
    assert entry["choices"] == ["approve", "reject"]
    assert entry["arguments"] == '{"amount":5}'
    (waits,) = [each for each in status["conditions"] if each["type"] == "WaitingForInput"]
    assert waits["status"] == "True"
    # Nothing ran, and no pod waits.
    assert cluster.called == []
    assert len(cluster.runs) == 1
    assert cluster.running == {}
    (note,) = told(cluster, "WaitingForInput")
    assert 'May support call pay? {"amount":5}' in note
    assert entry["id"] in note


async def test_after_a_yes_the_call_runs_and_nothing_twice(cluster: Cluster) -> None:
    (entry,) = await asked(cluster)

    assert await reply(cluster, "yes", entry["id"], "approve") == ("True", "Accepted")

    assert cluster.status("refund")["phase"] == "Succeeded", cluster.status("refund")
    assert [name for name, _ in cluster.called] == ["pay"]
    assert len(cluster.runs) == 2
    assert told(cluster, "Approved") == ["bob@company.com approved the call of pay in step reply (Reply yes)"]
    # The model was asked once for the call and once for its answer.
    assert cluster.status("refund")["usage"] == {"inputTokens": 6, "outputTokens": 4}


async def test_what_was_approved_is_what_was_asked_whatever_became_of_the_agent(cluster: Cluster) -> None:
    (entry,) = await asked(cluster)
    elsewhere = {**PAY, "http": {"url": "http://thief/pay", "method": "POST"}, "approval": "Never"}

    cluster.change_agent(tools=[elsewhere])
    await reply(cluster, "yes", entry["id"], "approve")

    (tool,) = cluster.taken[-1].request.agent.tools
    assert tool.http is not None
    assert tool.http.url == "http://bank/pay"
    assert [name for name, _ in cluster.called] == ["pay"]


async def test_after_a_no_the_model_hears_why(cluster: Cluster) -> None:
    (entry,) = await asked(cluster)

    await reply(cluster, "no", entry["id"], "reject", message="Too much.")

    assert cluster.called == []
    (said,) = cluster.taken[-1].replies
    assert (said.choice, said.by, said.message) == ("reject", "bob@company.com", "Too much.")
    assert cluster.status("refund")["phase"] == "Succeeded"
    assert told(cluster, "Rejected") == ["bob@company.com rejected the call of pay in step reply (Reply no)"]


async def test_each_call_of_a_turn_is_decided_by_itself(cluster: Cluster) -> None:
    calls = [("pay", {"amount": 1}), ("get_order", {"number": 7}), ("pay", {"amount": 2})]
    first, second = await asked(cluster, [calls, "Done."], PAY, ORDERS)
    assert [each["arguments"] for each in (first, second)] == ['{"amount":1}', '{"amount":2}']
    # What needs nobody has run already.
    assert [name for name, _ in cluster.called] == ["get_order"]

    await reply(cluster, "no", first["id"], "reject")
    assert [each["id"] for each in waiting(cluster)] == [second["id"]]
    assert len(cluster.runs) == 1

    await reply(cluster, "yes", second["id"], "approve")
    assert [name for name, _ in cluster.called] == ["get_order", "pay"]
    assert cluster.status("refund")["phase"] == "Succeeded"


async def test_an_approved_container_runs_after_the_yes_and_not_before(cluster: Cluster) -> None:
    (entry,) = await asked(
        cluster, [[("score", {"number": 7})], "It is 7."], {**SCORE, "approval": "Required"}
    )
    assert all(is_prompt(run.body) for run in cluster.runs)

    await reply(cluster, "yes", entry["id"], "approve")

    assert [run.args for run in cluster.runs if not is_prompt(run.body)] == [["7"]]
    assert results(cluster) == {(0, 0): 7}
    assert cluster.status("refund")["output"] == "It is 7."


@pytest.mark.parametrize(
    ("choice", "why"),
    [("reject", "AlreadyAnswered"), ("approve", "AlreadyAnswered")],
)
async def test_the_first_reply_stands(cluster: Cluster, choice: str, why: str) -> None:
    (entry,) = await asked(cluster)
    await reply(cluster, "first", entry["id"], "reject")

    assert await reply(cluster, "second", entry["id"], choice) == ("False", why)

    assert cluster.called == []


async def test_a_reply_of_another_task_is_refused(cluster: Cluster) -> None:
    (entry,) = await asked(cluster)
    await cluster.task("other", {"name": "ask", "wait": {"question": "?"}})
    await cluster.settle()

    verdict = await reply(cluster, "foreign", entry["id"], "approve", task="other")

    assert verdict == ("False", "NotWaiting")
    assert [each["id"] for each in waiting(cluster)] == [entry["id"]]
    assert cluster.called == []


async def test_a_reply_of_an_older_run_is_refused(cluster: Cluster) -> None:
    (entry,) = await asked(cluster)
    await cluster.kube_delete("refund")
    await say(cluster)
    (new,) = waiting(cluster)
    assert new["id"] != entry["id"]

    assert (await reply(cluster, "old", entry["id"], "approve"))[0] == "False"

    assert cluster.called == []
    assert waiting(cluster) == [new]


async def test_what_is_no_choice_is_refused(cluster: Cluster) -> None:
    (entry,) = await asked(cluster)

    assert await reply(cluster, "maybe", entry["id"], "perhaps") == ("False", "UnknownChoice")
    spec = {"taskRef": {"name": "refund"}, "waitID": entry["id"], "by": "bob", "value": True}
    await cluster.apply(REPLY, "value", spec)
    await cluster.settle()

    (accepted,) = [
        each for each in cluster.object(REPLY, "value")["status"]["conditions"] if each["type"] == "Accepted"
    ]
    assert (accepted["status"], accepted["reason"]) == ("False", "UnknownChoice")
    assert cluster.called == []


@pytest.mark.parametrize(("default", "calls"), [("Reject", []), ("Approve", ["pay"])])
async def test_silence_means_what_the_tool_says(cluster: Cluster, default: str, calls: list[str]) -> None:
    (entry,) = await asked(cluster, ONE, {**PAY, "approvalTimeout": "1s", "onApprovalTimeout": default})
    assert entry["deadline"]

    await cluster.until(lambda: cluster.status("refund")["phase"] == "Succeeded", "the end of the patience")

    assert [name for name, _ in cluster.called] == calls
    (note,) = told(cluster, "WaitTimeout")
    assert "nobody said in time whether to call pay" in note
    assert (await reply(cluster, "late", entry["id"], "approve"))[0] == "False"


async def test_who_waits_for_the_session_learns_for_whose_reply(cluster: Cluster) -> None:
    (entry,) = await asked(cluster)
    cluster.behaviour = model("Hello.")
    await say(cluster, "other")
    await cluster.until(lambda: cluster.status("other").get("phase") == "Queued", "the other's place")

    step = cluster.step("other", "reply")
    assert step["reason"] == "SessionWaitingForReply"
    assert "Task refund" in step["message"]

    # Once it is decided the others wait for a turn as any other, and then have theirs.
    cluster.behaviour = lambda run: None if run.job.startswith("refund") else ["Hello."]
    await reply(cluster, "yes", entry["id"], "approve")
    await cluster.until(
        lambda: cluster.step("other", "reply")["reason"] == "SessionBusy", "that no reply is waited for"
    )
    (run,) = cluster.running.values()
    await cluster.end(run, [*ONE])
    await cluster.settle()
    assert cluster.status("other")["phase"] == "Succeeded"


async def test_who_is_deleted_while_it_asks_keeps_nobody_waiting(cluster: Cluster) -> None:
    await asked(cluster)
    cluster.behaviour = model("Hello.")
    await say(cluster, "other")
    await cluster.until(lambda: cluster.status("other").get("phase") == "Queued", "the other's place")

    await cluster.kube_delete("refund")
    await cluster.settle()

    assert cluster.status("other")["phase"] == "Succeeded", cluster.status("other")


async def test_a_task_that_asks_can_be_cancelled(cluster: Cluster) -> None:
    (entry,) = await asked(cluster)

    cluster.edit("refund", desiredState="Cancelled")
    await cluster.settle()

    assert cluster.status("refund")["phase"] == "Cancelled"
    assert waiting(cluster) == []
    assert await reply(cluster, "yes", entry["id"], "approve") == ("False", "NotWaiting")
    # The model of the next turn sees that the call got no result.
    async with cluster.context.store() as connection:
        cursor = await connection.execute("SELECT type FROM events ORDER BY sequence")
        assert [row[0] for row in await cursor.fetchall()] == ["message", "toolCall", "toolResult"]


async def test_a_suspended_task_keeps_its_question_and_goes_on_after(cluster: Cluster) -> None:
    (entry,) = await asked(cluster)
    cluster.edit("refund", desiredState="Suspended")
    await cluster.settle()

    await reply(cluster, "yes", entry["id"], "approve")
    assert len(cluster.runs) == 1

    cluster.edit("refund", desiredState="Running")
    await cluster.settle()
    assert cluster.status("refund")["phase"] == "Succeeded"
    assert [name for name, _ in cluster.called] == ["pay"]


async def test_a_rejected_tool_step_fails_for_good(cluster: Cluster) -> None:
    await conversation(cluster, PAY)
    await cluster.task(
        "refund",
        {"name": "pay", "tool": {"name": "pay", "arguments": {"amount": 5}}, "retry": {"limit": 3}},
        agentRef={"name": "support"},
    )
    await cluster.settle()
    (entry,) = waiting(cluster)

    await reply(cluster, "no", entry["id"], "reject")

    assert cluster.status("refund")["phase"] == "Failed"
    assert cluster.step("refund", "pay")["reason"] == "Rejected"
    assert len(cluster.runs) == 2


async def test_items_ask_each_for_themselves(cluster: Cluster) -> None:
    await conversation(cluster, PAY)
    step = {
        "name": "pay",
        "forEach": {"items": [1, 2], "parallelism": 2},
        "tool": {"name": "pay", "arguments": {"amount": "{{ item }}"}},
    }
    await cluster.task("refund", step, agentRef={"name": "support"})
    await cluster.settle()
    entries = waiting(cluster)
    assert [entry["item"] for entry in entries] == [0, 1]

    for entry in entries:
        await reply(cluster, f"yes-{entry['item']}", entry["id"], "approve")

    assert cluster.status("refund")["phase"] == "Succeeded", cluster.status("refund")
    assert [name for name, _ in cluster.called] == ["pay", "pay"]


async def test_no_pod_runs_what_nobody_has_approved(cluster: Cluster) -> None:
    """A runner that goes ahead by itself is refused by the store, whatever its model talks it into."""
    cluster.behaviour = lambda _: None
    await conversation(cluster, PAY)
    await say(cluster)
    (run,) = cluster.running.values()
    uid = cluster.object_uid("refund")
    async with connect(cluster.pool) as connection:
        taken = await runner_calls.take(
            connection, job=run.job, index=0, task_uid=uid, namespace=NAMESPACE, holder="pod/nonce"
        )
        response = ResponseBody(response={"calls": [{"name": "pay", "arguments": {"amount": 5}}]})
        await runner_calls.put_response(connection, taken.attempt, "pod/nonce", 0, response)

        with pytest.raises(NotAllowed):
            await runner_calls.put_call(
                connection, taken.attempt, "pod/nonce", 0, 0, CallBody(begun={"tool": "pay"})
            )
