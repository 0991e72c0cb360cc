"""Point 3: what goes wrong names the field or the step, in words and by a reason, and stops nothing else."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import Cluster, condition, step_of
from tests.e2e.conftest import LONG_SCRIPT, ONE_RUNNER, Store, agent, container, session, task
from tests.kstatus import kstatus

pytestmark = pytest.mark.cluster

ENDLESS = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}"
GREEDY = ["python3", "-c", "b'x' * (256 << 20)"]
"""Runs long, but ends at once when told to: as process 1 a plain sleep would not hear it."""
DEADLINE = "50s"
"""Time enough for a pod to come as far as it can."""


@pytest.fixture
def elsewhere(cluster: Cluster) -> Iterator[str]:
    """Another namespace, for those who must not be bothered."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "parley-test": "elsewhere"}
    cluster.apply(
        name, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    )
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def good_task(name: str = "good") -> dict[str, object]:
    """A task with nothing wrong, to stand beside those that fail."""
    steps = [
        {"name": "first", "container": container("printf 1 > /dev/termination-log")},
        {
            "name": "second",
            "container": container('printf "$0" > /dev/termination-log')
            | {"args": ["{{ steps.first.output + 1 }}"]},
        },
    ]
    return task(name, steps=steps)


def assert_good(cluster: Cluster, namespace: str, name: str = "good") -> None:
    ended = cluster.wait_task(namespace, name)
    assert (ended["status"]["phase"], ended["status"]["output"]) == ("Succeeded", 2), ended["status"]


def assert_failed(cluster: Cluster, namespace: str, name: str, reason: str, step: str, *words: str) -> None:
    """Assert that a task ended as failed, for that reason, with a sentence that has the step's name and the words."""
    ended = cluster.wait_task(namespace, name)
    verdict = condition(ended, "Succeeded")
    seen = f"{name}: {verdict}, {ended['status'].get('steps')}"
    assert ended["status"]["phase"] == "Failed", seen
    assert (verdict["status"], verdict["reason"]) == ("False", reason), seen
    assert condition(ended, "Stalled")["reason"] == reason, seen
    assert kstatus(ended).status == "Failed", seen
    assert (step_of(ended, step)["phase"], step_of(ended, step)["reason"]) == ("Failed", reason), seen
    for word in (f"step {step}", *words):
        assert word in verdict["message"], f"{word!r} is not said: {seen}"


def wait_trouble(cluster: Cluster, namespace: str, name: str, reason: str) -> str:
    """Wait until a task that is in progress says what holds it up; returns the sentence."""

    def probe() -> dict[str, Any] | None:
        found = cluster.get("task", namespace, name)
        return found if found and condition(found, "Ready").get("reason") == reason else None

    found = cluster.wait(f"Task {name} says {reason}", namespace, probe)
    assert kstatus(found).status == "InProgress", found["status"]
    assert condition(found, "Succeeded")["status"] == "Unknown"
    return str(condition(found, "Ready")["message"])


