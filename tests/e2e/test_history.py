"""Point 5: how much of a conversation the model is shown, what becomes of the rest, and what tokens are counted for."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.cluster import Cluster, condition, step_of, wait_step
from tests.e2e.conftest import ONE_RUNNER, Store, agent, new_namespace, say, session, task
from tests.e2e.servers import call, get_order, model_requests, texts_of
from tests.e2e.test_tools import events_of, succeeded

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("tools")]


def talk(name: str, *texts: str, **spec: object) -> dict[str, object]:
    """A task of several turns of the session of the same name."""
    steps = [{"name": f"t{number}", "prompt": {"text": text}} for number, text in enumerate(texts)]
    return task(name, sessionRef={"name": name}, steps=steps, **spec)


def whole(entry: dict[str, Any]) -> bool:
    """Whether a request's tool results each follow their call, and no call is without its results."""
    waiting: set[str] = set()
    for message in entry["request"]["messages"]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                return False
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            return False
        waiting = {made["id"] for made in message.get("tool_calls") or []}
    return not waiting


def test_a_window_a_budget_and_a_summary(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given sessions that show the model four messages, or so many tokens, and do this or that with the rest
    look = call("get_order", number="5")
    window = {"contextWindow": 4}
    limits: dict[str, dict[str, object]] = {
        "lena": window,
        "mike": {**window, "contextOverflow": "Summarize"},
        "nora": {**window, "contextOverflow": "Fail"},
        "olga": {"tokenBudget": 400},
        "paul": {"tokenBudget": 400, "contextOverflow": "Summarize"},
        "nina": {"tokenBudget": 400, "contextOverflow": "Fail"},
        "tom": {"contextWindow": 3},
    }
    cluster.apply(
        namespace,
        agent(tools=[get_order(namespace)], systemTemplate=namespace, runtime=ONE_RUNNER),
        *(session(name, limits=limit) for name, limit in limits.items()),
    )
    long = "[long 900] tell me more"
    cluster.apply(
        namespace,
        talk("lena", "My name is Lena.", "The sea.", "The hills.", "What is my name?"),
        talk(
            "mike",
            "My name is Mike.",
            "The sea.",
            "The hills.",
            "What is my name?",
            "And order?",
            "What is my name?",
        ),
        talk("nora", "My name is Nora.", "The sea.", "The hills.", "What is my name?"),
        talk("olga", "My name is Olga.", long, long, "What is my name?"),
        talk("paul", "My name is Paul.", long, long, "What is my name?"),
        talk("nina", "My name is Nina.", long, long, "What is my name?"),
        talk(
            "tom",
            f"tom {look} {look} [then] {look}",
            f"tom {look}",
            f"tom {look} [then] {look}",
            "tom, how many messages?",
        ),
    )
    ended = {name: cluster.wait_task(namespace, name) for name in limits}
    outputs = {name: body["status"].get("output") for name, body in ended.items()}

    # Then what is truncated is forgotten, and what is summed up is not
    assert outputs["lena"] == "I do not know your name."
    assert outputs["olga"] == "I do not know your name."
    assert outputs["mike"] == "Your name is Mike."
    assert outputs["paul"] == "Your name is Paul."

    # And where nothing may be left out, the turn fails, for good, and says what to do
    for name in ("nora", "nina"):
        body = ended[name]
        failed = next(step for step in body["status"]["steps"] if step["phase"] == "Failed")
        assert (failed["reason"], failed["attempt"]) == ("BudgetExceeded", 1), body["status"]
        assert (
            "contextOverflow" in condition(body, "Succeeded")["message"]
            or "limits" in condition(body, "Succeeded")["message"]
        )

    # And all that was said is stored all the same; a summary is an event that says what it stands for
    for name in ("mike", "paul"):
        stored = events_of(store, namespace, name)
        summaries = [content for kind, content in stored if kind == "summary"]
        assert summaries
        assert f"my name is {name.capitalize()}" in summaries[0]["text"]
        assert summaries[0]["ranges"][0][0] == 1
        said = [content for kind, content in stored if kind == "message"]
        assert f"My name is {name.capitalize()}." in json.dumps(said)
    alone = [entry for entry in model_requests(cluster, namespace) if "Mike" in json.dumps(entry)]
    last = json.dumps(alone[-1]["request"])
    assert "In short: my name is Mike." in last
    assert "My name is Mike." not in last, "what is summed up is not shown beside its summary"

    # And a call is never shown without its results
    toms = [entry for entry in model_requests(cluster, namespace) if "tom" in json.dumps(texts_of(entry))]
    assert len(toms) > 6
    assert [entry["number"] for entry in toms if not whole(entry)] == []
    assert ended["tom"]["status"]["phase"] == "Succeeded"

    # And every request's tokens count, as the server says, also those that ended in calls
    used = [entry["usage"] for entry in toms]
    assert ended["tom"]["status"]["usage"] == {
        "inputTokens": sum(each["prompt_tokens"] for each in used),
        "outputTokens": sum(each["completion_tokens"] for each in used),
    }


def test_messages_and_tokens_are_counted(cluster: Cluster, namespace: str) -> None:
    # Given an agent elsewhere that has used up the tokens of its day
    thrifty = agent("frugal", limits={"tokensPerDay": 15})
    words = "echo: one two three four five six seven eight nine ten eleven"
    with new_namespace(cluster, "elsewhere") as elsewhere:
        cluster.apply(elsewhere, thrifty, task("spend", agentRef={"name": "frugal"}, message=words))
        succeeded(cluster, elsewhere, "spend")

    # And a session of four messages at most, and an agent of few tokens a day, of the same name
    cluster.apply(
        namespace,
        agent(runtime=ONE_RUNNER),
        session("short", limits={"maxMessages": 4}),
        thrifty,
        session("poor", agentRef={"name": "frugal"}),
        talk("short", "one", "two", "three"),
        say("first", "poor", words),
    )

    # Then the turn after them fails, for good
    short = cluster.wait_task(namespace, "short")
    assert [step["phase"] for step in short["status"]["steps"]] == ["Succeeded", "Succeeded", "Failed"]
    assert step_of(short, "t2")["reason"] == "MessageLimit"
    assert "4" in step_of(short, "t2")["message"]

    # And when the day's tokens are used up, prompts wait and say until when
    succeeded(cluster, namespace, "first")
    cluster.apply(namespace, say("second", "poor", "echo: and then"))
    waits = wait_step(cluster, namespace, "second", "reply", "QuotaExceeded")
    assert waits["status"]["phase"] == "Queued"
    message = step_of(waits, "reply")["message"]
    assert "of its 15 tokens" in message
    assert "T00:00:00Z" in message
    alone = task("alone", agentRef={"name": "frugal"}, message="echo: me too")
    cluster.apply(namespace, alone)
    wait_step(cluster, namespace, "alone", "reply", "QuotaExceeded")

    # And usage shows on the turn, the session and the agent
    used = cluster.wait_task(namespace, "first")["status"]["usage"]
    poor = cluster.get("session", namespace, "poor")
    assert poor is not None
    assert poor["status"]["usage"] == used

    def usage() -> dict[str, Any] | None:
        status = (cluster.get("agent", namespace, "frugal") or {}).get("status", {})
        return status if status.get("usage") == used else None

    status = cluster.wait("the agent shows its usage", namespace, usage)
    assert status["usageToday"] == {**used, "day": datetime.now(UTC).date().isoformat()}
    assert status["sessions"] == 1

    # When the limit is raised, then they go on
    cluster.apply(namespace, agent("frugal", limits={"tokensPerDay": 1_000_000}))
    assert succeeded(cluster, namespace, "second")["status"]["output"] == "and then"
    succeeded(cluster, namespace, "alone")
