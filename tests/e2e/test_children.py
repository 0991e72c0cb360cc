"""Tasks that are steps of other tasks, and tasks from templates."""

from typing import Any

import pytest

from tests.cluster import Cluster, condition, desire, step_of, wait_condition, wait_step
from tests.e2e.conftest import LONG_SCRIPT, Store, container, gives, reply, session, task, template
from tests.e2e.seen import attempts, pods, running
from tests.kstatus import kstatus

pytestmark = pytest.mark.cluster

SCHEMA = {
    "type": "object",
    "properties": {"order": {"type": "string"}, "parcels": {"type": "integer"}},
    "required": ["order"],
}
SHIP = {
    "inputs": {"parcels": 1},
    "steps": [
        {"name": "label", "return": {"value": "{{ inputs.order }}/{{ inputs.parcels }}"}},
    ],
}
LONG_CHILD = {"steps": [{"name": "slow", "container": container(LONG_SCRIPT)}]}


ASK = {"name": "ask", "wait": {"question": "Go on?"}}
"""A step that takes as long as the test likes."""


def go_on(cluster: Cluster, namespace: str, name: str) -> None:
    """Answer what a task asks, once it does."""
    asked = cluster.wait_task(namespace, name, "WaitingForInput")["status"]["waiting"][0]
    cluster.apply(namespace, reply(f"{name}-goes-on", name, asked["id"], value="yes"))


def children(cluster: Cluster, namespace: str, parent: str) -> list[dict[str, Any]]:
    """The tasks that a task made, by name."""
    found = [body for body in cluster.list("task", namespace) if body["status"].get("parent") == parent]
    return sorted(found, key=lambda body: body["metadata"]["name"])


def wait_child(cluster: Cluster, namespace: str, parent: str) -> str:
    """Wait until a task has made its only child; returns the child's name."""
    [child] = cluster.wait(
        f"Task {parent} has a child", namespace, lambda: children(cluster, namespace, parent)
    )
    return child["metadata"]["name"]


