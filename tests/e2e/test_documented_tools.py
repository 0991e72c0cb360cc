"""The examples of tools, people, lifecycles, limits and fallbacks do what their comments and their guides say."""

import json
from pathlib import Path

import pytest

from tests.cluster import ROOT, Cluster, step_of
from tests.e2e.test_documented_commands import run, shell_blocks

pytestmark = pytest.mark.cluster

SOME = 240.0
"""Seconds for the last of some dozen pods that were asked for at once."""


@pytest.mark.timeout(900)
def test_the_examples_and_their_guides(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    def output(name: str) -> object:
        ended = cluster.wait_task(namespace, name, timeout=SOME)
        assert ended["status"]["phase"] == "Succeeded", f"{name}\n{cluster.describe(namespace)}"
        return ended["status"]["output"]

    def follow(page: str, heading: str) -> str:
        blocks = shell_blocks(f"docs/{page}", heading)
        assert blocks, f"{page} has nothing to type under {heading}"
        return "".join(run(cluster, namespace, tmp_path, block) for block in blocks)

    # When somebody types what the examples' page says of agents with tools
    run(cluster, namespace, tmp_path, "kubectl apply -k examples/model")
    with_tools, conversations = shell_blocks("examples/README.md", "The others, each by itself")[3:]
    said = run(cluster, namespace, tmp_path, with_tools)

    # Then each ends as its comments say, one refund approved and the other rejected
    assert "heidi-2" in said
    assert json.loads(str(output("erin-1")).removeprefix("The tool says: "))["order"] == "12345"
    assert output("late-orders") == {"states": ["late", "late"]}
    returned = output("what-would-it-do")
    assert isinstance(returned, dict)
    assert returned["calls"] == [{"name": "refund", "arguments": {"order": "9", "amount": 7}}]
    first, second = str(output("frank-1")).removeprefix("The tool says: ").split("; ")
    assert json.loads(first)["order"] == "12345"
    assert json.loads(second)["error"].endswith("It was refunded last week.")
    assert "A parcel is late" in str(output("grace-1"))
    assert output("grace-2") == "My tools: desk_create, desk_search."
    assert output("heidi-1") == "The tool says: 10"
    [queued] = cluster.list("task", namespace, "parley.dev/queued-by=heidi-2")
    assert queued["metadata"]["name"] in str(output("heidi-2"))
    assert output(queued["metadata"]["name"]) == "sent 12345"
    assert "toolCall" in follow("tools.md", "Containers and Tasks")

    # And a call that waits is seen and answered as the guide says
    run(cluster, namespace, tmp_path, "kubectl replace --force -f examples/14-tool-approval/task.yaml")
    cluster.wait_task(namespace, "frank-1", "WaitingForInput")
    said = follow("approvals.md", "See and answer")
    assert "refund" in said
    assert "created" in said

    # When somebody goes on to conversations, then these end as their comments say
    said = run(cluster, namespace, tmp_path, conversations)
    assert "Ivan" in said
    assert output("journey-2") == "I can see it in 1 messages."
    told = str(output("journey-3"))
    for part in ("You are Planner. Plan for 2 people.", "Judy", "The budget is 500.", "update_context"):
        assert part in told
    assert output("lena-4") == "I do not know your name."
    assert output("mike-4") == "Your name is Mike."
    nina = cluster.wait_task(namespace, "nina-2")
    assert step_of(nina, "reply")["reason"] == "BudgetExceeded"
    assert output("ask-anybody") == "somebody answered"
    answered = step_of(cluster.wait_task(namespace, "ask-anybody"), "ask")["attempts"][0]["message"]
    assert "fallback model claude-haiku-4-5" in answered
    assert output("kim-1") == "Nice to meet you, Kim."

    def asleep() -> bool:
        kim = cluster.get("session", namespace, "kim")
        return kim is not None and kim["status"]["phase"] == "Dormant" and "meet you" not in json.dumps(kim)

    cluster.wait("kim is asleep, and the status keeps quiet", namespace, asleep)
    journey = cluster.get("session", namespace, "journey")
    assert journey is not None
    assert journey["status"]["context"] == {"budget": 500, "month": "May"}

    # And what their guides show can be typed
    assert "condition met" in follow("sessions.md", "Its life")
    assert "condition met" in follow("sessions.md", "What is kept, and for how long")
    assert len(follow("sessions.md", "Begin anew, or go on").strip()) == 36
    said = follow("context-and-limits.md", "Tokens")
    assert "1000000" in said
    assert "inputTokens" in said