def secret(name: str, **data: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def from_secret(name: str, key: str = "key", **fields: object) -> dict[str, object]:
    """A container step that prints a value of a Secret."""
    env = [{"name": "VALUE", "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}]
    return {
        "name": "show",
        "container": container('printf "$VALUE" > /dev/termination-log', env=env),
        **fields,
    }


def with_argument(template: str) -> list[dict[str, object]]:
    """Two steps; the template is an argument of the second."""
    return [
        {"name": "first", "container": container("printf '{\"a\": 1}' > /dev/termination-log")},
        {"name": "second", "container": container("true") | {"args": [template]}},
    ]


def test_containers_and_templates_that_fail_say_why(cluster: Cluster, namespace: str) -> None:
    # Given steps that fail in every way a container or a container's template can, and one that does not
    cluster.apply(
        namespace,
        task("exits", steps=[{"name": "score", "container": container("echo no such order >&2; exit 3")}]),
        task(
            "greedy",
            steps=[
                {
                    "name": "grow",
                    "container": {
                        "image": "parley:dev",
                        "command": GREEDY,
                        "resources": {"limits": {"memory": "32Mi"}},
                    },
                }
            ],
        ),
        task(
            "no-program",
            steps=[{"name": "run", "container": {"image": "parley:dev", "command": ["nowhere"]}}],
        ),
        task("undefined", steps=with_argument("{{ steps.first.output.b }}")),
        task("escape", steps=with_argument("{{ ''.__class__.__mro__ }}"), inputs={"name": "x"}),
        task("endless", steps=with_argument(ENDLESS)),
        task("huge", steps=with_argument("{{ 'x' * 999999999 }}")),
        task(
            "bad-output",
            steps=[{"name": "only", "container": container("true")}],
            output={"a": "{{ 1 / 0 }}"},
        ),
        good_task(),
    )

    # Then each says which step or field it was, and why
    argument = "spec.steps[1].container.args[0]"
    assert_failed(cluster, namespace, "exits", "ExitCode", "score", "exit code 3", "no such order")
    assert_failed(cluster, namespace, "greedy", "OOMKilled", "grow", "more memory than its limit")
    assert_failed(cluster, namespace, "no-program", "ContainerConfigError", "run", "nowhere")
    assert_failed(cluster, namespace, "undefined", "TemplateError", "second", argument, "b")
    assert_failed(cluster, namespace, "escape", "TemplateError", "second", argument, "__class__")
    assert_failed(cluster, namespace, "endless", "TemplateError", "second", argument, "more than 1 s")
    assert_failed(cluster, namespace, "huge", "TemplateError", "second", argument)
    ended = cluster.wait_task(namespace, "bad-output")
    assert (ended["status"]["phase"], condition(ended, "Succeeded")["reason"]) == ("Failed", "TemplateError")
    assert "spec.output.a" in condition(ended, "Succeeded")["message"]

    # And nothing else was bothered
    assert_good(cluster, namespace)


def test_pods_that_cannot_start_say_what_is_missing_until_it_is_there_or_time_is_up(
    cluster: Cluster, namespace: str
) -> None:
    # Given steps whose pods cannot start
    cluster.apply(
        namespace,
        secret("half", other="x"),
        agent("keyed", model=agent_model(apiKeySecretRef={"name": "late-key", "key": "key"})),
    )
    no_image = {"image": "localhost:1/none:1", "command": ["true"]}
    no_config = [{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "key"}}}]
    no_room = container("true", resources={"requests": {"cpu": "1000"}})
    cluster.apply(
        namespace,
        task("late-secret", steps=[from_secret("late-secret")]),
        task("late-key", agentRef={"name": "keyed"}, message="echo: it speaks"),
        task("no-secret", steps=[from_secret("never", timeout=DEADLINE)]),
        task("no-key", steps=[from_secret("half", timeout=DEADLINE)]),
        task(
            "no-config",
            steps=[{"name": "run", "timeout": DEADLINE, "container": container("true", env=no_config)}],
        ),
        task("no-image", steps=[{"name": "pull", "timeout": DEADLINE, "container": no_image}]),
        task("no-room", steps=[{"name": "fit", "timeout": DEADLINE, "container": no_room}]),
        good_task(),
    )

    # Then each says what it waits for, those with a deadline first, and the others go on
    assert "localhost:1/none:1" in wait_trouble(cluster, namespace, "no-image", "ImagePullFailed")
    assert "cpu" in wait_trouble(cluster, namespace, "no-room", "Unschedulable")
    assert 'secret "late-secret" not found' in wait_trouble(
        cluster, namespace, "late-secret", "SecretNotFound"
    )
    assert 'secret "late-key" not found' in wait_trouble(cluster, namespace, "late-key", "SecretNotFound")
    assert_good(cluster, namespace)

    # When the Secrets are made, then what waited for them runs
    cluster.apply(namespace, secret("late-secret", key="it is here"), secret("late-key", key="k"))
    assert cluster.wait_task(namespace, "late-secret")["status"]["output"] == "it is here"
    assert cluster.wait_task(namespace, "late-key")["status"]["output"] == "it speaks"

    # When the time of the others is up, then the cause stays the reason, and the sentence names the deadline too
    deadline = f"until the step's timeout ({DEADLINE}) passed"
    assert_failed(
        cluster, namespace, "no-secret", "SecretNotFound", "show", 'secret "never" not found', deadline
    )
    assert_failed(cluster, namespace, "no-key", "SecretNotFound", "show", "key", deadline)
    assert_failed(
        cluster, namespace, "no-config", "ContainerConfigError", "run", 'configmap "none"', deadline
    )
    assert_failed(cluster, namespace, "no-image", "ImagePullFailed", "pull", "localhost:1/none:1", deadline)
    assert_failed(cluster, namespace, "no-room", "Unschedulable", "fit", "cpu", deadline)


def agent_model(**fields: object) -> dict[str, object]:
    """The scripted model, with other fields."""
    model: Any = agent()["spec"]
    return {**model["model"], **fields}


def test_models_that_fail_say_why_and_let_the_conversation_go_on(cluster: Cluster, namespace: str) -> None:
    # Given a model that is down, and one that does what it is told, in a conversation and outside of it
    cluster.apply(namespace, agent(runtime=ONE_RUNNER))
    cluster.apply(
        namespace, session("alice"), agent("down", model=agent_model(baseURL="http://127.0.0.1:9/v1"))
    )
    schema = {"type": "object", "properties": {"kind": {"enum": ["late"]}}, "required": ["kind"]}

    def ask(name: str, text: str, mode: str = "Warm", **fields: object) -> dict[str, object]:
        by = {"agentRef": {"name": "support"}, "runtime": {"mode": mode}}
        return task(name, **by, inputs={"list": [1]}, steps=[prompt(text, **fields)])

    def prompt(text: str, **fields: object) -> dict[str, object]:
        return {"name": "ask", "prompt": {"text": text, **fields}}

    cluster.apply(
        namespace,
        task("a-turn", sessionRef={"name": "alice"}, message="[refuse] Hello"),
        ask("misfit", "[badjson always] Which kind?", outputSchema=schema),
        ask("broken", "[fail 503] Hello"),
        ask("busy", "[fail 429] Hello"),
        ask("forbidden", "[fail 401] Hello"),
        ask("endless", "[long 1200000]"),
        # A runner of many tasks renders in a child, which is stopped in other words.
        ask("looping", ENDLESS, mode="Job"),
        ask("undefined", "{{ inputs.list[5] }}", mode="Job"),
        task("down", agentRef={"name": "down"}, message="Hello"),
        task("b-turn", sessionRef={"name": "alice"}, message="How many messages?"),
        ask("flaky", f"[fail 503 x2 {namespace}] echo: at last"),
    )

    # Then each says what the model did
    assert_failed(cluster, namespace, "misfit", "SchemaMismatch", "ask", "outputSchema")
    assert_failed(cluster, namespace, "broken", "ModelError", "ask", "scripted", "503", "5 tries")
    assert_failed(cluster, namespace, "busy", "ModelRateLimited", "ask", "429")
    assert_failed(cluster, namespace, "forbidden", "ModelError", "ask", "401")
    assert_failed(cluster, namespace, "endless", "ResultTooLarge", "ask", "spec.steps[0].prompt")
    assert_failed(
        cluster, namespace, "looping", "TemplateError", "ask", "spec.steps[0].prompt", "longer than"
    )
    assert_failed(
        cluster, namespace, "undefined", "TemplateError", "ask", "spec.steps[0].prompt.text", "list"
    )
    assert_failed(cluster, namespace, "down", "ModelError", "reply", "cannot be reached", "127.0.0.1:9")

    # And one that only stumbles is asked again
    assert cluster.wait_task(namespace, "flaky")["status"]["output"] == "at last"

    # And a turn that failed leaves the session to the next
    assert_failed(cluster, namespace, "a-turn", "ModelError", "reply", "refused")
    assert cluster.wait_task(namespace, "b-turn")["status"]["phase"] == "Succeeded"
    alice = cluster.get("session", namespace, "alice")
    assert alice is not None
    assert alice["status"]["tasks"] == {"active": 0, "waiting": 0, "succeeded": 1, "failed": 1}


def test_a_quota_holds_a_task_up_and_says_which(cluster: Cluster, namespace: str, elsewhere: str) -> None:
    # Given a namespace that allows no pods
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-pods"},
        "spec": {"hard": {"pods": "0"}},
    }
    cluster.apply(namespace, quota)
    wait_enforced(cluster, namespace, "no-pods")
    cluster.apply(
        namespace,
        good_task("held"),
        task(
            "out-of-time",
            steps=[
                {"name": "wait", "timeout": "40s", "container": container("true")},
            ],
        ),
    )
    cluster.apply(elsewhere, good_task())

    # Then the task says which quota it waits for, nobody else does, and when time is up it is still the reason
    said = wait_trouble(cluster, namespace, "held", "QuotaExceeded")
    assert "step first" in said
    assert "exceeded quota: no-pods" in said
    assert_good(cluster, elsewhere)
    assert_failed(
        cluster,
        namespace,
        "out-of-time",
        "QuotaExceeded",
        "wait",
        "exceeded quota: no-pods",
        "step's timeout (40s)",
    )

    # When there is room, then it goes on by itself
    cluster.kubectl("delete", "quota", "no-pods", "-n", namespace)
    assert_good(cluster, namespace, "held")

    # Given no room for Jobs
    cluster.apply(
        namespace, quota | {"metadata": {"name": "no-jobs"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    )
    wait_enforced(cluster, namespace, "no-jobs")
    cluster.apply(namespace, good_task("jobless"))

    # Then it is the same
    assert "exceeded quota: no-jobs" in wait_trouble(cluster, namespace, "jobless", "QuotaExceeded")
    cluster.kubectl("delete", "quota", "no-jobs", "-n", namespace)
    assert_good(cluster, namespace, "jobless")


def test_a_pod_that_a_policy_refuses_says_so(cluster: Cluster, namespace: str) -> None:
    # Given a limit range that no step without requests meets
    limits = {"limits": [{"type": "Container", "min": {"memory": "1Gi"}}]}
    cluster.apply(
        namespace,
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "big-only"}, "spec": limits},
    )
    cluster.apply(
        namespace,
        task(
            "small",
            steps=[
                {
                    "name": "run",
                    "container": container(
                        "true", resources={"requests": {"memory": "8Mi"}, "limits": {"memory": "16Mi"}}
                    ),
                },
            ],
        ),
    )

    # Then the task says what refuses its pod, until it is allowed
    assert "minimum memory usage per Container is 1Gi" in wait_trouble(
        cluster, namespace, "small", "PodRefused"
    )
    cluster.kubectl("delete", "limitrange", "big-only", "-n", namespace)
    assert cluster.wait_task(namespace, "small")["status"]["phase"] == "Succeeded"


