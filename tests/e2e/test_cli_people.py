"""``parley`` for people who have the gateway only, in a terminal, and while the gateway is killed."""

import json
import re
import signal
from pathlib import Path

import pytest

from tests.cluster import SYSTEM_NAMESPACE, Cluster
from tests.e2e.conftest import Store, agent, container, session, task
from tests.e2e.disruption import all_ready, parts, processes, replace_backed_off, send
from tests.e2e.servers import call, refund, shop_calls
from tests.e2e.shell import Shell, account, waits
from tests.e2e.terminal import in_terminal, printing

pytestmark = pytest.mark.cluster

ASKS = {"name": "ask", "wait": {"question": "Refund 40?", "choices": ["approve", "reject"], "timeout": "1h"}}


def gateway_only(cluster: Cluster, namespace: str, folder: Path, token: str) -> Shell:
    """Somebody with the gateway's URL and a token, and no kubeconfig."""
    port = "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"
    address = cluster.kubectl("get", "service", "parley-gateway", "-n", SYSTEM_NAMESPACE, "-o", port)
    return Shell(
        cluster,
        namespace,
        kubeconfig=folder / "none",
        PARLEY_GATEWAY=f"http://{address}",
        PARLEY_TOKEN=token,
    )


@pytest.mark.usefixtures("tools")
def test_a_tool_call_is_approved_in_the_conversation_that_asks_for_it(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    # Given somebody who may talk and approve, and an agent that may not refund without being allowed to
    cluster.apply(namespace, agent("cashier", tools=[refund(approval="Required")]))
    cluster.apply(namespace, session("frank", agentRef={"name": "cashier"}))
    person = gateway_only(
        cluster, namespace, tmp_path, account(cluster, namespace, "frank", "edit", "parley-approver")
    )

    # When they talk in a terminal, then what the tool asks is asked there, with what it would do
    with in_terminal(person, "chat", "frank") as chat:
        chat.wait("the conversation begins", lambda shown: "you> " in shown)
        chat.type(f"echo: it is done {call('refund', order=namespace, amount=40)}")
        chat.wait("the call is asked about", lambda shown: "answer (approve, reject, later)" in shown)
        assert "? May cashier call refund?" in chat.shown
        assert f'"{namespace}"' in chat.shown.partition("? May cashier")[2]
        assert shop_calls(cluster, namespace) == []

        # When they leave that with Ctrl-C, then the conversation is not over, and it is said how to answer later
        chat.wait_for_a_reader()
        chat.write(b"\x03")
        chat.wait("the next line is asked for", lambda shown: shown.count("you> ") == 2)
        (later,) = re.findall(r"later: parley (approve .+)", chat.shown)
        person.succeed(*later.split())
        cluster.wait("it runs", namespace, lambda: len(shop_calls(cluster, namespace)) == 1)

        # When they say more and approve at once, then it runs, and the answer comes in the same conversation
        chat.type(f"echo: it is done {call('refund', order=namespace, amount=41)}")
        chat.wait(
            "that call is asked about", lambda shown: shown.count("answer (approve, reject, later)") == 2
        )
        chat.type("approve")
        chat.wait(
            "the answer comes, and the next line is asked for",
            lambda shown: shown.rpartition("[later]: ")[2].count("you> ") == 1,
        )
        assert "· refund gave" in chat.shown
        chat.write(b"\x04")
        cluster.wait("Ctrl-D ends it", namespace, lambda: chat.process.poll() is not None)
        assert chat.process.returncode == 0, chat.shown
    assert len(shop_calls(cluster, namespace)) == 2
    said = json.loads(person.succeed("events", "frank", "-o", "json"))["items"]
    decisions = [one["content"] for one in said if one["type"] == "reply"]
    frank = f"system:serviceaccount:{namespace}:frank"
    assert [(one["choice"], one["by"]) for one in decisions] == [("approve", frank)] * 2


def test_a_url_and_a_token_are_enough_for_sessions_and_answers(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    # Given one who may see their own sessions only, and one who may answer
    own = account(cluster, namespace, "olga", "parley-own-sessions")
    olga = {"id": f"system:serviceaccount:{namespace}:olga", "name": "Olga"}
    cluster.apply(namespace, session("hers", user=olga), session("his", user={"id": "bob", "name": "Bob"}))
    cluster.apply(namespace, task("refund", steps=[ASKS]))
    waits(cluster, namespace, "refund")
    person = gateway_only(cluster, namespace, tmp_path, own)
    approver = gateway_only(
        cluster, namespace, tmp_path, account(cluster, namespace, "anton", "parley-approver")
    )

    # Then each has what is theirs, and is told what they lack
    assert person.succeed("sessions", "-o", "name") == "session.parley.dev/hers\n"
    assert olga["id"] in person.succeed("sessions", "hers")
    assert person("sessions", "his").code == 1
    assert "Nothing waits" in person.succeed("waiting")
    assert person("approve", "refund").code == 1
    refused = approver("sessions")
    assert refused.code == 1
    assert "sessions" in refused.err
    assert "KUBECONFIG" in person("tasks").err

    # When the other answers, it counts, under their own name
    (asked,) = json.loads(approver.succeed("waiting", "-o", "json"))["items"]
    assert asked["question"] == "Refund 40?"
    assert "refund: Refund 40? — approve" in approver.succeed("approve", "refund")
    assert cluster.wait_task(namespace, "refund")["status"]["phase"] == "Succeeded"
    (reply,) = cluster.list("reply", namespace)
    assert reply["spec"]["by"] == f"system:serviceaccount:{namespace}:anton"


def test_a_backend_acts_for_the_person_it_names(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    # Given a backend that knows its users, and a session of another one
    token = account(cluster, namespace, "desk", "parley-backend")
    desk = gateway_only(cluster, namespace, tmp_path, token)
    cluster.apply(namespace, session("his", user={"id": "bob", "name": "Bob"}))

    # When it talks for Alice, then the session it begins is hers
    first = desk("chat", "hers", "--agent", "support", "-m", "My name is Alice.", "--as-user", "alice")
    assert (first.code, first.out) == (0, "Nice to meet you, Alice.\n"), first
    made = cluster.get("session", namespace, "hers")
    assert made is not None
    assert made["spec"]["user"]["id"] == "alice"

    # And each person has their own sessions through it, and nobody has any without being named
    assert desk.succeed("sessions", "-o", "name", "--as-user", "alice") == "session.parley.dev/hers\n"
    assert desk.succeed("sessions", "-o", "name", "--as-user", "bob") == "session.parley.dev/his\n"
    assert desk("chat", "his", "-m", "hello", "--as-user", "alice").code == 1
    assert desk("events", "hers", "--as-user", "bob").code == 1
    assert desk("events", "hers").code == 1
    assert "Nice to meet you, Alice." in desk.succeed("events", "hers", "--as-user", "alice")


def test_what_is_kept_of_a_log_is_shown_once_its_pod_is_gone(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given a Task whose log was kept, which a busy machine may fail to do
    steps = [{"name": "say", "container": container("echo first; echo last")}]

    def kept() -> str | None:
        name = f"said-{len(cluster.list('task', namespace))}"
        cluster.apply(namespace, task(name, steps=steps))
        cluster.wait_task(namespace, name)
        rows = store.rows(
            "SELECT a.log FROM attempts a JOIN tasks t ON t.uid = a.task_uid WHERE t.namespace = %s AND t.name = %s",
            namespace,
            name,
        )
        return name if rows[0][0] else None

    name = cluster.wait("a log is kept", namespace, kept)
    account(cluster, namespace, "reader", "view")
    shell = Shell(cluster, namespace, PARLEY_SYSTEM_NAMESPACE=SYSTEM_NAMESPACE)
    assert shell.succeed("logs", name).splitlines() == ["say | first", "say | last"]

    # When its pods are gone
    cluster.kubectl("delete", "jobs", "--all", "-n", namespace)
    cluster.wait("its pods are gone", namespace, lambda: cluster.list("pod", namespace) == [])

    # Then the end of it is shown as it is kept, and it is said where it is from
    said = shell("logs", name, "--as-service-account", f"{namespace}/reader")
    assert (said.code, said.out.splitlines()) == (0, ["say | first", "say | last"]), said
    assert said.err == "(say: pods that are gone; these are the ends of their logs, from Parley's store)\n"


@pytest.mark.disruptive
def test_who_follows_has_each_event_once_though_the_gateway_is_killed(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    # Given somebody who follows a session in which something was said
    token = account(cluster, namespace, "talker", "edit")
    talker = gateway_only(cluster, namespace, tmp_path, token)

    def say(number: int) -> bool:
        replace_backed_off(cluster)
        said = talker(
            "chat",
            "alice",
            "--agent",
            "support",
            "-m",
            f"echo: {number}",
            "--key",
            f"once-{number}",
            timeout=600,
        )
        return said.code == 0

    def sequences(shown: str) -> list[int]:
        return [
            json.loads(line)["sequence"] for line in shown.splitlines(keepends=True) if line.endswith("\n")
        ]

    cluster.wait("something is said", namespace, lambda: say(1))
    with printing(talker, "events", "alice", "--follow", "--after", "0", "-o", "json") as following:
        following.wait("what was said is there", lambda shown: len(sequences(shown)) == 2)

        # When the gateway is killed again and again, and more is said
        try:
            for number in (2, 3, 4):
                for pod in parts(cluster, "gateway"):
                    send(processes(cluster, SYSTEM_NAMESPACE, pod), signal.SIGKILL)
                cluster.wait(f"{number} is said", namespace, lambda number=number: say(number))
        finally:
            all_ready(cluster)

        # Then each message and each answer is there, once and in order
        following.wait("all of it is there", lambda shown: 8 in sequences(shown))
        assert sequences(following.shown) == [1, 2, 3, 4, 5, 6, 7, 8]
    contents = [json.loads(line)["content"] for line in following.shown.splitlines()]
    assert contents == [text for n in (1, 2, 3, 4) for text in (f"echo: {n}", str(n))]
