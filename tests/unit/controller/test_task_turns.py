"""What a round of a task notes for its session's turns."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from parley.controller.finality import is_final
from parley.controller.sights import Sights
from parley.kube.kinds import SESSION, TASK
from parley.store.records import TurnRecord

from tests.unit.controller.contexts import woken
from tests.unit.controller.objects import NAMESPACE, body, session_body
from tests.unit.controller.records import RUNNING, UID, record
from tests.unit.controller.task_story import ENDED, IN_SESSION, Story


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Story]:
    return partial(Story, monkeypatch)


async def test_a_task_that_takes_no_turn_does_not_hold_up_the_sessions_tickets(
    story: Callable[..., Story],
) -> None:
    """Tickets wait until each open task of the session was planned: this one is, and needs none."""
    given = story(record(attempts=[RUNNING], **IN_SESSION), "alice")
    other = body("other", uid="uid-of-other", message="hello", sessionRef={"name": "alice"})
    Sights(given.context).see(TASK, other, False)

    await given.reconcile()

    tasks = given.context.projection.tasks.referring_to(NAMESPACE, "alice")
    planned = [task for task in tasks if task.name == "exit-0"]
    assert given.context.ready_steps.in_order(planned) == []
    assert "Turns alice" in await woken(given.context), "others may have waited for this first plan"


TICKET = TurnRecord("uid-of-alice", 1, UID, "exit-0", "reply", "Waiting", None, None)


@pytest.mark.parametrize(
    ("turns", "phase", "expected"),
    [
        ([TICKET], "Active", False),
        ([], "Active", True),
        ([TICKET, replace(TICKET, ticket=2, step="another")], "Active", True),
        ([TICKET], "Dormant", True),
    ],
    ids=[
        "its message has brought its ticket",
        "it needs one",
        "one is to be withdrawn",
        "its session is to wake up",
    ],
)
async def test_the_queue_is_looked_at_when_there_is_something_to_do_in_it(
    story: Callable[..., Story], turns: list[TurnRecord], phase: str, expected: bool
) -> None:
    """A chat's turn has its place already: the queue's transaction would only keep it from its start."""
    given = story(record(turns=turns, **IN_SESSION))
    given.see(body("exit-0", uid=UID, version=2, message="hello", sessionRef={"name": "alice"}))
    session = session_body("alice", version=2)
    Sights(given.context).see(SESSION, session | {"status": {"phase": phase}}, False)
    await woken(given.context)

    task = await given.reconciler._read(given.context.projection.tasks.get(NAMESPACE, "exit-0"))
    seen = await given.reconciler._observer.observe(task)
    plan, around = given.reconciler._plan(task, seen)
    news = given.reconciler._note_turns(task, plan, around)

    assert plan.ready_turns == ("reply",)
    assert (news, "Turns alice" in await woken(given.context)) == (expected, expected)


async def test_a_task_that_cannot_be_read_does_not_either(story: Callable[..., Story]) -> None:
    given = story(record(ended=replace(ENDED, phase="Failed", reason="InvalidSpec")))
    given.see(body("exit-0", uid=UID, version=2, message={"not": "text"}, sessionRef={"name": "alice"}))

    status = await given.reconcile()

    assert status["phase"] == "Failed"
    waiting = [t for t in given.context.projection.tasks.referring_to(NAMESPACE, "alice") if not is_final(t)]
    assert given.context.ready_steps.in_order(waiting) == []