def wait_enforced(cluster: Cluster, namespace: str, quota: str) -> None:
    """Wait until the quota controller has counted: before that the API server lets everything in."""
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/{quota}"
    cluster.wait(
        f"quota {quota} counts",
        namespace,
        lambda: "used" in cluster.request("GET", path).json().get("status", {}),
    )


def test_a_namespace_can_be_deleted_while_its_tasks_run(
    cluster: Cluster, namespace: str, elsewhere: str, store: Store
) -> None:
    # Given a namespace in which a turn runs, another waits, and a container runs
    cluster.apply(elsewhere, agent(), session("alice"))
    cluster.apply(
        elsewhere,
        task("talking", sessionRef={"name": "alice"}, message="[slow 300s] Hello"),
        task("waiting", sessionRef={"name": "alice"}, message="Hello"),
        task("running", steps=[{"name": "slow", "container": container(LONG_SCRIPT)}]),
    )
    cluster.wait_task(elsewhere, "running", "Running")
    cluster.wait_task(elsewhere, "talking", "Running")
    cluster.apply(namespace, good_task())

    # When it is deleted
    cluster.kubectl("delete", "namespace", elsewhere, "--wait=false")
    path = f"/api/v1/namespaces/{elsewhere}"
    cluster.wait("the namespace is gone", elsewhere, lambda: cluster.request("GET", path).status_code == 404)

    # Then nothing of it is left open in the store, and others never felt it
    def left_open() -> list[tuple[Any, ...]]:
        return store.rows(
            "SELECT t.name, t.gone_since, a.state FROM tasks t LEFT JOIN attempts a ON a.task_uid = t.uid"
            " AND a.state IN ('Open', 'Running') WHERE t.namespace = %s AND (t.gone_since IS NULL OR a.id IS NOT NULL)",
            elsewhere,
        )

    cluster.wait(f"no rows are open: {left_open()}", namespace, lambda: not left_open())
    assert len(store.rows("SELECT 1 FROM tasks WHERE namespace = %s", elsewhere)) == 3
    assert_good(cluster, namespace)
