"""What a session shows of its tasks: who waits for a person, what was answered, and what steps have stored."""

from typing import Any

from parley.kube.kinds import REPLY, SESSION, TASK

from tests.integration.controller.cluster import NAMESPACE, Cluster

ASK: dict[str, Any] = {"name": "confirm", "wait": {"question": "Refund?", "choices": ["approve", "reject"]}}
ALICE = {"sessionRef": {"name": "alice"}}


def shown(cluster: Cluster) -> dict[str, Any]:
    return cluster.object(SESSION, "alice")["status"]


def conditions(cluster: Cluster) -> dict[str, str]:
    return {each["type"]: each["status"] for each in shown(cluster)["conditions"]}


async def begin(cluster: Cluster, *steps: dict[str, Any], **fields: Any) -> None:
    await cluster.agent()
    await cluster.session(**fields)
    await cluster.task("refund", *steps, **ALICE)
    await cluster.settle()


async def test_a_session_shows_who_waits_until_the_answer_which_it_shows_too(cluster: Cluster) -> None:
    await begin(cluster, ASK)
    assert shown(cluster)["tasks"]["waiting"] == 1
    assert (shown(cluster)["phase"], conditions(cluster)) == (
        "WaitingForInput",
        {"Ready": "True", "Active": "True", "WaitingForInput": "True"},
    )

    wait_id = cluster.status("refund")["waiting"][0]["id"]
    spec = {"taskRef": {"name": "refund"}, "waitID": wait_id, "by": "maria", "choice": "approve"}
    await cluster.apply(REPLY, "yes", spec)
    await cluster.settle()

    assert shown(cluster)["tasks"] == {"active": 0, "waiting": 0, "succeeded": 1, "failed": 0}
    assert (shown(cluster)["phase"], conditions(cluster)) == ("Active", {"Ready": "True", "Active": "True"})
    (event,) = shown(cluster)["recentEvents"]
    assert (event["type"], event["task"]) == ("reply", "refund")
    assert "maria" in event["text"]


async def test_a_task_that_is_deleted_waits_no_more(cluster: Cluster) -> None:
    await begin(cluster, ASK)
    assert shown(cluster)["tasks"]["waiting"] == 1

    await cluster.kube.delete(TASK, NAMESPACE, "refund")
    await cluster.settle()

    assert shown(cluster)["tasks"] == {"active": 0, "waiting": 0, "succeeded": 0, "failed": 0}
    assert shown(cluster)["phase"] == "Active"


async def test_a_session_shows_what_steps_have_stored(cluster: Cluster) -> None:
    store = {"name": "store", "set": {"context": {"paid": "{{ session.context.order }}", "order": None}}}

    await begin(cluster, store, context={"order": "12345", "kept": True})

    assert cluster.status("refund")["phase"] == "Succeeded", cluster.status("refund")
    assert shown(cluster)["context"] == {"paid": "12345", "kept": True}


async def test_a_stored_context_that_is_too_large_to_be_shown_says_so(cluster: Cluster) -> None:
    await begin(cluster, {"name": "store", "set": {"context": {"text": "x" * 5000}}})

    assert "context" not in shown(cluster)
    assert shown(cluster)["contextTruncated"] is True
