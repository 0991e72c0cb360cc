"""Which agents have work for warm runners, and for how long they have had none."""

from dataclasses import dataclass, field

from parley.controller.resource import ObjectName
from parley.controller.warm_demand import WarmDemand

from tests.unit.controller.objects import NAMESPACE, agent_body, resource, task_body

SUPPORT = resource(agent_body())
OTHER = resource(agent_body("other"))
FIRST, SECOND = (resource(task_body(name)) for name in ("first", "second"))


@dataclass
class Demand:
    now: float = 100.0
    woken: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.demand = WarmDemand(lambda _, name: self.woken.append(name), lambda: self.now)

    def heard(self) -> list[str]:
        woken, self.woken[:] = [*self.woken], []
        return woken


def test_the_first_task_and_the_end_of_the_last_are_told() -> None:
    seen = Demand()
    seen.demand.note(FIRST, SUPPORT)
    assert seen.heard() == ["support"]
    seen.demand.note(FIRST, SUPPORT)
    seen.demand.note(SECOND, SUPPORT)
    assert seen.heard() == []
    assert set(seen.demand.tasks(SUPPORT.uid)) == {
        ObjectName(NAMESPACE, "first"),
        ObjectName(NAMESPACE, "second"),
    }

    seen.demand.note(FIRST, None)
    assert seen.heard() == []
    seen.demand.forget(SECOND.uid)
    assert seen.heard() == ["support"]


def test_an_agent_is_idle_since_its_last_task() -> None:
    seen = Demand()
    seen.demand.note(FIRST, SUPPORT)
    seen.now += 50
    assert seen.demand.idle_seconds(SUPPORT.uid) is None
    seen.demand.forget(FIRST.uid)
    seen.now += 7
    assert seen.demand.idle_seconds(SUPPORT.uid) == 7

    # Work again, then none: the time begins anew
    seen.demand.note(SECOND, SUPPORT)
    seen.demand.note(SECOND, None)
    assert seen.demand.idle_seconds(SUPPORT.uid) == 0


def test_a_new_leader_counts_from_when_it_first_looks() -> None:
    seen = Demand()
    assert seen.demand.idle_seconds(SUPPORT.uid) == 0
    seen.now += 30
    assert seen.demand.idle_seconds(SUPPORT.uid) == 30


def test_a_task_that_changes_its_agent_is_work_of_one_only() -> None:
    seen = Demand()
    seen.demand.note(FIRST, SUPPORT)
    seen.demand.note(FIRST, OTHER)

    assert seen.heard() == ["support", "support", "other"]
    assert seen.demand.tasks(SUPPORT.uid) == ()
    assert seen.demand.idle_seconds(OTHER.uid) is None


def test_what_is_forgotten_twice_or_was_never_known_tells_nobody() -> None:
    seen = Demand()
    seen.demand.forget(FIRST.uid)
    seen.demand.forget_agent(SUPPORT.uid)
    seen.demand.note(FIRST, None)

    assert seen.heard() == []
