"""A session's status is written also when it holds what the API server cannot."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from parley.controller import session_reconciler
from parley.controller.session_keeping import written_retention
from parley.controller.session_reconciler import SessionReconciler
from parley.controller.sights import Sights
from parley.kube.errors import Invalid
from parley.kube.kinds import AGENT, SESSION
from parley.store.session_records import SessionSummary
from prometheus_client import REGISTRY

from tests.fake_kube import FakeKube
from tests.unit.controller.contexts import storeless
from tests.unit.controller.objects import NAMESPACE, agent_body, session_body

HELD = SessionSummary(
    last_sequence=0,
    messages=0,
    last_time=None,
    recent=[],
    input_tokens=0,
    output_tokens=0,
    tasks_active=0,
    tasks_succeeded=0,
    tasks_failed=0,
)


@asynccontextmanager
async def _leading(*_: object) -> AsyncGenerator[None]:
    yield


async def test_a_context_that_the_api_server_cannot_hold_hides_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def summary(*_: object, **__: object) -> SessionSummary:
        retention = written_retention({})
        return replace(HELD, context={"n": 10**400}, context_version=1, retention=retention)

    async def register(*_: object, **__: object) -> None: ...

    monkeypatch.setattr(session_reconciler, "session_summary", summary)
    monkeypatch.setattr(session_reconciler, "register_session", register)
    monkeypatch.setattr(session_reconciler, "leading", _leading)
    kube = FakeKube()
    context = storeless(kube)
    Sights(context).see(AGENT, agent_body(), False)
    made: dict[str, Any] = session_body("alice")
    kube.objects["Session", NAMESPACE, "alice"] = made
    Sights(context).see(SESSION, made, False)
    kube.fail(Invalid(400, "BadRequest", "number out of range"), verb="patch")

    await SessionReconciler(context).show(NAMESPACE, "alice")

    assert made["status"]["phase"] == "Active"
    assert "context" not in made["status"]
    assert made["status"]["contextTruncated"] is True


async def test_sessions_are_counted_by_phase() -> None:
    context = storeless()
    for name, phase in (("alice", "Dormant"), ("bob", "Dormant"), ("carl", None)):
        made: dict[str, Any] = session_body(name)
        made["status"] = {"phase": phase} if phase else {}
        Sights(context).see(SESSION, made, False)
    SessionReconciler(context)

    (family,) = (each for each in REGISTRY.collect() if each.name == "parley_sessions")

    assert {(each.labels["phase"], each.value) for each in family.samples} == {("Dormant", 2), ("Pending", 1)}
