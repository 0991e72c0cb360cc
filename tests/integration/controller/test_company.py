"""With whom a turn is: which of several agents speaks, which of several people, and what is nobody's."""

from typing import Any

import pytest
from parley.kube.kinds import AGENT, SESSION
from parley.protocol.request import PromptRequest

from tests.integration.controller.cluster import NAMESPACE, Cluster

PEOPLE = [{"id": "a@x", "name": "Alice"}, {"id": "b@x", "name": "Bob"}]


async def group(cluster: Cluster) -> None:
    """Two agents and two people in one session."""
    await cluster.agent("support")
    await cluster.agent("lawyer", instructions="Be careful.")
    await cluster.apply(
        SESSION, "alice", {"agents": [{"name": "support"}, {"name": "lawyer"}], "users": PEOPLE}
    )


async def say(cluster: Cluster, name: str = "hello", **fields: Any) -> PromptRequest:
    await cluster.task(name, message="Hi.", sessionRef={"name": "alice"}, **fields)
    await cluster.settle()
    request = cluster.taken[-1].request
    assert isinstance(request, PromptRequest)
    return request


async def test_the_first_agent_answers_and_the_first_person_asks_by_default(cluster: Cluster) -> None:
    await group(cluster)

    request = await say(cluster)

    assert (request.agent.name, request.speaker, request.several) == ("support", "Alice", True)
    assert request.session is not None
    assert request.session.agents == ["support", "lawyer"]
    assert cluster.status("hello")["agent"] == "support"


async def test_a_task_names_who_answers_and_who_asks(cluster: Cluster) -> None:
    await group(cluster)

    request = await say(cluster, agentRef={"name": "lawyer"}, user="b@x")

    assert (request.agent.name, request.speaker) == ("lawyer", "Bob")
    assert request.agent.instructions == "Be careful."
    assert request.session is not None
    assert request.session.user is not None
    assert request.session.user.id == "b@x"
    assert cluster.status("hello")["agent"] == "lawyer"


async def test_who_said_what_is_in_the_transcript(cluster: Cluster) -> None:
    await group(cluster)
    await say(cluster, agentRef={"name": "lawyer"}, user="b@x")

    await say(cluster, "next")

    assert [(event.role, event.speaker) for event in cluster.taken[-1].history] == [
        ("user", "Bob"),
        ("assistant", "lawyer"),
    ]


def ready(cluster: Cluster, name: str = "hello") -> dict[str, Any]:
    (condition,) = [each for each in cluster.status(name)["conditions"] if each["type"] == "Ready"]
    return condition


async def test_a_task_waits_for_the_person_it_names(cluster: Cluster) -> None:
    """Its session's people may change."""
    await group(cluster)
    await cluster.task("hello", message="Hi.", sessionRef={"name": "alice"}, user="eve@x")

    await cluster.settle()

    assert cluster.status("hello")["phase"] == "Pending"
    assert ready(cluster)["reason"] == "InvalidSpec"
    assert (
        "spec.user: eve@x is none of Session alice's users, which are a@x, b@x" in ready(cluster)["message"]
    )
    assert cluster.runs == []


async def test_a_task_for_an_agent_that_its_session_will_never_have_fails(cluster: Cluster) -> None:
    """Neither the session's agents nor the task's can be changed, so there is nothing to wait for."""
    await group(cluster)
    await cluster.agent("stranger")
    await cluster.task("hello", message="Hi.", sessionRef={"name": "alice"}, agentRef={"name": "stranger"})

    await cluster.settle()

    assert cluster.status("hello")["phase"] == "Failed"
    stalled = next(each for each in cluster.status("hello")["conditions"] if each["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "InvalidSpec")
    why = "spec.agentRef: Agent stranger is none of Session alice's, which are support, lawyer"
    assert why in stalled["message"]
    assert cluster.runs == []


async def test_a_task_that_comes_before_its_session_waits_for_it(cluster: Cluster) -> None:
    await cluster.task("hello", message="Hi.", sessionRef={"name": "alice"}, agentRef={"name": "lawyer"})
    await cluster.settle()
    assert cluster.status("hello")["phase"] == "Pending"
    assert ready(cluster)["reason"] == "SessionNotFound"

    await group(cluster)
    await cluster.settle()

    assert cluster.status("hello")["phase"] == "Succeeded"


async def test_a_session_seen_too_late_fails_nobody(cluster: Cluster) -> None:
    """The watch of Tasks may be ahead of that of Sessions: the old one is gone, the new one has the agent."""
    await cluster.agent("support")
    await cluster.agent("lawyer")
    await cluster.session("alice")
    await cluster.settle()
    watch, cluster.kube.on_change = cluster.kube.on_change, lambda _type, _kind, _body: None
    old = cluster.object(SESSION, "alice")
    await cluster.kube.delete(SESSION, NAMESPACE, "alice")
    await cluster.session("alice", agentRef={"name": "lawyer"})
    cluster.kube.on_change = watch

    await cluster.task("hello", message="Hi.", sessionRef={"name": "alice"}, agentRef={"name": "lawyer"})
    await cluster.settle()
    assert cluster.status("hello")["phase"] == "Pending", cluster.status("hello")

    watch("DELETED", SESSION, old)
    watch("ADDED", SESSION, cluster.object(SESSION, "alice"))
    await cluster.settle()

    assert cluster.status("hello")["phase"] == "Succeeded", cluster.status("hello")


@pytest.mark.parametrize("fields", [{}, {"agentRef": {"name": "lawyer"}}])
async def test_an_agent_that_comes_later_wakes_who_waits_for_it(
    cluster: Cluster, fields: dict[str, Any]
) -> None:
    """Also where no Task names it, but the list of its Session does."""
    late = "lawyer" if fields else "support"
    await cluster.agent("support" if fields else "lawyer")
    await cluster.apply(SESSION, "alice", {"agents": [{"name": "support"}, {"name": "lawyer"}]})
    await cluster.task("hello", message="Hi.", sessionRef={"name": "alice"}, **fields)
    await cluster.settle()
    assert ready(cluster)["reason"] == "AgentNotFound"

    await cluster.apply(AGENT, late, {"model": {"provider": "OpenAI", "name": "scripted"}})
    await cluster.settle()

    assert cluster.status("hello")["phase"] == "Succeeded"


async def test_a_child_is_with_whom_its_parent_is(cluster: Cluster) -> None:
    await group(cluster)
    child = {"spec": {"steps": [{"name": "ask", "prompt": {"text": "?"}}]}}
    await cluster.task(
        "hello",
        {"name": "more", "task": child},
        sessionRef={"name": "alice"},
        agentRef={"name": "lawyer"},
        user="b@x",
    )

    await cluster.settle()

    (name,) = [each for each in cluster.tasks() if each != "hello"]
    assert cluster.status("hello")["phase"] == "Succeeded", cluster.status("hello")
    assert cluster.status(name)["agent"] == "lawyer"
    request = cluster.taken[-1].request
    assert isinstance(request, PromptRequest)
    assert request.speaker == "Bob"
