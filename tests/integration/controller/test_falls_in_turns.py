"""A leader that falls at any of its writes for a turn with tools: no call is made twice, and none is forgotten."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from parley.controller import call_actions, queued_tasks
from parley.kube.errors import KubeUnavailable
from parley.kube.kinds import REPLY
from parley.store import attempts

from tests.integration.controller.cluster import Cluster, Exit, Run, is_prompt
from tests.integration.controller.scripted_runner import Script
from tests.integration.controller.test_falls import Falls
from tests.integration.controller.tools import ORDERS, REPORT, SCORE, template, waiting

CALLS = [("get_order", {"number": 7}), ("score", {"number": 7}), ("report", {"city": "Riga"})]
STORE = (
    (attempts, "insert_attempt"),
    (call_actions, "answer_call"),
    (queued_tasks, "queue_task"),
    (queued_tasks, "task_queued"),
)
"""What the leader writes into the store for calls."""


def work(run: Run) -> Exit | Script:
    return [CALLS, "Done."] if is_prompt(run.body) else Exit(0, "7")


class Turn:
    """One turn after the other, each in a session of its own."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def prepare(self) -> None:
        self._cluster.behaviour = work
        await template(self._cluster)
        await self._cluster.agent(tools=[ORDERS, {**SCORE, "approval": "Required"}, REPORT])

    async def begin(self, number: int) -> None:
        self._number, self._name = number, f"turn-{number}"
        cluster = self._cluster
        self._before = len(cluster.runs), len(cluster.called), len(cluster.tasks())
        await cluster.session(f"session-{number}")
        await cluster.task(self._name, message="Go.", sessionRef={"name": f"session-{number}"})

    async def play(self) -> None:
        """Let the operator work, and fall, until the turn has ended; somebody approves what it asks."""
        replied = False
        for _ in range(6):
            try:
                await self._cluster.settle()
                if not replied and (asked := waiting(self._cluster, self._name)):
                    replied = True
                    spec = {
                        "taskRef": {"name": self._name},
                        "waitID": asked[0]["id"],
                        "by": "bob",
                        "choice": "approve",
                    }
                    await self._cluster.apply(REPLY, f"yes-{self._number}", spec)
            except KubeUnavailable:
                self._cluster.lead_anew()

    def check(self) -> None:
        cluster, (runs, called, tasks) = self._cluster, self._before
        status = cluster.status(self._name)
        assert (status["phase"], status["output"]) == ("Succeeded", "Done."), (self._number, status)
        assert [name for name, _ in cluster.called[called:]] == ["get_order"], self._number
        ran = [run for run in cluster.runs[runs:] if not is_prompt(run.body)]
        assert sorted(run.args for run in ran) == [["7"], ["Riga"]], self._number
        assert len(cluster.tasks()) == tasks + 2, self._number
        taken = next(t for t in reversed(cluster.taken) if t.request.task.name == self._name)
        results = [entry.result for entry in taken.journal if entry.call >= 0]
        (queued,) = [name for name in cluster.tasks() if name.startswith(f"{self._name}-")]
        assert results == [{"result of": "get_order"}, 7, {"task": queued}], self._number


@pytest.mark.parametrize("done", [False, True], ids=["before it is written", "after it was written"])
async def test_a_leader_may_fall_at_each_write_to_the_cluster(cluster: Cluster, done: bool) -> None:
    turn, falls, number = Turn(cluster), Falls(cluster, done=done), 0
    await turn.prepare()
    while True:
        number += 1
        falls.at(None)
        await turn.begin(number)
        falls.at(number)
        await turn.play()
        turn.check()
        if not falls.fallen:
            break
    assert number > 6, "the turn makes more writes than that"


@pytest.mark.parametrize("done", [False, True], ids=["before it is written", "after it was written"])
async def test_a_leader_may_fall_at_each_write_to_the_store(
    cluster: Cluster, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, number = Turn(cluster), 0
    await turn.prepare()
    while True:
        number += 1
        await turn.begin(number)
        with _falling(monkeypatch, number, done=done) as fallen:
            await turn.play()
        turn.check()
        if not fallen:
            break
    assert number > 6, "the turn makes more writes than that"


@contextmanager
def _falling(monkeypatch: pytest.MonkeyPatch, number: int, *, done: bool) -> Iterator[list[str]]:
    """Let the leader fall at this write to the store; yields its name once it did."""
    fallen: list[str] = []
    left = [number]

    def unsteady(name: str, write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def fall(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            falls = left[0] == 0
            written = None if falls and not done else await write(*arguments, **named)
            if falls:
                fallen.append(name)
                raise KubeUnavailable(0, "Timeout", "the leader falls here")
            return written

        return fall

    with monkeypatch.context() as patch:
        for module, name in STORE:
            patch.setattr(module, name, unsteady(name, getattr(module, name)))
        yield fallen
