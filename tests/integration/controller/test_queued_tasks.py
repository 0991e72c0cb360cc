"""Tools that queue a Task: the model is told its name at once, and the session hears of its end."""

from typing import Any

import pytest
from parley.controller import queued_tasks
from parley.kube.errors import Forbidden, Invalid
from parley.kube.kinds import SESSION, TASK

from tests.integration.controller.cluster import NAMESPACE, Cluster, Exit, Run, is_prompt
from tests.integration.controller.scripted_runner import Script
from tests.integration.controller.tools import (
    REPORT,
    SCHEMA,
    conversation,
    reply,
    results,
    say,
    template,
    told,
    waiting,
)

ASKS: list[Any] = [[("report", {"city": "Riga"})], "I have queued it."]


def model(*said: Any, container: Exit | None = None) -> Any:
    def behave(run: Run) -> Exit | Script | None:
        return list(said) if is_prompt(run.body) else container

    return behave


async def queued(cluster: Cluster, *tools: dict[str, Any], **session: Any) -> dict[str, Any]:
    """A turn that has queued a report, whose container still runs; return the report's object."""
    cluster.behaviour = model(*ASKS)
    await template(cluster)
    await conversation(cluster, *(tools or (REPORT,)), **session)
    await say(cluster)
    (name,) = [each for each in cluster.tasks() if each != "refund"]
    return cluster.object(TASK, name)


async def test_the_turn_goes_on_at_once_with_the_tasks_name(cluster: Cluster) -> None:
    body = await queued(cluster)

    name = body["metadata"]["name"]
    assert len(name) <= 52
    assert cluster.status("refund")["phase"] == "Succeeded"
    assert cluster.status("refund")["output"] == "I have queued it."
    assert results(cluster) == {(0, 0): {"task": name}}
    assert body["spec"] == {
        "templateRef": {"name": "long-report"},
        "inputs": {"city": "Riga"},
        "sessionRef": {"name": "alice"},
    }
    assert cluster.status(name)["phase"] == "Running"
    assert told(cluster, "Queued")[-1] == f"tool report of step reply queued Task {name}"


