"""A step for each item of a list: how many at once, in what order the outputs, and what one failing item does."""

import json

import pytest

from tests.cluster import Cluster, condition, step_of
from tests.e2e.conftest import LONG_SCRIPT, Store, container, gives, task
from tests.e2e.seen import attempts, most_at_once, pods, running, stop_containers

pytestmark = pytest.mark.cluster

KIND = {
    "type": "object",
    "properties": {"kind": {"enum": ["late", "broken", "missing"]}},
    "required": ["kind"],
}
MANY = 1000


def each(
    name: str, items: object, body: dict[str, object], parallelism: int = 10, **fields: object
) -> dict[str, object]:
    """A step with a container for each item."""
    return {
        "name": name,
        "forEach": {"items": items, "parallelism": parallelism},
        "container": body,
        **fields,
    }


def showing(script: str) -> dict[str, object]:
    """A container that gets the item as $1 and the index as $2."""
    return container(script) | {"args": ["each", "{{ item }}", "{{ index }}"]}


def test_containers_of_a_list(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given a list whose first item takes longest, and at most two at a time
    slow_first = showing('sleep "$1"; printf "%s:%s" "$2" "$1" > /dev/termination-log')
    of_objects = container('printf "$0" > /dev/termination-log') | {"args": ["{{ item.n + index }}"]}
    cluster.apply(
        namespace,
        task(
            "lists",
            inputs={"waits": [3, 1, 0, 0]},
            steps=[
                each("wait", "{{ inputs.waits }}", slow_first, 2),
                # And a list written out, a list that a step gave, and an empty one, all of them side by side
                each("objects", [{"n": 10}, {"n": 20}], of_objects, needs=[]),
                each(
                    "outputs",
                    "{{ steps.wait.output }}",
                    showing('printf "$1" > /dev/termination-log'),
                    needs=["wait"],
                ),
                each("none", "{{ inputs.waits[4:] }}", container("true"), needs=[]),
                {
                    "name": "all",
                    "needs": ["objects", "outputs", "none"],
                    "return": {
                        "value": {
                            "objects": "{{ steps.objects.output }}",
                            "outputs": "{{ steps.outputs.output }}",
                            "none": "{{ steps.none.output }}",
                        }
                    },
                },
            ],
        ),
    )

    # When all have run
    ended = cluster.wait_task(namespace, "lists")

    # Then the outputs stand in the order of the items, whichever ended first
    assert ended["status"]["phase"] == "Succeeded", cluster.describe(namespace)
    assert ended["status"]["output"] == {
        "objects": [10, 21],
        "outputs": ["0:3", "1:1", "2:0", "3:0"],
        "none": [],
    }

    # And never more ran than were allowed, and no fewer
    rows = attempts(store, namespace, "lists", "wait")
    assert sorted(a.item for a in rows) == [0, 1, 2, 3]
    assert most_at_once(rows) == 2
    assert min(a.ended for a in rows if a.ended) < max(a.created for a in rows)

    # And the counts are there, and an empty list is done without a pod
    assert step_of(ended, "wait")["items"] == {"total": 4, "succeeded": 4, "failed": 0, "active": 0}
    assert step_of(ended, "none")["phase"] == "Succeeded"
    assert pods(cluster, namespace, "lists", "none") == []


def test_an_item_that_fails(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given items that fail for good, once, or may fail; and lists that are none
    picky = showing('[ "$1" != bad ] || exit 3; printf "$1" > /dev/termination-log')
    long = showing(f'[ "$1" != bad ] || exit 3; {LONG_SCRIPT}')
    cluster.apply(
        namespace,
        task(
            "strict",
            steps=[
                each("do", ["a", "bad", "c", "d", "e"], picky, 1),
                {"name": "after", "container": gives(1)},
            ],
        ),
        task("lenient", steps=[each("do", ["a", "bad", "c"], picky, continueOnError=True)]),
        task(
            "tried-again",
            steps=[each("do", ["a", "bad"], picky, retry={"limit": 1, "backoff": {"initial": "1s"}})],
        ),
        task("abreast", steps=[each("do", ["bad", "long"], long, 2)]),
        task("text", inputs={"word": "abc"}, steps=[each("do", "{{ inputs.word }}", picky)]),
        task("too-many", inputs={"n": MANY + 1}, steps=[each("do", "{{ range(inputs.n) | list }}", picky)]),
    )

    # Then the step fails with the item's number and reason, and no further item begins
    strict = cluster.wait_task(namespace, "strict")
    said = condition(strict, "Succeeded")
    assert (strict["status"]["phase"], said["reason"]) == ("Failed", "ExitCode"), strict["status"]
    assert "item 1" in said["message"]
    assert "exit code 3" in said["message"]
    assert {a.item for a in attempts(store, namespace, "strict")} == {0, 1}
    assert step_of(strict, "do")["items"]["failed"] == 1

    # And where failing is allowed all run, and the output has null in that place
    lenient = cluster.wait_task(namespace, "lenient")
    assert (lenient["status"]["phase"], lenient["status"]["output"]) == ("Succeeded", ["a", None, "c"])
    assert step_of(lenient, "do")["items"] == {"total": 3, "succeeded": 2, "failed": 1, "active": 0}

    # And only the item that failed is tried again
    again = cluster.wait_task(namespace, "tried-again")
    assert again["status"]["phase"] == "Failed"
    tries = [(a.item, a.number, a.cause) for a in attempts(store, namespace, "tried-again")]
    assert sorted(tries) == [(0, 1, "First"), (1, 1, "First"), (1, 2, "Retry")]

    # And what is no list, or too long a list, says so
    for name, words in (("text", "list"), ("too-many", "1000")):
        odd = cluster.wait_task(namespace, name)
        assert odd["status"]["phase"] == "Failed"
        assert "spec.steps[0].forEach.items" in condition(odd, "Succeeded")["message"]
        assert words in condition(odd, "Succeeded")["message"]

    # And items that run beside one that failed run to their end first
    def only_the_other_runs() -> bool:
        states = [a.state for a in sorted(attempts(store, namespace, "abreast"), key=lambda a: a.item)]
        return states == ["Failed", "Open"] and running(cluster, namespace, "abreast") != []

    cluster.wait("an item has failed while the other's pod runs", namespace, only_the_other_runs)
    held = cluster.get("task", namespace, "abreast")
    assert held is not None
    assert held["status"]["phase"] == "Running"
    stop_containers(cluster, namespace, "abreast")
    assert "item 0" in condition(cluster.wait_task(namespace, "abreast"), "Succeeded")["message"]


def test_prompts_of_a_list_are_one_indexed_job_a_round(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given prompts of a list, one of which the model fails five times, which is one attempt
    letters = [
        "It came late.",
        f"It is broken. [fail 503 x5 {namespace}]",
        "One is missing.",
        "It came late, too.",
    ]
    step = {
        "name": "sort",
        "forEach": {"items": "{{ inputs.letters }}", "parallelism": 2},
        "retry": {"limit": 1, "backoff": {"initial": "1s"}},
        "prompt": {"text": "Sort: {{ item }}", "outputSchema": KIND},
    }
    cluster.apply(
        namespace, task("sorts", agentRef={"name": "support"}, inputs={"letters": letters}, steps=[step])
    )

    # When all have run
    ended = cluster.wait_task(namespace, "sorts")

    # Then the answers stand in the order of the items
    assert ended["status"]["phase"] == "Succeeded", cluster.describe(namespace)
    kinds = [answer["kind"] for answer in ended["status"]["output"]]
    assert kinds == ["late", "broken", "missing", "late"]

    # And there was one Job for all of them, and one for the item that was repeated
    jobs = cluster.list("job", namespace, "parley.dev/task=sorts")
    specs = sorted((job["spec"]["completions"], job["spec"]["completionMode"]) for job in jobs)
    assert specs == [(1, "Indexed"), (4, "Indexed")]
    assert max(job["spec"]["parallelism"] for job in jobs) == 2
    tries = [(a.item, a.number, a.cause, a.state) for a in attempts(store, namespace, "sorts")]
    assert sorted(tries) == [
        (0, 1, "First", "Succeeded"),
        (1, 1, "First", "Failed"),
        (1, 2, "Retry", "Succeeded"),
        (2, 1, "First", "Succeeded"),
        (3, 1, "First", "Succeeded"),
    ]


def test_many_items_and_a_small_status(cluster: Cluster, namespace: str, store: Store) -> None:
    """Children that need no pod; ``python -m tests.bench items`` runs a thousand containers on simulated nodes."""
    # Given many items, each a task of its own
    count = 150
    child = {"steps": [{"name": "say", "return": {"value": {"n": "{{ inputs.n }}", "text": "x" * 100}}}]}
    step = {
        "name": "each",
        "forEach": {"items": [3 * number for number in range(count)], "parallelism": 50},
        "task": {"spec": child, "inputs": {"n": "{{ item + index }}"}},
    }
    cluster.apply(namespace, task("long-list", steps=[step]))

    # When all have ended
    ended = cluster.wait_task(namespace, "long-list", timeout=300)

    # Then all are there, once, in their order, whole in Postgres
    assert ended["status"]["phase"] == "Succeeded", ended["status"]
    assert step_of(ended, "each")["items"] == {"total": count, "succeeded": count, "failed": 0, "active": 0}
    [(output,)] = store.rows(
        "SELECT o.value FROM outputs o JOIN tasks t ON t.uid = o.task_uid"
        " WHERE t.namespace = %s AND t.name = 'long-list' AND o.step = 'each' AND o.item = -1",
        namespace,
    )
    assert [entry["n"] for entry in output] == [4 * number for number in range(count)]
    rows = attempts(store, namespace, "long-list")
    assert len(rows) == count
    assert most_at_once(rows) <= 50
    assert pods(cluster, namespace) == []

    # And the status is bounded
    assert len(json.dumps(ended["status"])) < 64 * 1024
    assert ended["status"]["truncated"] is True
