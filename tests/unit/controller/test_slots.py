"""Who may work at once: fair among those that wait, never more than allowed, and no place given blindly."""

from datetime import timedelta

import pytest
from parley.controller.slots import Claim, Limit, Slots
from parley.resources.reasons import Reason

from tests.unit.controller.objects import NAMESPACE
from tests.unit.controller.records import NOW


class Story:
    """Tasks named by the minute they were made in; ``woken`` are those that were told of a place."""

    def __init__(self, **places: int | None) -> None:
        self.places = places
        self.woken: list[str] = []
        self.slots = Slots(lambda namespace, name: self.woken.append(f"{namespace}/{name}"))
        self.working: set[int] = set()

    def claim(self, minute: int, *pools: str) -> Claim:
        names = pools or tuple(self.places)
        limits = tuple(Limit(f"Agent {pool}", NAMESPACE, self.places[pool]) for pool in names)
        return Claim(f"uid-{minute}", NAMESPACE, f"t{minute}", NOW + timedelta(minutes=minute), limits)

    def plan(self, minute: int, *pools: str) -> str | None:
        """A task has work to start; returns why it cannot."""
        claim, holds = self.claim(minute, *pools), minute in self.working
        hold = self.slots.ask(claim, holds=holds)
        starts = hold is None and not holds
        self.slots.settle(claim, starts=starts, holds=holds, wants=hold is not None)
        if starts:
            self.working.add(minute)
        if hold is not None:
            assert hold.reason is Reason.CONCURRENCY_LIMITED
        return hold.message if hold else None

    def wait(self, minute: int, *pools: str) -> None:
        """A task has nothing to start and nothing running: it waits for a person, sleeps, is suspended."""
        self.working.discard(minute)
        claim = self.claim(minute, *pools)
        self.slots.ask(claim, holds=False)
        self.slots.settle(claim, starts=False, holds=False, wants=False)

    def taken(self) -> list[str]:
        told, self.woken[:] = sorted(set(self.woken)), []
        return told


def test_no_more_than_allowed_work_at_once() -> None:
    story = Story(support=2)

    assert [story.plan(minute) for minute in range(4)] == [
        None,
        None,
        "1st of 1 in the queue of Agent support, which has 2 at once",
        "2nd of 2 in the queue of Agent support, which has 2 at once",
    ]


def test_the_oldest_is_told_of_a_place_and_gets_it_whoever_asks_first() -> None:
    story = Story(support=1)
    for minute in (0, 3, 1, 2):
        story.plan(minute)

    story.wait(0)

    assert story.taken() == [f"{NAMESPACE}/t1"]
    assert story.plan(3) == "3rd of 3 in the queue of Agent support, which has 1 at once"
    assert story.plan(1) is None


def test_a_task_that_waits_for_a_person_gives_its_place_away_and_queues_again() -> None:
    story = Story(support=1)
    story.plan(0)
    story.plan(1)

    story.wait(0)
    assert story.plan(1) is None
    assert story.plan(0) == "1st of 1 in the queue of Agent support, which has 1 at once"

    story.slots.forget("uid-1")

    assert story.taken()[-1:] == [f"{NAMESPACE}/t1"] or story.plan(0) is None
    assert story.plan(0) is None


def test_between_two_steps_an_older_task_goes_first() -> None:
    """A chain does not keep its place for ever: whoever is older and waits has it next."""
    story = Story(support=1)
    story.plan(5)
    story.plan(1)

    story.working.discard(5)

    assert story.plan(5) is not None
    assert story.taken() == [f"{NAMESPACE}/t1"]
    assert story.plan(1) is None


def test_a_task_that_holds_a_place_keeps_it() -> None:
    story = Story(support=1)
    story.plan(5)
    story.plan(1)

    assert story.plan(5) is None
    assert story.plan(1) is not None


def test_a_task_needs_a_place_in_each_of_its_pools_and_holds_nobody_up() -> None:
    """The namespace has places; that the first in its queue waits for its agent is not the others' business."""
    story = Story(support=1, team=2, other=1)
    assert story.plan(0, "support", "team") is None
    assert story.plan(1, "support", "team") == "1st of 1 in the queue of Agent support, which has 1 at once"

    assert story.plan(2, "other", "team") is None
    assert story.plan(3, "other", "team") is not None


def test_without_a_limit_nobody_waits_and_yet_the_tasks_are_counted() -> None:
    story = Story(support=None)
    assert [story.plan(minute) for minute in range(3)] == [None, None, None]

    story.places["support"] = 2

    assert story.plan(3) is not None, "the limit came later"


def test_a_lower_limit_takes_nothing_away() -> None:
    story = Story(support=2)
    story.plan(0)
    story.plan(1)
    story.places["support"] = 1

    assert story.plan(1) is None
    story.wait(1)
    assert story.plan(2) is not None
    story.wait(0)
    assert story.plan(2) is None


def test_a_new_leader_gives_no_place_before_it_knows_who_works() -> None:
    story = Story(support=1)
    story.working.add(7)
    story.slots.expect(["uid-7", "uid-8"])

    assert story.plan(1) == "waits until the operator knows which tasks are running"
    assert story.plan(7) is None
    assert story.taken() == []
    story.slots.forget("uid-8")

    assert story.plan(1) == "1st of 1 in the queue of Agent support, which has 1 at once"
    story.wait(7)
    assert f"{NAMESPACE}/t1" in story.taken()


def test_when_all_are_known_who_waits_is_told() -> None:
    story = Story(support=1)
    story.slots.expect(["uid-7"])
    story.plan(1)

    story.wait(7)

    assert story.taken() == [f"{NAMESPACE}/t1"]


def test_a_task_that_went_while_it_waited_is_forgotten() -> None:
    story = Story(support=1)
    for minute in range(3):
        story.plan(minute)

    story.slots.forget("uid-1")
    story.wait(0)

    assert story.taken() == [f"{NAMESPACE}/t2"]


@pytest.mark.parametrize("places", [1, 3])
def test_a_crowd_is_served_in_order(places: int) -> None:
    story = Story(support=places)
    for minute in reversed(range(30)):
        story.plan(minute)
    served = list(story.working)

    while story.working:
        done = min(story.working)
        story.working.discard(done)
        story.slots.forget(f"uid-{done}")
        for name in story.taken():
            minute = int(name.rpartition("/t")[2])
            if minute not in story.working and story.plan(minute) is None:
                served.append(minute)
        assert len(story.working) <= places

    assert sorted(served) == list(range(30))
    assert served[places:] == sorted(served[places:])


def test_nobody_waits_for_a_task_that_cannot_be_planned() -> None:
    """Given one that works and two that wait, when they cannot be planned, one keeps its place and one its wait ends."""
    story = Story(support=1)
    story.plan(0)
    story.working.add(0)
    for minute in (0, 1, 2):
        story.plan(minute)
    story.slots.expect(["uid-9"])

    for uid in ("uid-0", "uid-1", "uid-9"):
        story.slots.pass_over(uid)

    assert story.plan(2) == "1st of 1 in the queue of Agent support, which has 1 at once"


def test_the_last_that_was_waited_for_is_told_of_its_own_place() -> None:
    """Nobody else plans after it, and else it would look again only when it shows its place anew."""
    story = Story(support=1)
    story.slots.expect(["uid-1", "uid-2"])
    story.slots.forget("uid-1")

    assert story.plan(2) == "waits until the operator knows which tasks are running"

    assert story.taken() == [f"{NAMESPACE}/t2"]
    assert story.plan(2) is None
