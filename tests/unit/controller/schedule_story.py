"""A Schedule in a cluster in memory; the store is a script that remembers slots and ends."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from parley.controller import scheduled_tasks
from parley.controller.context import Context
from parley.controller.schedule_reconciler import ScheduleReconciler
from parley.controller.sights import Sights
from parley.kube.client import JsonObject
from parley.kube.events import Transition
from parley.kube.kinds import SCHEDULE, TASK, Kind
from parley.resources.schedule import RUN_NOW_ANNOTATION

from tests.fake_kube import FakeKube
from tests.unit.controller.contexts import storeless
from tests.unit.controller.objects import NAMESPACE, body
from tests.unit.controller.records import record

MADE_AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
"""When the objects of the tests were created."""
ONE_O_CLOCK = "hourly-0029923980"
TWO_O_CLOCK = "hourly-0029924040"
TASK_SPEC = {"steps": [{"name": "only", "container": {"image": "i"}}]}
METADATA = {"labels": {"report": "daily"}, "annotations": {"example.com/owner": "Maria"}}
SPEC = {"schedule": "0 * * * *", "taskTemplate": {"metadata": METADATA, "spec": TASK_SPEC}}


class Story:
    """A Schedule ``hourly``, made at 12:00; ``clock`` is the operator's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = MADE_AT + timedelta(minutes=1)
        self.kube = FakeKube()
        self.context: Context = storeless(self.kube)
        self.told: list[Transition] = []
        self.context.tell = self.told.append
        self.kube.on_change = self._watched
        self.slots: dict[str, str] = {}
        self.confirmed: set[str] = set()
        self.ended: list[tuple[str, str]] = []
        self.registered = True
        for name in ("take_slot", "confirm_slot", "end_task", "load_task"):
            monkeypatch.setattr(scheduled_tasks, name, getattr(self, name))
        self.reconciler = ScheduleReconciler(self.context, lambda: self.clock)

    def _watched(self, change: str, kind: Kind, seen: JsonObject) -> None:
        cast("dict[str, Any]", seen["metadata"]).setdefault("creationTimestamp", self.clock.isoformat())
        Sights(self.context).see(kind, seen, change == "DELETED")

    def restart(self) -> None:
        """Another operator leads: nothing is remembered but what Kubernetes and the store have."""
        self.context = storeless(self.kube)
        self.context.tell = self.told.append
        for (kind, _, _), seen in sorted(self.kube.objects.items(), key=str):
            Sights(self.context).see({"Task": TASK, "Schedule": SCHEDULE}[kind], seen, False)
        self.reconciler = ScheduleReconciler(self.context, lambda: self.clock)

    def apply(self, **fields: Any) -> None:
        """Make the Schedule as a user does."""
        self.kube.objects["Schedule", NAMESPACE, "hourly"] = made = body("hourly", **(SPEC | fields))
        self.kube._stored("ADDED", SCHEDULE, made)

    def annotate(self, text: str) -> None:
        def change(stored: JsonObject) -> None:
            cast("dict[str, Any]", stored["metadata"])["annotations"] = {RUN_NOW_ANNOTATION: text}

        self.kube.edit(SCHEDULE, NAMESPACE, "hourly", change)

    def change(self, **fields: Any) -> None:
        self.kube.edit(
            SCHEDULE, NAMESPACE, "hourly", lambda s: cast("dict[str, Any]", s["spec"]).update(fields)
        )

    async def at(self, time: str) -> dict[str, Any]:
        """Reconcile at a time of the day; returns the status afterwards."""
        self.clock = datetime.fromisoformat(f"2026-11-23T{time}+00:00")
        return await self.reconcile()

    async def reconcile(self) -> dict[str, Any]:
        await self.reconciler.reconcile(NAMESPACE, "hourly")
        return self.schedule["status"]

    def end(self, name: str, phase: str, **metadata: Any) -> None:
        """A Task ends, as its own reconciler says."""

        def change(stored: JsonObject) -> None:
            stored["status"] = {"phase": phase, "observedGeneration": 1}
            cast("dict[str, Any]", stored["metadata"]).update(metadata)

        self.kube.edit(TASK, NAMESPACE, name, change)

    @property
    def schedule(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.kube.objects["Schedule", NAMESPACE, "hourly"])

    @property
    def tasks(self) -> list[str]:
        return sorted(name for kind, _, name in self.kube.objects if kind == "Task")

    @property
    def notes(self) -> list[str]:
        return [transition.note for transition in self.told]

    # The store's part.

    async def take_slot(self, _conn: Any, _fence: Any, uid: str, slot: str, task_name: str) -> bool:
        assert uid == "uid-of-hourly"
        return self.slots.setdefault(slot, task_name) == task_name and slot not in self.confirmed

    async def confirm_slot(self, _conn: Any, _fence: Any, _uid: str, slot: str) -> None:
        assert slot in self.slots
        self.confirmed.add(slot)

    async def end_task(
        self, _conn: Any, _fence: Any, uid: str, *, phase: str, message: str, **_: Any
    ) -> bool:
        assert phase == "Cancelled"
        if self.registered:
            self.ended.append((uid, message))
        return self.registered

    async def load_task(self, _conn: Any, uid: str) -> Any:
        return record(uid=uid) if self.registered else None


def condition(status: dict[str, Any], kind: str = "Ready") -> tuple[str, str, str]:
    (found,) = (c for c in status["conditions"] if c["type"] == kind)
    return found["status"], found["reason"], found["message"]
