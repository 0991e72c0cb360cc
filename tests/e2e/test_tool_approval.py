"""Point 2: a call that a person must approve: asked, answered one by one, refused, timed out, and never run before."""

import json
from typing import Any

import pytest

from tests.cluster import Cluster, Refused, condition, desire, step_of, wait_step
from tests.e2e.conftest import ONE_RUNNER, Store, agent, gives, reply, say, session, task
from tests.e2e.seen import attempts, becomes, happened, pods
from tests.e2e.servers import SHOP_URL, call, model_requests, refund, shop_calls, texts_of
from tests.e2e.test_tools import events_of, succeeded, told
from tests.e2e.test_waiting import accepted, refused

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("tools")]

GUARDED = {"approval": "Required"}


def asked(cluster: Cluster, namespace: str, name: str, number: int = 1) -> list[dict[str, Any]]:
    """Wait until a task asks for so many approvals; returns them, oldest first."""

    def probe() -> list[dict[str, Any]] | None:
        found = cluster.get("task", namespace, name)
        entries = (found or {})["status"].get("waiting") or []
        waits = found is not None and found["status"].get("phase") == "WaitingForInput"
        return entries if waits and len(entries) == number else None

    return cluster.wait(f"Task {name} asks {number} times", namespace, probe)


def paid(cluster: Cluster, order: str) -> int:
    """How often the shop was told to pay for an order."""
    return len([entry for entry in shop_calls(cluster, order) if json.loads(entry["body"])["order"] == order])


def assert_shown(cluster: Cluster, namespace: str, entries: list[dict[str, Any]]) -> None:
    """Assert that task, session and an Event say that ``pay`` waits."""
    assert entries[0]["choices"] == ["approve", "reject"]
    assert entries[0]["question"] == "May cashier call refund?"
    assert "deadline" not in entries[0]
    assert entries[0]["id"] != entries[1]["id"]
    body = cluster.get("task", namespace, "pay")
    assert body is not None
    assert condition(body, "WaitingForInput")["status"] == "True"
    becomes(cluster, namespace, "frank", "WaitingForInput")
    cluster.wait(
        "an Event tells of the call",
        namespace,
        lambda: "refund" in str(happened(cluster, namespace, "Task", "pay")),
    )


def assert_others_refused(cluster: Cluster, namespace: str, wait_id: str) -> None:
    """Assert that nobody answers who may not, in no other's name, and nothing that is no answer."""
    yes = json.dumps(reply("stranger", "pay", wait_id, choice="approve"))
    with pytest.raises(Refused, match="forbidden"):
        cluster.kubectl("create", "-n", namespace, "--as=mallory", "-f", "-", stdin=yes)
    forged = json.dumps(reply("forged", "pay", wait_id, choice="approve", by="boss"))
    with pytest.raises(Refused, match=r"spec\.by must be"):
        cluster.kubectl("create", "-n", namespace, "--as=maria", "-f", "-", stdin=forged)
    cluster.apply(namespace, reply("maybe", "pay", wait_id, choice="maybe"))
    refused(cluster, namespace, "maybe", "UnknownChoice")