async def test_the_session_keeps_it_and_nobody_controls_it(cluster: Cluster) -> None:
    body = await queued(cluster)

    (owner,) = body["metadata"]["ownerReferences"]
    session = cluster.object(SESSION, "alice")["metadata"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Session", "alice", session["uid"])
    assert "controller" not in owner
    assert "blockOwnerDeletion" not in owner
    assert body["metadata"]["labels"]["parley.dev/queued-by"] == "refund"
    assert "parent" not in cluster.status(body["metadata"]["name"])


async def test_without_a_session_the_task_itself_keeps_it(cluster: Cluster) -> None:
    cluster.behaviour = model(*ASKS)
    await template(cluster)
    await cluster.agent(tools=[REPORT])
    await cluster.task("refund", message="hi", agentRef={"name": "support"})
    await cluster.settle()

    (name,) = [each for each in cluster.tasks() if each != "refund"]
    body = cluster.object(TASK, name)
    assert body["metadata"]["ownerReferences"][0]["uid"] == cluster.object_uid("refund")
    assert "controller" not in body["metadata"]["ownerReferences"][0]
    assert body["spec"]["agentRef"] == {"name": "support"}
    # It is no child: the end of the one ends not the other.
    assert cluster.status("refund")["phase"] == "Succeeded"
    assert cluster.status(name)["phase"] == "Running"


async def test_the_session_hears_of_the_end(cluster: Cluster) -> None:
    body = await queued(cluster)
    name = body["metadata"]["name"]
    (run,) = cluster.running.values()
    assert run.args == ["Riga"]

    await cluster.end(run, Exit(0))
    await cluster.settle()
    assert cluster.status(name)["phase"] == "Succeeded"
    # The next turn's model is shown it.
    cluster.behaviour = model("I see.")
    await say(cluster, "next")

    history = cluster.taken[-1].history
    (end,) = [event for event in history if event.type == "state"]
    content: Any = end.content
    assert (content["state"], content["task"], content["phase"]) == ("TaskEnded", name, "Succeeded")
    assert content["output"] == {"about": "Riga"}
    # And the session's status has it.
    recent = cluster.object(SESSION, "alice")["status"]["recentEvents"]
    assert any(each["type"] == "state" and name in each.get("text", "") for each in recent)


async def test_what_the_template_does_not_take_is_the_models_to_hear_of(cluster: Cluster) -> None:
    cluster.behaviour = model([("report", {"town": "Riga"})], "Sorry.")
    await template(cluster)
    await conversation(cluster, {**REPORT, "parameters": {"type": "object"}})

    await say(cluster)

    (result,) = results(cluster).values()
    assert "inputs: 'city' is a required property" in result["error"]
    assert cluster.tasks() == ["refund"]
    assert cluster.status("refund")["phase"] == "Succeeded"


async def test_the_model_is_offered_what_the_template_takes(cluster: Cluster) -> None:
    await queued(cluster)

    (tool,) = cluster.taken[0].request.agent.tools
    assert tool.parameters == SCHEMA


async def test_a_template_that_is_not_there_is_an_error_of_the_call(cluster: Cluster) -> None:
    cluster.behaviour = model(*ASKS)
    await conversation(cluster, REPORT)

    await say(cluster)

    (result,) = results(cluster).values()
    assert "TaskTemplate long-report does not exist" in result["error"]
    assert cluster.status("refund")["phase"] == "Succeeded"


@pytest.mark.parametrize("refusal", [Forbidden, Invalid])
async def test_what_the_api_server_refuses_is_said_in_its_words(
    cluster: Cluster, refusal: type[Forbidden | Invalid]
) -> None:
    cluster.behaviour = model(*ASKS)
    await template(cluster)
    await conversation(cluster, REPORT)
    create = cluster.kube.create

    async def refuse(kind: Any, namespace: Any, body: Any) -> Any:
        if kind is TASK and body["metadata"]["name"] != "refund":
            raise refusal(422, "Invalid", "policy: no reports on Mondays")
        return await create(kind, namespace, body)

    cluster.kube.create = refuse  # type: ignore[method-assign]
    await say(cluster)

    (result,) = results(cluster).values()
    assert result["error"] == "policy: no reports on Mondays"
    (note,) = told(cluster, "ToolError")
    assert "policy: no reports on Mondays" in note


async def test_a_crash_between_the_object_and_the_answer_makes_no_second_one(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: Any) -> bool:
        raise RuntimeError("the operator was killed here")

    cluster.behaviour = model(*ASKS)
    await template(cluster)
    await conversation(cluster, REPORT)
    await cluster.task("refund", message="hi", sessionRef={"name": "alice"})
    with monkeypatch.context() as patch:
        patch.setattr(queued_tasks, "task_queued", crash)
        with pytest.raises(RuntimeError, match="killed here"):
            await cluster.settle()
    assert len(cluster.tasks()) == 2

    # When the next leader finds the template gone meanwhile
    del cluster.kube.objects["TaskTemplate", NAMESPACE, "long-report"]
    cluster.lead_anew()
    await cluster.settle()

    (name,) = [each for each in cluster.tasks() if each != "refund"]
    assert cluster.status("refund")["phase"] == "Succeeded"
    assert results(cluster) == {(0, 0): {"task": name}}


async def test_a_foreign_task_of_that_name_is_no_answer(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queued_tasks, "queued_name", lambda *_: "taken")
    cluster.behaviour = model(*ASKS)
    await template(cluster)
    await conversation(cluster, REPORT)
    await cluster.task("taken", {"name": "wait", "sleep": {"duration": "1h"}})

    await say(cluster)

    (result,) = results(cluster).values()
    assert result["error"] == "a Task named taken exists that this call did not make"
    assert cluster.status("refund")["phase"] == "Succeeded"


async def test_a_queued_task_can_need_approval(cluster: Cluster) -> None:
    cluster.behaviour = model(*ASKS)
    await template(cluster)
    await conversation(cluster, {**REPORT, "approval": "Required"})
    await say(cluster)
    (entry,) = waiting(cluster)
    assert cluster.tasks() == ["refund"]

    await reply(cluster, "yes", entry["id"], "approve")

    assert len(cluster.tasks()) == 2
    assert cluster.status("refund")["phase"] == "Succeeded"


async def test_a_template_with_an_agent_of_its_own_keeps_it(cluster: Cluster) -> None:
    cluster.behaviour = model(*ASKS)
    steps = [{"name": "write", "container": {"image": "i", "args": ["{{ inputs.city }}"]}}]
    await template(cluster, task={"agentRef": {"name": "writer"}, "steps": steps})
    await conversation(cluster, REPORT)
    await cluster.agent("writer")
    await say(cluster)

    (name,) = [each for each in cluster.tasks() if each != "refund"]
    assert cluster.status("refund")["phase"] == "Succeeded"
    assert "sessionRef" not in cluster.object(TASK, name)["spec"]
    assert cluster.status(name)["agent"] == "writer"

    # The session it is not in hears of its end all the same, and shows it.
    (run,) = cluster.running.values()
    await cluster.end(run, Exit(0))
    await cluster.settle()
    assert cluster.status(name)["phase"] == "Succeeded"
    recent = cluster.object(SESSION, "alice")["status"]["recentEvents"]
    assert [each["task"] for each in recent if each["type"] == "state"] == [name]


async def test_a_tool_that_queues_itself_comes_to_an_end(cluster: Cluster) -> None:
    """A model that queues a task whose model queues a task is stopped at five levels below the first."""
    steps = [{"name": "again", "prompt": {"text": "more", "history": "None"}}]
    cluster.behaviour = lambda _: [[("report", {"city": "Riga"})], "Done."]
    await template(cluster, task={"steps": steps})
    await conversation(cluster, REPORT)

    await say(cluster)
    await cluster.settle()

    assert len(cluster.tasks()) == 6
    refused = [t.journal for t in cluster.taken if t.journal and "error" in str(t.journal[-1].result)]
    assert "five levels" in str(refused[-1])
