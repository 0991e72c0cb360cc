"""A leader that falls at any of its writes: another goes on, nothing runs twice, and the end is the same."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from parley.kube.errors import KubeUnavailable

from tests.integration.controller.cluster import Cluster, Exit, Run

STEPS: tuple[dict[str, Any], ...] = (
    {"name": "list", "container": {"image": "i"}},
    {
        "name": "each",
        "forEach": {"items": "{{ steps.list.output }}", "parallelism": 2},
        "container": {"image": "i", "args": ["{{ item }}"]},
    },
    {"name": "aside", "needs": ["list"], "when": "{{ false }}", "container": {"image": "i"}},
    {
        "name": "child",
        "needs": ["each", "aside"],
        "task": {"spec": {"steps": [{"name": "inner", "container": {"image": "i"}}]}},
    },
)
OUTPUT = {
    "each": "{{ steps.each.output }}",
    "aside": "{{ steps.aside.output }}",
    "child": "{{ steps.child.output }}",
}


def work(run: Run) -> Exit:
    return Exit(message={"list": '["a", "b"]', "each": f"did {run.args}", "inner": "inner"}[run.step])


class Falls:
    """Lets the n-th write of the operator fail, before it is done or after, when nobody hears the answer."""

    def __init__(self, cluster: Cluster, *, done: bool) -> None:
        self._done = done
        self._left: int | None = None
        self.fallen = False
        for name in ("create", "apply_status"):
            setattr(cluster.kube, name, self._unsteady(getattr(cluster.kube, name)))

    def at(self, number: int | None) -> None:
        self._left, self.fallen = number, False

    def _unsteady(self, write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def unsteady(kind: Any, *arguments: Any, **named: Any) -> Any:
            if self._left is None or kind.kind not in {"Job", "Task"}:
                return await write(kind, *arguments, **named)
            self._left -= 1
            falls = self._left == 0
            if falls:
                self._left, self.fallen = None, True
            written = None if falls and not self._done else await write(kind, *arguments, **named)
            if falls:
                raise KubeUnavailable(0, "Timeout", "the leader falls here")
            return written

        return unsteady


@pytest.mark.parametrize("done", [False, True], ids=["before it is written", "after it was written"])
async def test_a_leader_may_fall_at_each_of_its_writes(cluster: Cluster, done: bool) -> None:
    cluster.behaviour = work
    falls = Falls(cluster, done=done)
    number = 0
    while True:
        number += 1
        name, before = f"mixed-{number}", len(cluster.runs)
        falls.at(None)
        await cluster.task(name, *STEPS, output=OUTPUT)
        falls.at(number)
        for _ in range(2):
            try:
                await cluster.settle()
            except KubeUnavailable:
                cluster.lead_anew()

        status = cluster.status(name)
        assert status["phase"] == "Succeeded", (number, status)
        assert status["output"] == {"each": ["did ['a']", "did ['b']"], "aside": None, "child": "inner"}
        ran = sorted((run.step, *run.args) for run in cluster.runs[before:])
        assert ran == [("each", "a"), ("each", "b"), ("inner",), ("list",)], f"write {number}"
        if not falls.fallen:
            break
    assert number > 10, "the task makes more writes than that"
