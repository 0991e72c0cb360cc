"""A Task under reconciliation whose rows come from a script; what the plan does with them is tested with the engine."""

import copy
from dataclasses import replace
from typing import Any, cast

import pytest
from parley.controller import observation
from parley.controller.context import Context
from parley.controller.session_reconciler import SessionReconciler
from parley.controller.sights import Sights
from parley.controller.task_reconciler import TaskReconciler
from parley.kube.client import JsonObject
from parley.kube.events import Transition
from parley.kube.kinds import AGENT, JOB, POD, SESSION, TASK, Kind
from parley.store.records import OutputRecord, TaskEnd, TaskRecord

from tests.fake_kube import FakeKube
from tests.unit.controller.contexts import storeless, woken
from tests.unit.controller.objects import NAMESPACE, agent_body, sample, session_body, task_body
from tests.unit.controller.records import NOW, RUNNING, UID

STEPS = [{"name": "step", "container": {"image": "i"}}]
ENDED = TaskEnd("Succeeded", "Succeeded", "all steps are done", OutputRecord("ok"), NOW)
DONE = replace(RUNNING, state="Succeeded", reason="Succeeded", ended_at=NOW)
IN_SESSION = {"session_uid": "uid-of-alice"}


class Story:
    """A Task ``exit-0`` with rows, its Job and pod running; ``log`` has the writes in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: TaskRecord, session: str | None = None) -> None:
        self.rows = rows
        self.kube = FakeKube()
        self.context: Context = storeless(self.kube)
        self.log: list[str] = []
        self.told: list[Transition] = []
        self.context.tell = self.told.append
        self.kube.on_change = self._changed
        reference: dict[str, Any] = {"sessionRef": {"name": session}} if session else {}
        self.see(task_body("exit-0", uid=UID) | {"spec": {"steps": STEPS, **reference}})
        for kind, made in ((AGENT, agent_body()), (SESSION, session_body("alice"))):
            Sights(self.context).see(kind, made, False)
        for kind, name in ((JOB, "job-new"), (POD, "pod-running")):
            Sights(self.context).see(kind, sample(name), False)
        self.log.clear()
        self.asked: list[str] = []
        monkeypatch.setattr(observation, "load_task", self._load)
        monkeypatch.setattr(observation, "register_task", self._register)
        self.reconciler = TaskReconciler(self.context, cast("SessionReconciler", self))

    def see(self, made: dict[str, Any]) -> None:
        self.kube.objects["Task", NAMESPACE, "exit-0"] = copy.deepcopy(made)
        self.kube._version = 100
        Sights(self.context).see(TASK, made, False)

    async def reconcile(self) -> dict[str, Any]:
        """Return the status afterwards."""
        await woken(self.context)
        await self.reconciler.reconcile(NAMESPACE, "exit-0")
        return cast("dict[str, Any]", self.kube.objects["Task", NAMESPACE, "exit-0"]["status"])

    def _changed(self, _: str, kind: Kind, made: JsonObject) -> None:
        self.log.append(f"{kind.kind} {cast('JsonObject', made['metadata'])['name']}")

    # The session reconciler's part.

    async def register(self, *_: object) -> None:
        self.log.append("register the session")

    async def show(self, namespace: str, name: str) -> None:
        self.log.append(f"show session {namespace}/{name}")

    async def _load(self, _: object, uid: str) -> TaskRecord:
        assert uid == UID
        self.asked.append("load")
        return self.rows

    async def _register(self, *_: object, uid: str, **__: object) -> TaskRecord:
        assert uid == UID
        self.asked.append("register")
        return self.rows


class Rendered:
    """An evaluator for templates that hold none."""

    async def render(self, fields: dict[str, Any], _: object) -> dict[str, Any]:
        return {path: field.source for path, field in fields.items()}
