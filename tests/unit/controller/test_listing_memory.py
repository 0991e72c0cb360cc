"""What ended tasks cost: they stay until somebody deletes them, and the operator has 768 MiB."""

import gc
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from parley.controller import listing
from parley.controller.listing import take_in_everything
from parley.controller.sights import Sights
from parley.kube.client import CHUNK_SIZE, Page
from parley.kube.kinds import JOB, POD, TASK, Kind

from tests.fake_kube import FakeKube
from tests.unit.controller.contexts import storeless
from tests.unit.controller.objects import NAMESPACE, sample, task_body

TASKS = 10_000
WORKLOADS = 3
MOST_KEPT = 1_000
"""Bytes of a task."""
MOST_AT_ONCE = 30_000_000
"""Bytes while the lists are read: some pages, and the uids of one kind."""


class BigCluster(FakeKube):
    """Ended tasks with their Jobs and pods, each page made when it is asked for, as from a real API server."""

    async def pages(
        self,
        kind: Kind,
        **_: object,
    ) -> AsyncIterator[Page]:
        total = {TASK: TASKS, JOB: TASKS * WORKLOADS, POD: TASKS * WORKLOADS}.get(kind, 0)
        for start in range(0, total, CHUNK_SIZE):
            numbers = range(start, min(total, start + CHUNK_SIZE))
            yield Page([_make(kind, number) for number in numbers], "1", first=start == 0)


WORKLOAD = {JOB: sample("job-complete"), POD: sample("pod-exit-0")}


def _uid(kind: Kind, number: int) -> str:
    return f"{kind.plural}-{number:031d}"


def _make(kind: Kind, number: int) -> dict[str, Any]:
    if kind is TASK:
        inputs = {f"field-{each}-of-{number}": f"{number}" * 20 for each in range(5)}
        status = {"phase": "Succeeded", "output": {**inputs}, "conditions": [{"message": f"{number}" * 50}]}
        return task_body(
            f"task-{number}",
            session=f"session-{number % 50}",
            uid=_uid(TASK, number),
            inputs=inputs,
            status=status,
        )
    made = WORKLOAD[kind]
    metadata, owner = made["metadata"], number // WORKLOADS
    own = {"uid": _uid(kind, number), "name": f"task-{owner}-{number}"}
    marks = {"parley.dev/task": f"task-{owner}", "parley.dev/task-uid": _uid(TASK, owner)}
    return {**made, "metadata": {**metadata, **own, "labels": {**metadata["labels"], **marks}}}


async def test_ten_thousand_ended_tasks_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_rows(*_: object) -> list[object]:
        return []

    monkeypatch.setattr(listing, "list_open", no_rows)
    context = storeless(BigCluster())
    sights = Sights(context)
    # given nothing that the collector would have to find: it takes most of the time here
    gc.disable()
    tracemalloc.start()
    try:
        await take_in_everything(context, sights)

        retained, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    # then all are known, but no more of each than is still asked of it, and never all Jobs and pods at once
    assert len(context.projection.tasks) == TASKS
    assert len(context.projection.tasks.referring_to(NAMESPACE, "session-7")) == TASKS // 50
    assert context.projection.workloads.all() == {}
    assert retained < TASKS * MOST_KEPT, f"{retained / TASKS:.0f} bytes a task"
    assert peak - retained < MOST_AT_ONCE, f"{(peak - retained) / 1e6:.1f} MB more for a while"
