"""Agents and TaskTemplates say whether they can be used; an Agent also how much it is."""

from typing import Any, cast

import pytest
from parley.controller.context import AGENT_KEY, TEMPLATE_KEY
from parley.controller.queue import Key
from parley.controller.sights import Sights
from parley.controller.spec_reconciler import Counts, SpecReconciler
from parley.controller.workers import Workers
from parley.kube.kinds import AGENT, TASK_TEMPLATE
from parley.resources.agent import AgentSpec, AgentStatus
from parley.store.errors import StoreUnavailable

from tests.fake_kube import FakeKube
from tests.kstatus import kstatus
from tests.status_schema import status_problems
from tests.unit.controller.contexts import storeless
from tests.unit.controller.objects import NAMESPACE, agent_body, body

GOOD = {"steps": [{"name": "only", "container": {"image": "i", "args": ["{{ inputs.order }}"]}}]}
SCHEMA = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}


async def status_of(kube: FakeKube, **spec: Any) -> dict[str, Any]:
    made = body("refund", **spec)
    kube.objects["TaskTemplate", NAMESPACE, "refund"] = made
    kube._stored("ADDED", TASK_TEMPLATE, made)
    context = storeless(kube)
    Sights(context).see(TASK_TEMPLATE, made, False)
    reconcile = Workers(context)._by_kind[TEMPLATE_KEY]
    await reconcile(NAMESPACE, "refund")
    await reconcile(NAMESPACE, "refund")
    return cast("dict[str, Any]", kube.objects["TaskTemplate", NAMESPACE, "refund"])


async def test_a_sound_template_is_ready_and_said_so_once() -> None:
    kube = FakeKube()

    template = await status_of(kube, task=GOOD, inputSchema=SCHEMA)

    assert kstatus(template).status == "Current"
    assert not status_problems("tasktemplates", template["status"])
    assert [request.verb for request in kube.requests] == ["patch"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"task": GOOD, "inputSchema": {"type": "strin"}}, "spec.inputSchema.type"),
        ({"task": {"steps": [{"name": "a"}]}}, "spec.task.steps[0]"),
        (
            {"task": {"steps": [{"name": "a", "container": {"image": "i", "args": ["{{ nowhere.x }}"]}}]}},
            "spec.task.steps[0].container.args[0]",
        ),
        ({"task": "text"}, "spec.task"),
    ],
)
async def test_what_is_wrong_is_named(spec: dict[str, Any], says: str) -> None:
    template = await status_of(FakeKube(), **spec)

    assert kstatus(template).status == "Failed"
    (stalled,) = (c for c in template["status"]["conditions"] if c["type"] == "Stalled")
    assert stalled["reason"] == "InvalidSpec"
    assert stalled["message"].startswith(says), stalled["message"]
    assert not status_problems("tasktemplates", template["status"])


class Counted:
    """An agent whose counts a test sets, in a cluster where time passes as a test says."""

    def __init__(self, **spec: Any) -> None:
        self.kube, self.now, self.failing = FakeKube(), 1000.0, False
        self.counts: dict[str, object] = {"sessions": 0, "active_tasks": 0}
        made = agent_body("support", **spec)
        self.kube.objects["Agent", NAMESPACE, "support"] = made
        self.context = storeless(self.kube)
        self.sights = Sights(self.context)
        self.kube.on_change = lambda change, kind, body: self.sights.see(kind, body, change == "DELETED")
        self.kube._stored("ADDED", AGENT, made)
        self.reconciler = SpecReconciler(
            self.context,
            (AGENT, AGENT_KEY),
            self.context.projection.agents,
            (AgentSpec, AgentStatus),
            "the agent can be used",
            self._count,
            lambda: self.now,
        )

    async def _count(self, _: object) -> Counts:
        if self.failing:
            raise StoreUnavailable("the database is away")
        return dict(self.counts)

    async def look(self) -> dict[str, Any]:
        await self.reconciler.reconcile(NAMESPACE, "support")
        return self.status

    @property
    def status(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.kube.objects["Agent", NAMESPACE, "support"]).get("status", {})

    @property
    def writes(self) -> int:
        return len([request for request in self.kube.requests if request.verb == "patch"])

    @property
    def wakes(self) -> dict[Key, float]:
        return self.context.queue._wakes


async def test_an_agent_shows_what_is_counted() -> None:
    agent = Counted()
    agent.counts = {"sessions": 2, "active_tasks": 1}

    status = await agent.look()

    assert (status["sessions"], status["activeTasks"]) == (2, 1)
    assert kstatus({"metadata": {"generation": 1}, "status": status}).status == "Current"
    assert not status_problems("agents", status)


async def test_counts_alone_are_written_once_in_ten_seconds() -> None:
    agent = Counted()
    await agent.look()
    for number in range(1, 20):
        agent.counts["active_tasks"] = number
        agent.now += 0.5
        await agent.look()
    assert agent.writes == 1
    assert set(agent.wakes) == {Key(AGENT_KEY, NAMESPACE, "support")}, "and it is looked at again"

    agent.now += 0.5
    assert (await agent.look())["activeTasks"] == 19
    assert agent.writes == 2


async def test_whether_it_can_be_used_is_written_at_once() -> None:
    agent = Counted()
    await agent.look()
    agent.kube.edit(
        AGENT, NAMESPACE, "support", lambda body: body.update(spec={"model": {"provider": "OpenAI"}})
    )

    status = await agent.look()

    assert {each["type"]: each["status"] for each in status["conditions"]} == {
        "Ready": "False",
        "Stalled": "True",
    }


async def test_while_the_store_is_away_an_agent_still_says_whether_it_can_be_used() -> None:
    agent = Counted()
    agent.counts["active_tasks"] = 3
    await agent.look()
    agent.failing = True
    agent.kube.edit(
        AGENT, NAMESPACE, "support", lambda body: body.update(spec={"model": {"provider": "OpenAI"}})
    )

    with pytest.raises(StoreUnavailable):
        await agent.look()

    assert agent.status["activeTasks"] == 3, "what was counted last stands"
    assert kstatus({"metadata": {"generation": 2}, "status": agent.status}).status == "Failed"
