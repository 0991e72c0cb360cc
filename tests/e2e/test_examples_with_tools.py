"""The examples of tools, people, lifecycles, limits and fallbacks do what their comments say."""

import json

import pytest

from tests.cluster import ROOT, Cluster, step_of
from tests.e2e.conftest import reply
from tests.e2e.test_examples import WITH_TOOLS
from tests.e2e.test_tool_approval import asked

pytestmark = pytest.mark.cluster


def test_each_of_them_shows_its_idea(cluster: Cluster, namespace: str) -> None:
    # Given all of them at once, with servers of their own
    for folder in ("model", "tools"):
        cluster.kubectl("apply", "-n", namespace, "-k", str(ROOT / "examples" / folder))
    for folder in WITH_TOOLS:
        cluster.kubectl("apply", "-n", namespace, "-f", str(ROOT / "examples" / folder))

    # When somebody approves one refund and rejects the other
    for entry in asked(cluster, namespace, "frank-1", 2):
        amount = json.loads(entry["arguments"])["amount"]
        choice = {"choice": "approve"} if amount < 100 else {"choice": "reject", "message": "Too much."}
        cluster.apply(namespace, reply(f"reply-{amount:.0f}", "frank-1", entry["id"], **choice))

    # Then each ends as its comments say
    def output(name: str) -> object:
        ended = cluster.wait_task(namespace, name)
        assert ended["status"]["phase"] == "Succeeded", f"{name}\n{cluster.describe(namespace)}"
        return ended["status"]["output"]

    refunded = str(output("erin-1")).removeprefix("The tool says: ")
    assert json.loads(refunded)["order"] == "12345"
    assert output("late-orders") == {"states": ["late", "late"]}
    returned = output("what-would-it-do")
    assert isinstance(returned, dict)
    assert returned["calls"] == [{"name": "refund", "arguments": {"order": "9", "amount": 7}}]
    said = str(output("frank-1"))
    assert '"order": "12345"' in said.replace('":"', '": "')
    assert "Too much." in said
    assert "A parcel is late" in str(output("grace-1"))
    assert output("grace-2") == "My tools: desk_create, desk_search."
    assert output("heidi-1") == "The tool says: 10"
    [queued] = cluster.list("task", namespace, "parley.dev/queued-by=heidi-2")
    assert queued["metadata"]["name"] in str(output("heidi-2"))
    assert output(queued["metadata"]["name"]) == "sent 12345"
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
    kim = cluster.wait(
        "kim is asleep",
        namespace,
        lambda: (
            (found := cluster.get("session", namespace, "kim"))
            and found["status"]["phase"] == "Dormant"
            and found
        ),
    )
    assert "Nice to meet you" not in json.dumps(kim)
    journey = cluster.get("session", namespace, "journey")
    assert journey is not None
    assert journey["status"]["context"] == {"budget": 500, "month": "May"}
