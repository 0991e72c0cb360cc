"""The examples of tools, people, lifecycles, limits and fallbacks do what their comments and their guides say."""

import json
from pathlib import Path

import pytest

from tests.cluster import ROOT, Cluster, step_of
from tests.e2e.test_documented_commands import MODEL, run, shell_blocks

pytestmark = pytest.mark.cluster

SOME = 400.0
"""Seconds for the last of some dozen pods that were asked for at once."""


def output(cluster: Cluster, namespace: str, name: str) -> object:
    """Wait until a task has succeeded; returns its output."""
    ended = cluster.wait_task(namespace, name, timeout=SOME)
    assert ended["status"]["phase"] == "Succeeded", f"{name}\n{cluster.describe(namespace)}"
    return ended["status"]["output"]


def told(text: object) -> list[str]:
    """The results that the scripted model tells."""
    return str(text).removeprefix("The tool says: ").split("; ")


def assert_tools_shown(cluster: Cluster, namespace: str) -> None:
    """Assert that the tasks with tools ended as their comments say, one refund approved and the other rejected."""
    outputs = {
        name: output(cluster, namespace, name)
        for name in (
            "erin-1",
            "late-orders",
            "what-would-it-do",
            "frank-1",
            "grace-1",
            "grace-2",
            "heidi-1",
            "heidi-2",
        )
    }
    assert json.loads(told(outputs["erin-1"])[0])["order"] == "12345"
    assert outputs["late-orders"] == {"states": ["late", "late"]}
    returned = outputs["what-would-it-do"]
    assert isinstance(returned, dict)
    assert returned["calls"] == [{"name": "refund", "arguments": {"order": "9", "amount": 7}}]
    first, second = (json.loads(result) for result in told(outputs["frank-1"]))
    assert first["order"] == "12345"
    assert second["error"].endswith("It was refunded last week.")
    assert "A parcel is late" in str(outputs["grace-1"])
    assert outputs["grace-2"] == "My tools: desk_create, desk_search."
    assert outputs["heidi-1"] == "The tool says: 10"
    [queued] = cluster.list("task", namespace, "parley.dev/queued-by=heidi-2")
    assert queued["metadata"]["name"] in str(outputs["heidi-2"])
    assert output(cluster, namespace, queued["metadata"]["name"]) == "sent 12345"


def assert_conversations_shown(cluster: Cluster, namespace: str) -> None:
    """Assert that conversations of several, long ones, and one with a model that is gone ended as their comments say."""
    names = ("journey-2", "journey-3", "lena-4", "mike-4", "ask-anybody", "kim-1")
    outputs = {name: output(cluster, namespace, name) for name in names}
    assert outputs["journey-2"] == "I can see it in 1 messages."
    for part in ("You are Planner. Plan for 2 people.", "Judy", "The budget is 500.", "update_context"):
        assert part in str(outputs["journey-3"])
    assert outputs["lena-4"] == "I do not know your name."
    assert outputs["mike-4"] == "Your name is Mike."
    assert step_of(cluster.wait_task(namespace, "nina-2"), "reply")["reason"] == "BudgetExceeded"
    assert outputs["ask-anybody"] == "somebody answered"
    answered = step_of(cluster.wait_task(namespace, "ask-anybody"), "ask")["attempts"][0]["message"]
    assert "fallback model claude-haiku-4-5" in answered
    assert outputs["kim-1"] == "Nice to meet you, Kim."
    journey = cluster.get("session", namespace, "journey")
    assert journey is not None
    assert journey["status"]["context"] == {"budget": 500, "month": "May"}

    def asleep() -> bool:
        kim = cluster.get("session", namespace, "kim")
        return kim is not None and kim["status"]["phase"] == "Dormant" and "meet you" not in json.dumps(kim)

    cluster.wait("kim is asleep, and the status keeps quiet", namespace, asleep)


@pytest.mark.timeout(900)
def test_the_examples_and_their_guides(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    def follow(page: str, heading: str) -> str:
        blocks = shell_blocks(f"docs/{page}", heading)
        assert blocks, f"{page} has nothing to type under {heading}"
        return "".join(run(cluster, namespace, tmp_path, block) for block in blocks)

    # When somebody types what the examples' page says of agents with tools
    run(cluster, namespace, tmp_path, MODEL)
    with_tools, conversations = shell_blocks("examples/README.md", "The others, each by itself")[3:5]
    assert "heidi-2" in run(cluster, namespace, tmp_path, with_tools)

    # Then they show what they are there for
    assert_tools_shown(cluster, namespace)
    assert "toolCall" in follow("tools.md", "Containers and Tasks")

    # And a call that waits is seen and answered as the guide says
    run(cluster, namespace, tmp_path, "kubectl replace --force -f examples/14-tool-approval/task.yaml")
    cluster.wait_task(namespace, "frank-1", "WaitingForInput")
    said = follow("approvals.md", "See and answer")
    assert "refund" in said
    assert "created" in said

    # When somebody goes on to conversations, then these do too
    assert "Ivan" in run(cluster, namespace, tmp_path, conversations)
    assert_conversations_shown(cluster, namespace)

    # And what their guides show can be typed
    assert "condition met" in follow("sessions.md", "Its life")
    assert "condition met" in follow("sessions.md", "What is kept, and for how long")
    assert len(follow("sessions.md", "Begin anew, or go on").strip()) == 36
    said = follow("context-and-limits.md", "Tokens")
    assert "1000000" in said
    assert "inputTokens" in said
