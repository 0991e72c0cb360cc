"""A Reply is signed by the API server: whose it is cannot be left out or forged, by whichever way it is made."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.cluster import Cluster, Refused
from tests.e2e.conftest import reply, task

pytestmark = pytest.mark.cluster

APPROVER = "alice@company.com"
EDITOR = "bob@company.com"
WAYS = {
    "apply": ("apply", "-f", "-"),
    "server-side apply": ("apply", "--server-side", "-f", "-"),
    "create": ("create", "-f", "-"),
}
by_any_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def approval(name: str, **spec: object) -> dict[str, Any]:
    """A Reply that approves something of a task that need not be there."""
    return reply(name, "asks", "none", choice="approve", **spec)


@pytest.fixture
def people(cluster: Cluster, namespace: str) -> None:
    """Alice may answer, Bob may edit everything of the namespace, each by the chart's or the cluster's own role."""
    for user, role in ((APPROVER, "parley-approver"), (EDITOR, "edit")):
        name = f"{role}-of-the-test"
        cluster.kubectl(
            "create", "rolebinding", name, "-n", namespace, f"--clusterrole={role}", f"--user={user}"
        )

    def may_reply() -> bool:
        rights = ("auth", "can-i", "create", "replies.parley.dev", "-n", namespace)
        return cluster.kubectl(*rights, "--as", APPROVER, check=False).startswith("yes")

    cluster.wait("the roles are bound", namespace, may_reply)


Send = Callable[..., str]


@pytest.fixture
def send(cluster: Cluster, namespace: str, people: None) -> Send:
    """Make a Reply as a person would: ``send(way, reply, user=…)``; raises what the person reads."""
    del people

    def as_user(way: tuple[str, ...], body: Mapping[str, Any], *options: str, user: str = APPROVER) -> str:
        words = (*way, "-n", namespace, "--as", user, *options)
        return cluster.kubectl(*words, stdin=json.dumps(body))

    return as_user


def stored(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """A Reply as the API server has it."""
    found = cluster.get("reply", namespace, name)
    assert found, f"there is no Reply {name}"
    return found


def needs_signing(cluster: Cluster) -> None:
    """Skip where the API server cannot fill the name in."""
    group = cluster.request("GET", "/apis/admissionregistration.k8s.io/v1").raise_for_status().json()
    if "mutatingadmissionpolicies" not in {resource["name"] for resource in group["resources"]}:
        pytest.skip("this API server has no MutatingAdmissionPolicy v1: who replies writes spec.by")


@pytest.mark.storeless
@by_any_way
def test_the_api_server_writes_who_replies(
    cluster: Cluster, namespace: str, send: Send, way: tuple[str, ...]
) -> None:
    needs_signing(cluster)
    send(way, approval("mine"))
    signed = stored(cluster, namespace, "mine")
    assert signed["spec"]["by"] == APPROVER
    # Nothing else of it was changed, and whoever applies it again changes nothing.
    assert {**signed["spec"], "by": None} == {**approval("mine")["spec"], "by": None}
    if way[0] == "apply":
        send(way, approval("mine"))
        assert stored(cluster, namespace, "mine")["metadata"]["generation"] == 1


@pytest.mark.storeless
@by_any_way
def test_another_name_is_refused_with_a_sentence(
    cluster: Cluster, namespace: str, send: Send, way: tuple[str, ...]
) -> None:
    with pytest.raises(Refused, match=rf'spec\.by must be "{APPROVER}", the user who makes the Reply'):
        send(way, approval("forged", by=EDITOR))
    assert cluster.get("reply", namespace, "forged") is None


@pytest.mark.storeless
@by_any_way
def test_no_name_at_all_is_none(send: Send, way: tuple[str, ...]) -> None:
    with pytest.raises(Refused, match=r"spec\.by"):
        send(way, approval("unsigned", by=""))


@pytest.mark.storeless
def test_ones_own_name_is_let_in_and_a_dry_run_judges_alike(
    cluster: Cluster, namespace: str, send: Send
) -> None:
    with pytest.raises(Refused, match=r"spec\.by must be"):
        send(WAYS["create"], approval("own", by=EDITOR), "--dry-run=server")
    send(WAYS["create"], approval("own", by=APPROVER))
    assert stored(cluster, namespace, "own")["spec"]["by"] == APPROVER


@pytest.mark.storeless
def test_not_even_the_clusters_admin_signs_for_another(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(Refused, match="the user who makes the Reply"):
        cluster.apply(namespace, approval("forged", by=APPROVER))


@pytest.mark.storeless
def test_a_reply_stands_as_it_was_made(cluster: Cluster, namespace: str, send: Send) -> None:
    send(WAYS["create"], approval("mine", by=APPROVER))
    for change in ({"by": EDITOR}, {"choice": "reject"}, {"message": "I meant no"}, {"waitID": "another"}):
        patch = json.dumps({"spec": change})
        with pytest.raises(Refused, match=r"mmutable|cannot be changed"):
            cluster.kubectl(
                "patch", "replies.parley.dev", "mine", "-n", namespace, "--type=merge", "-p", patch
            )
    assert stored(cluster, namespace, "mine")["spec"] == {**approval("mine")["spec"], "by": APPROVER}


@pytest.mark.storeless
@by_any_way
def test_who_may_edit_tasks_may_not_reply(send: Send, way: tuple[str, ...]) -> None:
    with pytest.raises(Refused, match=f'User "{EDITOR}" cannot (create|patch) resource "replies"'):
        send(way, approval("mine", by=EDITOR), user=EDITOR)


def test_the_signed_name_is_in_the_answer(cluster: Cluster, namespace: str, send: Send) -> None:
    # Given a task that asks, made by one who may not answer
    question = {"question": "Refund?", "choices": ["approve", "reject"]}
    asks = task("asks", steps=[{"name": "confirm", "wait": question}])
    cluster.kubectl("apply", "-n", namespace, "-f", "-", "--as", EDITOR, stdin=json.dumps(asks))
    waiting = cluster.wait_task(namespace, "asks", "WaitingForInput")["status"]["waiting"]
    assert [(entry["question"], entry["choices"]) for entry in waiting] == [
        ("Refund?", ["approve", "reject"])
    ]
    # When one who may does
    send(
        WAYS["create"],
        reply("yes", "asks", waiting[0]["id"], choice="approve", by=APPROVER, message="As agreed."),
    )
    # Then the answer says who it was, and the Reply goes with its task
    output = cluster.wait_task(namespace, "asks")["status"]["output"]
    assert (output["choice"], output["by"], output["message"]) == ("approve", APPROVER, "As agreed.")

    def owned() -> bool:
        owners = stored(cluster, namespace, "yes")["metadata"].get("ownerReferences", [])
        return [(owner["kind"], owner["name"]) for owner in owners] == [("Task", "asks")]

    cluster.wait("the Reply is owned by its Task", namespace, owned)
    assert stored(cluster, namespace, "yes")["metadata"]["generation"] == 1
    cluster.kubectl("delete", "tasks.parley.dev", "asks", "-n", namespace)
    cluster.wait(
        "the Reply went with its Task", namespace, lambda: cluster.get("reply", namespace, "yes") is None
    )