def test_two_calls_of_a_turn_are_answered_one_by_one(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given a turn whose model calls twice what must be approved, and once what need not be, by one who may not approve
    free = refund(name="tip")
    cluster.apply(namespace, agent("cashier", tools=[refund(**GUARDED), free]))
    cluster.apply(namespace, session("frank", agentRef={"name": "cashier"}))
    role = ("--clusterrole=parley-approver", "--user=maria")
    cluster.kubectl("create", "rolebinding", "approvers", "-n", namespace, *role)
    first, second, tip = f"{namespace}-a", f"{namespace}-b", f"{namespace}-c"
    calls = [
        call("refund", order=first, amount=1),
        call("tip", order=tip, amount=2),
        call("refund", order=second, amount=3),
    ]
    cluster.apply(namespace, say("pay", "frank", f"[saying I pay.] {' '.join(calls)}"))

    # When it asks, then status says what, with arguments, each under an id of its own; what is free has run
    entries = asked(cluster, namespace, "pay", 2)
    assert [(e["kind"], e["call"], e["step"]) for e in entries] == [("Approval", "refund", "reply")] * 2
    assert sorted(json.loads(e["arguments"])["order"] for e in entries) == [first, second]
    assert (paid(cluster, first), paid(cluster, tip), paid(cluster, second)) == (0, 1, 0)
    assert_shown(cluster, namespace, entries)

    # And no pod waits with it, while the turn keeps the conversation: the next says for whom it waits
    cluster.wait(
        "no pod runs",
        namespace,
        lambda: [p for p in pods(cluster, namespace) if p["status"]["phase"] == "Running"] == [],
    )
    cluster.apply(namespace, say("next", "frank", "echo: after it"))
    queued = wait_step(cluster, namespace, "next", "reply", "SessionWaitingForReply")
    assert queued["status"]["phase"] == "Queued"
    assert "pay" in step_of(queued, "reply")["message"]

    # When the agent is edited meanwhile, then what is asked about stays what it was: see what is paid
    nowhere = refund(http={"method": "POST", "url": f"{SHOP_URL}/nowhere"})
    cluster.apply(namespace, agent("cashier", tools=[nowhere, free]))

    by_order = {json.loads(entry["arguments"])["order"]: entry["id"] for entry in entries}
    assert_others_refused(cluster, namespace, by_order[first])

    # When one is approved, then the other still waits, and nothing runs yet
    one = json.dumps(reply("one", "pay", by_order[first], choice="approve"))
    cluster.kubectl("create", "-n", namespace, "--as=maria", "-f", "-", stdin=one)
    accepted(cluster, namespace, "one")
    [left] = asked(cluster, namespace, "pay")
    assert left["id"] == by_order[second]
    cluster.apply(namespace, reply("again", "pay", by_order[first], choice="reject"))
    refused(cluster, namespace, "again", "AlreadyAnswered")

    # When the other is rejected with a reason, then the turn goes on exactly there, and the model sees the reason
    no = json.dumps(reply("two", "pay", by_order[second], choice="reject", message="It was paid last week."))
    cluster.kubectl("create", "-n", namespace, "--as=maria", "-f", "-", stdin=no)
    succeeded(cluster, namespace, "pay")
    requests = model_requests(cluster, first)
    mine = [entry for entry in requests if "after it" not in json.dumps(entry)]
    assert len(mine) == 2, "the model was not asked again for what it had called"
    results = [json.loads(text) for role, text in texts_of(mine[1]) if role == "tool"]
    assert results[0]["order"] == first
    assert results[2] == {"error": "rejected by maria: It was paid last week."}
    assert (paid(cluster, first), paid(cluster, tip), paid(cluster, second)) == (1, 1, 0)
    assert [(a.state, a.cause) for a in attempts(store, namespace, "pay")] == [
        ("Paused", "First"),
        ("Succeeded", "Resume"),
    ]

    # And the conversation has it all, who decided and when; the next turn came after
    stored = events_of(store, namespace, "frank")
    kinds = [kind for kind, _ in stored]
    assert kinds.count("reply") == 2
    decisions = {content["by"]: content for kind, content in stored if kind == "reply"}
    assert decisions["maria"]["tool"] == "refund"
    assert kinds.count("toolCall") == kinds.count("toolResult") == 3
    assert succeeded(cluster, namespace, "next")["status"]["output"] == "after it"

    # And an answer that comes after all is over answers nothing
    cluster.apply(namespace, reply("late", "pay", by_order[second], choice="approve"))
    refused(cluster, namespace, "late", "AlreadyAnswered")
    assert paid(cluster, second) == 0


def test_time_is_up(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given calls that nobody answers, of tools that are then rejected or approved
    brief = {**GUARDED, "approvalTimeout": "15s"}
    tools = [refund(**brief), refund(name="trust", **brief, onApprovalTimeout="Approve")]
    cluster.apply(namespace, agent("cashier", tools=tools), session("frank", agentRef={"name": "cashier"}))
    no, yes = f"{namespace}-no", f"{namespace}-yes"
    message = f"{call('refund', order=no, amount=1)} {call('trust', order=yes, amount=1)}"
    cluster.apply(namespace, say("pay", "frank", message))
    step = {"name": "pay", "tool": {"name": "refund", "arguments": {"order": no, "amount": 2}}}
    cluster.apply(namespace, task("step", agentRef={"name": "cashier"}, steps=[step]))
    entry = asked(cluster, namespace, "pay", 2)[0]
    assert entry["since"] < entry["deadline"]

    # Then each becomes what its tool says, and the transcript says that nobody did it
    [rejected, trusted] = told(succeeded(cluster, namespace, "pay")["status"]["output"])
    assert rejected["error"].startswith("rejected")
    assert "nobody" in rejected["error"].lower()
    assert trusted["order"] == yes
    ended = cluster.wait_task(namespace, "step")
    assert (ended["status"]["phase"], step_of(ended, "pay")["reason"]) == ("Failed", "Rejected")
    assert (paid(cluster, no), paid(cluster, yes)) == (0, 1)
    said = [content for kind, content in events_of(store, namespace, "frank") if kind == "reply"]
    assert [content["by"] for content in said] == [None, None]


def test_calls_of_steps_and_what_becomes_of_questions(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given tool steps that must be approved, also for each of a list, and by a container
    job = {"name": "job", "container": gives("done"), **GUARDED}
    cluster.apply(namespace, agent("cashier", tools=[refund(**GUARDED), job], runtime=ONE_RUNNER))
    by = {"agentRef": {"name": "cashier"}}

    def pay(order: str) -> dict[str, object]:
        return {"name": "pay", "tool": {"name": "refund", "arguments": {"order": order, "amount": 1}}}

    each = {"forEach": {"items": ["x", "y"]}, **pay(f"{namespace}-{{{{ item }}}}")}
    yes = task("yes", **by, steps=[pay(f"{namespace}-yes")])
    cluster.apply(
        namespace,
        yes,
        task("no", **by, steps=[{**pay(f"{namespace}-no"), "retry": {"limit": 2}}]),
        task("stop", **by, steps=[pay(f"{namespace}-stop")]),
        task("list", **by, steps=[{**each, "continueOnError": True}]),
        task("job", **by, steps=[{"name": "run", "tool": {"name": "job"}}]),
    )

    # When they are answered, each in its way, one of them while it is suspended
    def answer(name: str, choice: str, message: str = "") -> str:
        wait_id = asked(cluster, namespace, name)[0]["id"]
        cluster.apply(namespace, reply(f"{name}-{choice}", name, wait_id, choice=choice, message=message))
        return wait_id

    entries = asked(cluster, namespace, "list", 2)

    # And a Reply to one of them never answers for another, whatever id it has
    foreign = asked(cluster, namespace, "yes")[0]["id"]
    cluster.apply(namespace, reply("foreign", "no", foreign, choice="approve"))
    refused(cluster, namespace, "foreign", "NotWaiting")
    assert asked(cluster, namespace, "yes")[0]["id"] == foreign
    for entry in entries:
        choice = "approve" if entry["item"] == 0 else "reject"
        cluster.apply(namespace, reply(f"list-{entry['item']}", "list", entry["id"], choice=choice))
    stale = answer("yes", "approve")
    answer("no", "reject", "Not this one.")
    answer("job", "approve")
    asked(cluster, namespace, "stop")
    desire(cluster, namespace, "stop", "Cancelled")

    # Then what was approved ran, once, and what was rejected failed for good, with the reason
    assert succeeded(cluster, namespace, "yes")["status"]["output"]["order"] == f"{namespace}-yes"
    assert succeeded(cluster, namespace, "job")["status"]["output"] == "done"
    rejected = cluster.wait_task(namespace, "no")
    assert step_of(rejected, "pay")["reason"] == "Rejected"
    assert "Not this one." in step_of(rejected, "pay")["message"]
    assert len({a.number for a in attempts(store, namespace, "no") if a.state == "Failed"}) == 1
    listed = cluster.wait_task(namespace, "list")["status"]["output"]
    assert [one and one["order"] for one in listed] == [f"{namespace}-x", None]
    stopped = cluster.wait_task(namespace, "stop")
    assert stopped["status"]["phase"] == "Cancelled"
    assert not stopped["status"].get("waiting")
    counts = {name: paid(cluster, f"{namespace}-{name}") for name in ("yes", "no", "stop", "x", "y")}
    assert counts == {"yes": 1, "no": 0, "stop": 0, "x": 1, "y": 0}

    # And an old Reply, kept in Git, never approves a call of a task made again
    cluster.kubectl("delete", "task", "yes", "-n", namespace)
    cluster.wait(
        "its Reply goes with it", namespace, lambda: cluster.get("reply", namespace, "yes-approve") is None
    )
    cluster.apply(namespace, yes)
    assert asked(cluster, namespace, "yes")[0]["id"] != stale
    cluster.apply(namespace, reply("yes-approve", "yes", stale, choice="approve"))
    refused(cluster, namespace, "yes-approve", "NotWaiting")
    assert paid(cluster, f"{namespace}-yes") == 1
