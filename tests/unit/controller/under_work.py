"""A Task under work without a cluster or a store, for rendering."""

from collections.abc import Mapping, Sequence
from typing import Any

from parley.controller.stored_values import SessionContext
from parley.controller.task_under_work import TaskUnderWork
from parley.resources.agent import AgentSpec
from parley.resources.session import SessionSpec
from parley.resources.task import TaskSpec
from pydantic import JsonValue

from tests.unit.controller.objects import agent_body, body, resource, session_body


class Values:
    """Stored values in memory; ``asked`` tells which outputs were loaded."""

    def __init__(
        self,
        outputs: Mapping[str, JsonValue] | None = None,
        items: Sequence[JsonValue] = (),
        context: dict[str, JsonValue] | None = None,
        version: int = 1,
    ) -> None:
        self._outputs = dict(outputs or {})
        self._items = list(items)
        self._context = SessionContext(context, 0 if context is None else version)
        self.asked: list[str] = []

    async def outputs(self, steps: Sequence[str]) -> dict[str, JsonValue]:
        self.asked += steps
        return {name: self._outputs.get(name) for name in steps}

    async def items(self, step: str, indexes: Sequence[int]) -> Mapping[int, JsonValue]:
        del step
        return {index: self._items[index] for index in indexes}

    async def context(self) -> SessionContext:
        return self._context


def under_work(
    *steps: dict[str, Any],
    session: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    agent: dict[str, Any] | None = None,
    **fields: Any,
) -> TaskUnderWork:
    """A task with these steps; with a session where its fields are given, else with an agent."""
    reference = {"agentRef": {"name": "support"}} if session is None else {"sessionRef": {"name": "alice"}}
    raw = body("refund", **reference, steps=list(steps), **fields)
    spec = TaskSpec.model_validate(raw["spec"])
    agent_of = agent_body()
    agent_of["spec"]["model"] = model or agent_of["spec"]["model"]
    agent_of["spec"].update(agent or {})
    session_of = None if session is None else session_body("alice", **session)
    session_spec = None if session_of is None else SessionSpec.model_validate(session_of["spec"])
    return TaskUnderWork(
        resource=resource(raw),
        spec=spec,
        steps=spec.effective_steps(),
        problems=(),
        registered=raw["spec"],
        session=resource(session_of) if session_of else None,
        session_spec=session_spec,
        speaker=next(iter(session_spec.people), None) if session_spec else None,
        agent=resource(agent_of),
        agent_name="support",
        agent_spec=AgentSpec.model_validate(agent_of["spec"]),
    )
