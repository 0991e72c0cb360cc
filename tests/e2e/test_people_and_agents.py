"""Points 7 and 8: several people and several agents in one conversation; models of other providers that stand in."""

import json

import pytest

from tests.cluster import Cluster, step_of
from tests.e2e.conftest import MODEL_URL, Store, agent, say, session, task
from tests.e2e.servers import call, get_order, model_requests, offered, refund, shop_calls, texts_of
from tests.e2e.test_tools import succeeded, told

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("tools")]

BARE_URL = MODEL_URL.removesuffix("/v1")


def test_each_model_knows_who_said_what(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given two agents, each with tools and a model name of its own, and two people
    planner_model = {"provider": "OpenAI", "name": "scripted-planner", "baseURL": MODEL_URL}
    cluster.apply(
        namespace,
        agent("planner", displayName="Planner", tools=[get_order(namespace)], model=planner_model),
        agent("critic", tools=[refund()]),
        agent("stranger"),
        session(
            "journey",
            agents=[{"name": "planner"}, {"name": "critic"}],
            users=[{"id": "ivan", "name": "Ivan", "about": "pays"}, {"id": "judy"}],
        ),
    )

    # When they speak in turns, each as the task says, else the first
    cluster.apply(
        namespace, say("one", "journey", f"echo: to the sea {namespace} {call('get_order', number='3')}")
    )
    succeeded(cluster, namespace, "one")
    cluster.apply(namespace, say("two", "journey", "echo: too far", user="judy", agentRef={"name": "critic"}))
    succeeded(cluster, namespace, "two")
    cluster.apply(namespace, say("three", "journey", "What are your instructions?", user="judy"))
    answer = succeeded(cluster, namespace, "three")["status"]["output"]
    assert "judy" in answer

    # Then each agent was asked with its own model and tools
    requests = model_requests(cluster, namespace)
    assert [entry["request"]["model"] for entry in requests] == [
        "scripted-planner", "scripted-planner", "scripted", "scripted-planner",
    ]  # fmt: skip
    assert offered(requests[1]) == ["get_order"]
    assert offered(requests[2]) == ["refund"]

    # And each was told by name who said what; its own words it knows for its own
    critics = texts_of(requests[2])
    said = [text for role, text in critics if role == "user"]
    assert any(text.startswith("Ivan: ") and "to the sea" in text for text in said), critics
    assert any(text.startswith(("Planner: ", "planner: ")) for text in said), critics
    assert said[-1] == "judy: echo: too far"
    assert [text for role, text in critics if role == "assistant" and text] == []
    planners = texts_of(requests[3])
    assert any(role == "assistant" and "tool says" in text for role, text in planners), planners
    assert any(role == "user" and text == "critic: too far" for role, text in planners), planners

    # And the transcript has the names
    rows = store.rows(
        "SELECT e.task, e.role, e.speaker FROM events e JOIN sessions s ON s.uid = e.session_uid"
        " WHERE s.namespace = %s AND e.type = 'message' ORDER BY e.sequence",
        namespace,
    )
    assert [(task_, role) for task_, role, _ in rows] == [
        (name, role) for name in ("one", "two", "three") for role in ("user", "assistant")
    ]
    assert [speaker for _, role, speaker in rows if role == "user"] == ["Ivan", "judy", "judy"]
    assert [speaker.lower() for _, role, speaker in rows if role == "assistant"] == [
        "planner",
        "critic",
        "planner",
    ]
    journey = cluster.get("session", namespace, "journey")
    assert journey is not None
    assert journey["status"]["recentEvents"][0]["speaker"] == "Ivan"

    # And who is no part of it neither answers nor asks
    cluster.apply(
        namespace,
        say("four", "journey", "hello", agentRef={"name": "stranger"}),
        say("five", "journey", "hi", user="eve"),
    )
    for name, who in (("four", "stranger"), ("five", "eve")):

        def says(name: str = name, who: str = who) -> bool:
            found = cluster.get("task", namespace, name) or {}
            return "InvalidSpec" in json.dumps(found.get("status", {})) and who in json.dumps(found["status"])

        cluster.wait(f"Task {name} says what is wrong", namespace, says)


def test_other_providers_stand_in(cluster: Cluster, namespace: str) -> None:
    # Given agents whose first model is gone, with others of other providers to ask, and tools
    gone = {"provider": "OpenAI", "name": "retired-model", "baseURL": MODEL_URL}
    claude = {
        "provider": "Anthropic",
        "name": "claude-haiku-4-5",
        "baseURL": BARE_URL,
        "maxOutputTokens": 500,
    }
    gemini = {"provider": "Google", "name": "gemini-2.5-flash", "baseURL": BARE_URL}
    retired = {"provider": "Google", "name": "retired-too", "baseURL": BARE_URL}
    tools = [get_order(namespace)]
    cluster.apply(
        namespace,
        agent("one", model={**gone, "fallbacks": [claude]}, tools=tools),
        agent("two", model={**gone, "fallbacks": [retired, gemini]}, tools=tools),
        session("alice", agentRef={"name": "one"}),
        session("bob", agentRef={"name": "two"}),
    )

    # When their models call a tool, and go on from its result in the next turn
    look = call("get_order", number="9")
    schema = {"type": "object", "properties": {"kind": {"enum": ["late", "broken"]}}, "required": ["kind"]}
    for name in ("alice", "bob"):
        steps = [
            {"name": "look", "prompt": {"text": f"My name is Max. {namespace} {look}"}},
            {"name": "who", "prompt": {"text": "What is my name?"}},
            {"name": "kind", "prompt": {"text": "It is broken.", "outputSchema": schema}},
        ]
        cluster.apply(namespace, task(name, sessionRef={"name": name}, runtime={"mode": "Task"}, steps=steps))

    # Then it goes on as with any other, and the attempt says who answered
    for name, model in (("alice", "claude-haiku-4-5"), ("bob", "gemini-2.5-flash")):
        ended = succeeded(cluster, namespace, name)
        assert told(step_of(ended, "look")["output"])[0]["number"] == "9"
        assert step_of(ended, "who")["output"] == "Your name is Max."
        assert step_of(ended, "kind")["output"] == {"kind": "broken"}
        said = step_of(ended, "look")["attempts"][0]["message"]
        assert f"answered by fallback model {model}" in said
        assert "retired" in said
    paths = {entry["path"] for entry in model_requests(cluster, namespace) if entry["status"] == 200}
    google = "/v1beta/models/gemini-2.5-flash"
    # Answers of a conversation come in pieces, those that must fit a schema in one.
    assert paths == {"/v1/messages", f"{google}:streamGenerateContent", f"{google}:generateContent"}
    assert len(shop_calls(cluster, f"of={namespace}")) == 2
