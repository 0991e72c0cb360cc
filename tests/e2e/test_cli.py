"""``parley`` on the real cluster, as people type it: every command."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from parley.cli.main import COMMANDS

from tests.cluster import LONG, SYSTEM_NAMESPACE, Cluster
from tests.e2e.conftest import LONG_SCRIPT, agent, container, gives, schedule, session, task, template
from tests.e2e.shell import Shell, account, kubeconfig_of, port_forward, waits

pytestmark = pytest.mark.cluster

WAIT = {"wait": {"question": "Refund 40?", "choices": ["approve", "reject"], "timeout": "1h"}}
VALUE = {"wait": {"question": "What discount?", "schema": {"type": "integer"}, "timeout": "1h"}}


@pytest.fixture
def parley(cluster: Cluster, namespace: str) -> Shell:
    return Shell(cluster, namespace)


def test_a_template_runs_to_its_output_and_its_exit_code(cluster: Cluster, parley: Shell) -> None:
    # Given a template that gives back its inputs, and one that fails
    schema = {
        "properties": {"order": {"type": "string"}, "parcels": {"type": "integer"}},
        "required": ["order"],
    }
    echo = {
        "steps": [{"name": "only", "container": gives("done")}],
        "output": {"order": "{{ inputs.order }}", "parcels": "{{ inputs.parcels }}"},
    }
    bad = {"steps": [{"name": "only", "fail": {"message": "no luck"}}]}
    cluster.apply(parley.namespace, template("ship", echo, inputSchema=schema), template("bad", bad))

    # When they are run, then their ends are what the shell sees
    said = parley("run", "ship", "-p", "order=5", "-p", "parcels=3", "--name", "mine")
    assert (said.code, json.loads(said.out)) == (0, {"order": "5", "parcels": 3}), said
    assert "mine/only" in said.err
    failed = parley("run", "bad")
    assert failed.code == 1
    assert "no luck" in failed.err

    # And what is wrong is told by the template's schema
    refused = parley("run", "ship")
    assert refused.code == 1
    assert "'order' is a required property" in refused.err

    # And the Task is a tree, with the log of its step
    assert "✓ mine  Succeeded" in parley.succeed("tasks", "mine")
    listed = parley.succeed("tasks", "-o", "name").split()
    assert "task.parley.dev/mine" in listed
    assert parley("tasks", "mine", "--watch").code == 0
    watched = parley("tasks", "mine", "--watch", "-o", "yaml")
    assert yaml.safe_load(watched.out)["status"]["phase"] == "Succeeded"


def test_logs_are_followed_while_the_step_runs(cluster: Cluster, parley: Shell) -> None:
    script = "for n in 1 2 3; do echo line $n; sleep 0.2; done"
    cluster.apply(parley.namespace, task("talks", steps=[{"name": "say", "container": container(script)}]))

    said = parley("logs", "talks", "--follow")

    assert said.code == 0, said
    assert [line for line in said.out.splitlines() if line.startswith("say | line")] == [
        "say | line 1", "say | line 2", "say | line 3",
    ]  # fmt: skip
    assert parley("logs", "talks", "nix").code == 1


def test_a_task_is_suspended_goes_on_and_is_cancelled(cluster: Cluster, parley: Shell) -> None:
    long = [{"name": "long", "container": container(LONG_SCRIPT)}]
    cluster.apply(parley.namespace, task("long", steps=long))

    assert "is suspended" in parley.succeed("suspend", "long")
    assert cluster.get("task", parley.namespace, "long")["spec"]["desiredState"] == "Suspended"
    assert "goes on" in parley.succeed("resume", "long")
    assert parley("tasks", "long", "--watch", "--timeout", "1s").code == 4
    cluster.apply(parley.namespace, session("alice"))
    paused = json.loads(parley.succeed("suspend", "session/alice", "-o", "json"))
    assert (paused["kind"], paused["spec"]["desiredState"]) == ("Session", "Paused")
    assert "has ended (Cancelled)" in parley.succeed("cancel", "long", "--wait")
    assert parley("tasks", "long", "--watch").code == 3
    assert parley("resume", "long").code == 1


def test_what_waits_is_answered_under_ones_own_name(cluster: Cluster, parley: Shell, tmp_path: Path) -> None:
    # Given two Tasks that ask
    cluster.apply(
        parley.namespace,
        task("refund", steps=[{"name": "ask", **WAIT}]),
        task("no-refund", steps=[{"name": "ask", **WAIT}]),
        task("discount", steps=[{"name": "ask", **VALUE}]),
    )
    for name in ("refund", "no-refund", "discount"):
        waits(cluster, parley.namespace, name)

    # Then the inbox has them, of this namespace and of all
    found = json.loads(parley.succeed("waiting", "-o", "json"))["items"]
    assert {one["task"] for one in found} == {"refund", "no-refund", "discount"}
    assert f"{parley.namespace}   discount" in parley.succeed("waiting", "-A")

    # When somebody answers who may not, they are told what they need
    viewer = Shell(
        cluster,
        parley.namespace,
        kubeconfig=kubeconfig_of(cluster, tmp_path, account(cluster, parley.namespace, "viewer", "view")),
    )
    assert "discount" in viewer.succeed("waiting")
    refused = viewer("approve", "refund")
    assert refused.code == 1
    assert "--clusterrole=parley-approver" in refused.err
    assert viewer("waiting", "-A").code == 1

    # When somebody answers who may, it counts
    cluster.kubectl(
        "create", "rolebinding", "approvers", "-n", parley.namespace, "--clusterrole=parley-approver",
        f"--serviceaccount={parley.namespace}:viewer",
    )  # fmt: skip
    approved = cluster.wait("the new right counts", parley.namespace, lambda: _approved(viewer))
    assert f"by system:serviceaccount:{parley.namespace}:viewer" in approved
    assert "reject" in parley.succeed("reject", "no-refund", "-m", "Too late.")
    assert parley("reply", "discount", "--value", "many").code == 1
    assert parley.succeed("reply", "discount", "--value", "5").startswith("discount: What discount?")
    assert cluster.wait_task(parley.namespace, "discount")["status"]["phase"] == "Succeeded"
    assert parley("approve", "refund").code == 1, "it asks nothing any more"


def _approved(shell: Shell) -> str | None:
    said = shell("approve", "refund", "-m", "It came late.")
    assert said.code == 0 or "you may not reply" in said.err, said
    return said.out if said.code == 0 else None


def test_a_schedule_runs_now(cluster: Cluster, parley: Shell) -> None:
    work = {"steps": [{"name": "only", "return": {"value": "12 orders"}}]}
    cluster.apply(parley.namespace, schedule("report", work))

    said = parley("schedule", "run-now", "report", "--wait")

    assert (said.code, said.out) == (0, "12 orders\n"), said
    assert "report" in parley.succeed("schedule", "list")
    parley.succeed("suspend", "schedule/report")
    assert "suspended" in parley.succeed("schedule", "list")


def test_a_conversation_from_the_first_word_to_the_export(
    cluster: Cluster, parley: Shell, tmp_path: Path
) -> None:
    # Given somebody who may talk, and a kubeconfig that has a certificate only
    account(cluster, parley.namespace, "talker", "admin")
    alone = parley("chat", "alice", "-m", "hello")
    assert alone.code == 1
    assert "--as-service-account" in alone.err
    who = ("--as-service-account", f"{parley.namespace}/talker")
    talk = Shell(cluster, parley.namespace, PARLEY_SYSTEM_NAMESPACE=SYSTEM_NAMESPACE)

    # When they talk, in a session that begins with it
    assert talk("chat", "alice", "-m", "hello", *who).code == 1, "no such session, and no agent is named"
    first = talk("chat", "alice", "-m", "My name is Alice.", "--agent", "support", *who)
    assert (first.code, first.out) == (0, "Nice to meet you, Alice.\n"), first
    second = talk("chat", "alice", "-m", "What is my name?", "--key", "once", *who)
    again = talk("chat", "alice", "-m", "What is my name?", "--key", "once", *who)
    assert (second.code, second.out) == (0, "Your name is Alice.\n"), second
    assert again.code == 0

    # Then it is all there, once
    events = json.loads(talk.succeed("events", "alice", "-o", "json", *who))["items"]
    assert [one["content"] for one in events] == [
        "My name is Alice.", "Nice to meet you, Alice.", "What is my name?", "Your name is Alice.",
    ]  # fmt: skip
    assert [one["sequence"] for one in events] == [1, 2, 3, 4]
    assert "alice" in talk.succeed("sessions")
    assert "Nice to meet you" in talk.succeed("sessions", "alice")

    # And whoever follows sees what is said meanwhile
    with followed(talk, "events", "alice", "--follow", "--tail", "1", "-o", "json", *who) as lines:
        assert json.loads(next(lines))["sequence"] == 4
        talk.succeed("chat", "alice", "-m", "Goodbye.", *who)
        assert [json.loads(next(lines))["sequence"] for _ in range(2)] == [5, 6]

    # And it moves into another session, twice without being there twice
    file = tmp_path / "alice.jsonl"
    talk.succeed("export", "alice", "-f", str(file), *who)
    cluster.apply(parley.namespace, session("moved"))
    cluster.wait("the session can take it", parley.namespace, lambda: _imported(talk, file, who))
    assert "0 events imported into moved, 6 were there already" in talk.succeed(
        "import", "moved", str(file), *who
    )
    moved = json.loads(talk.succeed("events", "moved", "-o", "json", *who))["items"]
    assert [one["content"] for one in moved[:4]] == [one["content"] for one in events]


def _imported(talk: Shell, file: Path, who: tuple[str, ...]) -> bool:
    return talk("import", "moved", str(file), *who).code == 0


@contextmanager
def followed(shell: Shell, *arguments: str) -> Iterator[Iterator[str]]:
    """The lines of a command that goes on; it is ended as with Ctrl-C."""
    with shell.start(*arguments) as process:
        try:
            assert process.stdout is not None
            yield iter(process.stdout)
        finally:
            process.terminate()
            try:
                process.wait(timeout=LONG)
            finally:
                process.kill()


def test_a_token_in_the_kubeconfig_is_all_the_gateway_needs(
    cluster: Cluster, parley: Shell, tmp_path: Path
) -> None:
    # Given a person with a token, who may talk here and look at Parley's Service nowhere
    token = account(cluster, parley.namespace, "edith", "edit")
    person = Shell(cluster, parley.namespace, kubeconfig=kubeconfig_of(cluster, tmp_path, token))

    blind = person("events", "alice")
    assert blind.code == 1
    assert "--gateway URL" in blind.err

    # When the gateway's URL is given
    with port_forward(parley) as url:
        said = person("chat", "carol", "--agent", "support", "-m", "hello", "--gateway", url)
    assert (said.code, said.out) == (0, "You said: hello\n"), said
    # Then the session was made, as the gateway saw it may be
    assert cluster.get("session", parley.namespace, "carol") is not None


def test_doctor_finds_what_is_wrong_and_nothing_else(cluster: Cluster, parley: Shell) -> None:
    # Given an agent that cannot be used
    cluster.apply(parley.namespace, agent("broken", instructions="{{ session.nope( }}"))

    # Then it is what doctor finds wrong; other tests may restart something meanwhile
    def probe() -> dict[str, str] | None:
        said = parley("doctor", "-o", "json")
        wrong = [one for one in json.loads(said.out)["items"] if one["verdict"] == "wrong"]
        only = said.code == 1 and [one["check"] for one in wrong] == ["agents"]
        return wrong[0] if only and "InvalidSpec" in wrong[0]["says"] else None

    found = cluster.wait("doctor sees the agent and nothing else", parley.namespace, probe)
    assert "kubectl edit ag broken" in found["do"]

    # And once it is gone nothing is
    cluster.delete("agent", parley.namespace, "broken")
    cluster.wait("doctor is content", parley.namespace, lambda: parley("doctor").code == 0)


def test_the_small_commands(parley: Shell) -> None:
    assert "parley.dev/v1alpha1" in parley.succeed("version")
    assert json.loads(parley.succeed("version", "--client", "-o", "json")).keys() == {"client"}
    for shell in ("bash", "zsh", "fish"):
        assert "_PARLEY_COMPLETE" in parley.succeed("completion", shell)
    assert parley("sessions", "nix").code == 1
    nowhere = parley("sessions", "--context", "nowhere")
    assert nowhere.code == 1
    assert "next:  " in nowhere.err


def test_it_is_a_plugin_of_kubectl(parley: Shell) -> None:
    def plugin(*arguments: str) -> str:
        command = ["kubectl", "parley", *arguments]
        done = subprocess.run(command, env=parley.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done
        return done.stdout

    assert "Usage: kubectl parley [OPTIONS]" in plugin("--help")
    parley.cluster.apply(parley.namespace, session("alice"))
    assert plugin("sessions", "-n", parley.namespace, "-o", "name").split() == ["session.parley.dev/alice"]


def test_names_are_completed_by_the_shell_and_by_kubectl(cluster: Cluster, parley: Shell) -> None:
    cluster.apply(parley.namespace, session("alice"), agent("support"))

    def offered(*command: str, **environment: str) -> list[str]:
        done = subprocess.run(
            command, env=parley.environment | environment, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr, done
        return done.stdout.splitlines()

    words = {
        f"parley -n {parley.namespace} chat al": "plain,alice",
        f"parley -n {parley.namespace} suspend session/": "plain,session/alice",
        f"parley tasks -n {parley.namespace[:-1]}": f"plain,{parley.namespace}",
    }
    for line, candidate in words.items():
        asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}

        def names(asked: dict[str, str] = asked, candidate: str = candidate) -> bool:
            return offered("parley", _PARLEY_COMPLETE="bash_complete", **asked) == [candidate]

        # On a busy machine a cluster may need more than the two seconds that it is given.
        cluster.wait(f"names are offered for {line}", parley.namespace, names)

    # kubectl asks the executable beside the plugin; 4 says that no files are meant.
    def by_kubectl() -> bool:
        said = offered("kubectl", "__complete", "parley", "-n", parley.namespace, "chat", "al")
        return [line.split("\t")[0] for line in said] == ["alice", ":4"]

    cluster.wait("kubectl offers them too", parley.namespace, by_kubectl)


def test_every_command_is_run_here() -> None:
    text = Path(__file__).read_text()
    assert [name for name in COMMANDS if f'"{name}"' not in text] == []