def test_a_task_from_a_template(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given tasks of a template that is not there yet
    cluster.apply(
        namespace,
        task("early", templateRef={"name": "ship"}, inputs={"order": "7"}),
        task("misfit", templateRef={"name": "ship"}, inputs={"order": "7", "parcels": "many"}),
        task("empty", templateRef={"name": "ship"}),
    )

    def held() -> bool:
        body = cluster.get("task", namespace, "early")
        return body is not None and condition(body, "Ready").get("reason") == "TemplateNotFound"

    cluster.wait("it says what it waits for", namespace, held)

    # When the template comes, then they go on, with its inputs below their own
    cluster.apply(namespace, template("ship", SHIP, inputSchema=SCHEMA))
    assert cluster.wait_task(namespace, "early")["status"]["output"] == "7/1"
    cluster.apply(namespace, task("later", templateRef={"name": "ship"}, inputs={"order": "8", "parcels": 2}))
    assert cluster.wait_task(namespace, "later")["status"]["output"] == "8/2"

    # And inputs that do not fit say where
    for name, word in (("misfit", "parcels"), ("empty", "order")):
        body = cluster.wait_task(namespace, name)
        said = condition(body, "Succeeded")
        assert (body["status"]["phase"], said["reason"]) == ("Failed", "InvalidSpec"), body["status"]
        assert "spec.inputs" in said["message"]
        assert word in said["message"]

    # And the template itself reads right
    ship = wait_condition(cluster, "tasktemplate", namespace, "ship", "Ready", status="True")
    assert kstatus(ship).status == "Current"
    cluster.apply(namespace, template("odd", {"steps": [{"name": "a", "return": {"value": "{{ nobody }}"}}]}))
    odd = wait_condition(cluster, "tasktemplate", namespace, "odd", "Stalled", reason="InvalidSpec")
    assert "spec.task.steps[0].return.value" in condition(odd, "Stalled")["message"]

    # And what ran is kept in Postgres
    [(spec,)] = store.rows("SELECT spec FROM tasks WHERE namespace = %s AND name = 'later'", namespace)
    assert spec["steps"][0]["name"] == "label"
    assert spec["inputs"] == {"order": "8", "parcels": 2}


def test_a_template_that_changes_does_not_touch_what_has_begun(cluster: Cluster, namespace: str) -> None:
    def asks(text: str) -> dict[str, object]:
        steps = [ASK, {"name": "say", "return": {"value": text}}]
        return template("asks", {"steps": steps})

    # Given a task that has begun, as a child and by itself
    cluster.apply(namespace, asks("old"))
    cluster.apply(
        namespace,
        task("begun", templateRef={"name": "asks"}),
        task("parent", steps=[{"name": "run", "task": {"templateRef": {"name": "asks"}}}]),
    )
    begun = ["begun", wait_child(cluster, namespace, "parent"), "fresh"]
    for name in begun[:2]:
        wait_step(cluster, namespace, name, "ask", "WaitingForInput")

    # When the template changes, or goes
    cluster.apply(namespace, asks("new"))
    cluster.apply(namespace, task("fresh", templateRef={"name": "asks"}))
    wait_step(cluster, namespace, "fresh", "ask", "WaitingForInput")
    cluster.kubectl("delete", "tasktemplate", "asks", "-n", namespace)

    # Then they end as they began
    for name in begun:
        go_on(cluster, namespace, name)
    outputs = [
        cluster.wait_task(namespace, name)["status"]["output"] for name in ("begun", "parent", "fresh")
    ]
    assert outputs == ["old", "old", "new"]


def test_children_give_their_output_to_their_parent(cluster: Cluster, namespace: str) -> None:
    # Given a task whose steps are tasks: of a template for each of a list, and one written out that talks in its session
    cluster.apply(namespace, session("alice"), template("ship", SHIP, inputSchema=SCHEMA))
    inline = {"steps": [{"name": "say", "prompt": {"text": "echo: {{ inputs.labels[1] }}"}}]}
    steps = [
        {
            "name": "ship",
            "forEach": {"items": ["1", "2", "3"], "parallelism": 2},
            "task": {
                "templateRef": {"name": "ship"},
                "inputs": {"order": "{{ item }}", "parcels": "{{ index }}"},
            },
        },
        {"name": "tell", "task": {"spec": inline, "inputs": {"labels": "{{ steps.ship.output }}"}}},
    ]
    output = {"labels": "{{ steps.ship.output }}", "said": "{{ steps.tell.output }}"}
    cluster.apply(namespace, task("parent", sessionRef={"name": "alice"}, steps=steps, output=output))

    # When all have run
    ended = cluster.wait_task(namespace, "parent")

    # Then their outputs are in the parent
    assert ended["status"]["phase"] == "Succeeded", cluster.describe(namespace)
    assert ended["status"]["output"] == {"labels": ["1/0", "2/1", "3/2"], "said": "2/1"}

    # And kubectl shows whose child each is, and what the parent calls it
    names = [body["metadata"]["name"] for body in children(cluster, namespace, "parent")]
    assert len(names) == 4
    table = cluster.kubectl("get", "tasks", "-n", namespace).splitlines()
    assert "PARENT" in table[0]
    assert [line for line in table if "parent" in line.split()[1:]] != []
    assert step_of(ended, "tell")["task"] in names
    told = cluster.get("task", namespace, step_of(ended, "tell")["task"])
    assert told is not None
    [owner] = told["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Task", "parent", True)
    assert told["spec"]["sessionRef"] == {"name": "alice"}

    # And they go with it
    cluster.kubectl("delete", "task", "parent", "-n", namespace)
    cluster.wait("they went with it", namespace, lambda: cluster.list("task", namespace) == [])


def test_what_goes_wrong_below_can_be_read_above(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given children that fail, that cannot be made, that are cancelled, that are deleted, and one that may fail
    fails = {"steps": [{"name": "run", "container": container("echo no such order; exit 3")}]}
    refuses = {"steps": [{"name": "stop", "fail": {"message": "sold out"}}]}

    def parent(name: str, spec: dict[str, object], **fields: object) -> dict[str, object]:
        return task(name, steps=[{"name": "child", "task": {"spec": spec}, **fields}])

    invalid = {"steps": [{"name": "say", "prompt": {"text": "Hello"}}]}
    cluster.apply(
        namespace,
        parent("fails", fails),
        parent("again", refuses, retry={"limit": 1, "backoff": {"initial": "1s"}}),
        parent("may-fail", refuses, continueOnError=True),
        parent("invalid", invalid),
        parent("misspelt", {"step": []}),
        parent("stopped", LONG_CHILD),
        parent("removed", LONG_CHILD),
    )

    # When a person cancels one child and deletes another
    stopped, removed = (wait_child(cluster, namespace, name) for name in ("stopped", "removed"))
    desire(cluster, namespace, stopped, "Cancelled")
    cluster.kubectl("delete", "task", removed, "-n", namespace)

    # Then each parent says which child it was, and why
    names = ("fails", "again", "may-fail", "invalid", "misspelt", "stopped", "removed")
    ended = {name: cluster.wait_task(namespace, name) for name in names}
    said = {name: condition(body, "Succeeded") for name, body in ended.items()}
    phases = {name: body["status"]["phase"] for name, body in ended.items()}
    assert phases == dict.fromkeys(names, "Failed") | {"may-fail": "Succeeded"}, said
    child = step_of(ended["fails"], "child")["task"]
    assert child in said["fails"]["message"]
    assert "no such order" in said["fails"]["message"]
    assert "sold out" in said["again"]["message"]
    assert len(attempts(store, namespace, "again")) == 2
    assert "sold out" in step_of(ended["may-fail"], "child")["message"]
    assert "agentRef" in said["invalid"]["message"]
    assert said["misspelt"]["reason"] == "InvalidSpec"
    assert "spec.steps[0].task.spec" in said["misspelt"]["message"]
    assert (said["stopped"]["reason"], said["removed"]["reason"]) == ("Cancelled", "Cancelled")
    assert stopped in said["stopped"]["message"]
    assert removed in said["removed"]["message"]


def test_cancel_deadline_and_suspension_go_down(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given parents of parents of a task that runs long
    middle = {"steps": [{"name": "lower", "task": {"spec": LONG_CHILD}}]}
    top = [{"name": "upper", "task": {"spec": middle}}]
    naps = {
        "steps": [
            # Time enough to be suspended meanwhile, and over when the others have ended.
            {"name": "nap", "sleep": {"duration": "20s"}},
            {"name": "go", "container": container("true")},
        ]
    }
    brief = [{"name": "upper", "timeout": "20s", "task": {"spec": LONG_CHILD}}]
    cluster.apply(
        namespace,
        task("cancelled", steps=top),
        task("late", timeout="30s", steps=top),
        task("brief", steps=brief),
        task("held", steps=[{"name": "child", "task": {"spec": naps}}]),
    )
    held = wait_child(cluster, namespace, "held")
    wait_step(cluster, namespace, held, "nap", "Sleeping")
    desire(cluster, namespace, "held", "Suspended")
    below = {}
    for name in ("cancelled", "late"):
        child = wait_child(cluster, namespace, name)
        below[name] = (child, wait_child(cluster, namespace, child))
    lowest = below["cancelled"][1]
    cluster.wait("the lowest one's pod runs", namespace, lambda: running(cluster, namespace, lowest))

    # When the one above is cancelled, or its time is up
    desire(cluster, namespace, "cancelled", "Cancelled")
    assert cluster.wait_task(namespace, "cancelled")["status"]["phase"] == "Cancelled"
    late = cluster.wait_task(namespace, "late")
    assert condition(late, "Succeeded")["reason"] == "TaskTimeout"
    assert condition(cluster.wait_task(namespace, "brief"), "Succeeded")["reason"] == "StepTimeout"
    below["brief"] = (children(cluster, namespace, "brief")[0]["metadata"]["name"],)

    # Then so are those below it, to the lowest, and their pods end
    for name in [child for line in below.values() for child in line]:
        body = cluster.wait_task(namespace, name)
        assert body["status"]["phase"] == "Cancelled", body["status"]
        cluster.wait(
            f"the pods of {name} end", namespace, lambda name=name: not running(cluster, namespace, name)
        )

    # And below one that is suspended nothing new starts until it goes on
    assert pods(cluster, namespace, held) == []
    desire(cluster, namespace, "held", "Running")
    assert cluster.wait_task(namespace, "held")["status"]["phase"] == "Succeeded"
    assert len(attempts(store, namespace, held)) == 1


def test_a_child_that_is_pruned_makes_nothing_run_again(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given a parent that waits after its child has ended, and a child that is removed by its time to live
    quick = {"steps": [{"name": "run", "container": gives(7)}]}
    last = {"name": "sum", "return": {"value": "{{ steps.child.output + 1 }}"}}
    cluster.apply(
        namespace,
        task("tidy", steps=[{"name": "child", "task": {"spec": quick}}, ASK, last]),
        task(
            "short",
            steps=[{"name": "child", "task": {"spec": {**quick, "ttlAfterFinished": "1s"}}}, ASK, last],
        ),
    )
    for name in ("tidy", "short"):
        wait_step(cluster, namespace, name, "ask", "WaitingForInput")

    # When the child is deleted, or goes by itself
    [child] = children(cluster, namespace, "tidy")
    cluster.kubectl("delete", "task", child["metadata"]["name"], "-n", namespace)
    for name in ("tidy", "short"):
        cluster.wait(
            "the child is gone", namespace, lambda name=name: children(cluster, namespace, name) == []
        )

    # Then the parent goes on with its output, and no other child was made
    for name in ("tidy", "short"):
        go_on(cluster, namespace, name)
        assert cluster.wait_task(namespace, name)["status"]["output"] == 8, cluster.describe(namespace)
        assert len(attempts(store, namespace, name, "child")) == 1
        assert children(cluster, namespace, name) == []


def test_depth_is_bounded(cluster: Cluster, namespace: str) -> None:
    # Given a template that runs itself
    again = {"steps": [{"name": "again", "task": {"templateRef": {"name": "endless"}}}]}
    cluster.apply(namespace, template("endless", again))
    cluster.apply(namespace, task("top", templateRef={"name": "endless"}))

    # Then it ends at a depth, and the top says so
    ended = cluster.wait_task(namespace, "top")
    assert ended["status"]["phase"] == "Failed"
    names = [body["metadata"]["name"] for body in cluster.list("task", namespace)]
    assert 3 <= len(names) <= 6
    found = [cluster.wait_task(namespace, name) for name in names]
    assert {body["status"]["phase"] for body in found} == {"Failed"}
    deepest = [body for body in found if not children(cluster, namespace, body["metadata"]["name"])]
    assert "five levels" in condition(deepest[0], "Succeeded")["message"], deepest[0]["status"]
