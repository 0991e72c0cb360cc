"""A Task that asks: what is written, told, counted and shown in its session, and when."""

import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from parley.controller.context import Context
from parley.controller.resource import Resource
from parley.controller.session_reconciler import SessionReconciler
from parley.controller.sights import Sights
from parley.controller.task_status import TaskStatusWriter
from parley.controller.task_under_work import TaskUnderWork
from parley.engine.plan import Plan, make_plan
from parley.engine.state import Attempt, Child, StepMark, Surroundings, TaskState, Wait
from parley.kube.events import Transition
from parley.kube.kinds import SESSION, TASK
from parley.resources.task import TaskSpec
from prometheus_client import REGISTRY

from tests.fake_kube import FakeKube
from tests.unit.controller.contexts import storeless
from tests.unit.controller.objects import NAMESPACE, body, session_body
from tests.unit.controller.records import NOW

ASK = {"name": "confirm", "needs": [], "wait": {"question": "Refund?", "choices": ["approve", "reject"]}}
AND_ASK = {"name": "really", "needs": [], "wait": {"question": "Really?"}}
WORK = {"name": "work", "needs": [], "container": {"image": "i"}}
ENTERED = StepMark("Entered", entered_at=NOW)
ANSWERED = StepMark("Succeeded", entered_at=NOW, ended_at=NOW)


def wait(step: str, number: int, choices: tuple[str, ...] = ()) -> Wait:
    return Wait(
        id=f"id-{number}",
        step=step,
        item=-1,
        kind="Question",
        question="Refund?" if choices else "Really?",
        choices=choices,
        since=NOW + timedelta(seconds=number),
        deadline=None,
        state="Open",
    )


FIRST, SECOND = wait("confirm", 1, ("approve", "reject")), wait("really", 2)
RUNS = Attempt(
    id=1,
    step="work",
    item=-1,
    number=1,
    job="work-1",
    phase="Running",
    deadline=NOW + timedelta(hours=1),
    created_at=NOW,
)


class Story:
    """A Task ``refund`` of the session ``alice``; ``log`` has what was shown, in order."""

    def __init__(self, *steps: dict[str, Any], **metadata: Any) -> None:
        self.kube = FakeKube()
        self.context: Context = storeless(self.kube)
        self.told: list[Transition] = []
        self.context.tell = self.told.append
        self.log: list[str] = []
        made = body("refund", steps=list(steps), sessionRef={"name": "alice"})
        made["metadata"].update(metadata)
        self.kube.objects["Task", NAMESPACE, "refund"] = copy.deepcopy(made)
        self.kube._version = 10
        Sights(self.context).see(TASK, made, False)
        Sights(self.context).see(SESSION, session_body("alice"), False)
        self.kube.on_change = lambda _, kind, __: self.log.append(kind.kind)
        self.writer = TaskStatusWriter(self.context, cast("SessionReconciler", _Sessions(self.log)))

    async def show(self, *attempts: Attempt, **rows: Any) -> dict[str, Any]:
        """Show the plan for these rows; returns the status that stands then."""
        resource = cast("Resource", self.context.projection.tasks.get(NAMESPACE, "refund"))
        spec = TaskSpec.model_validate(resource.spec)
        task = TaskUnderWork(resource, spec, spec.effective_steps(), (), resource.spec)
        task.session = self.context.projection.sessions.get(NAMESPACE, "alice")
        state = TaskState(now=NOW, created_at=NOW, attempts=attempts, **rows)
        plan: Plan = make_plan(spec, task.steps, state, Surroundings())
        # The writer's caller has acted until nothing is left to do.
        await self.writer.show(task, replace(plan, actions=()), state, None)
        return cast("dict[str, Any]", self.kube.objects["Task", NAMESPACE, "refund"]["status"])

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(transition.reason, transition.note) for transition in self.told]


class _Sessions:
    def __init__(self, log: list[str]) -> None:
        self._log = log

    async def show(self, _namespace: str, name: str) -> None:
        self._log.append(f"Session {name}")


@pytest.fixture
def story() -> Story:
    return Story(ASK, AND_ASK, WORK)


def waiting() -> dict[str, float]:
    (family,) = (f for f in REGISTRY.collect() if f.name == "parley_tasks_waiting")
    return {sample.labels["namespace"]: sample.value for sample in family.samples}


async def test_each_question_is_told_once_with_how_to_answer(story: Story) -> None:
    marks = {"confirm": ENTERED}
    await story.show(RUNS, marks=marks, waits=(FIRST,))
    await story.show(RUNS, marks=marks, waits=(FIRST,))
    await story.show(RUNS, marks={**marks, "really": ENTERED}, waits=(FIRST, SECOND))

    questions = [note for reason, note in story.events if reason == "WaitingForInput"]
    assert questions == [
        "step confirm asks: Refund? (choose one of approve, reject; waitID id-1)",
        "step really asks: Really? (give a value; waitID id-2)",
    ]
    assert {t.type for t in story.told if t.reason == "WaitingForInput"} == {"Normal"}
    assert len({t.key for t in story.told}) == len(story.told), "each stays an Event of its own"


async def test_a_task_that_only_waits_now_says_nothing_new(story: Story) -> None:
    marks = {"confirm": ENTERED, "really": ANSWERED}
    await story.show(RUNS, marks=marks, waits=(FIRST,))
    before = list(story.events)
    done = replace(RUNS, phase="Succeeded", ended_at=NOW)

    status = await story.show(done, marks=marks, waits=(FIRST,))

    assert status["phase"] == "WaitingForInput"
    assert story.events == before


async def test_the_session_is_shown_when_somebody_begins_to_wait_and_when_nobody_does_any_more(
    story: Story,
) -> None:
    story.log.clear()
    await story.show(RUNS, marks={"confirm": ENTERED}, waits=(FIRST,))
    assert story.log == ["Session alice", "Task"]

    story.log.clear()
    await story.show(RUNS, marks={"confirm": ENTERED, "really": ENTERED}, waits=(FIRST, SECOND))
    assert story.log == ["Task"], "it waits already"

    story.log.clear()
    await story.show(RUNS, marks={"confirm": ANSWERED, "really": ANSWERED})
    assert story.log == ["Session alice", "Task"]


async def test_a_metric_counts_the_tasks_that_wait(story: Story) -> None:
    await story.show(RUNS)
    assert waiting() == {}

    await story.show(RUNS, marks={"confirm": ENTERED}, waits=(FIRST,))
    assert waiting() == {NAMESPACE: 1}

    Sights(story.context).see(TASK, story.kube.objects["Task", NAMESPACE, "refund"], True)
    assert waiting() == {}, "a task that is gone waits no more"


async def test_a_child_names_its_parent() -> None:
    owner = {"kind": "Task", "name": "big", "uid": "uid-of-big", "controller": True}
    story = Story(WORK, ownerReferences=[owner])

    status = await story.show(RUNS)

    assert status["parent"] == "big"


async def test_a_task_of_a_schedule_has_no_parent() -> None:
    owner = {"kind": "Schedule", "name": "hourly", "uid": "uid-of-hourly", "controller": True}
    story = Story(WORK, ownerReferences=[owner])

    assert "parent" not in await story.show(RUNS)


async def test_a_parent_names_its_child_and_a_step_that_may_fail_is_done() -> None:
    sub = {"name": "sub", "needs": [], "task": {"templateRef": {"name": "t"}}}
    may_fail = {"name": "may", "needs": [], "continueOnError": True, "wait": {"question": "?"}}
    story = Story(sub, may_fail)
    attempt = replace(RUNS, step="sub", job="refund-sub-0123456789", phase="Open")
    failed = StepMark("Failed", reason=None, message="nobody replied", entered_at=NOW, ended_at=NOW)

    status = await story.show(
        attempt, marks={"may": failed}, children={attempt.job: Child(attempt.job, "uid-of-child")}
    )

    assert status["steps"][0]["task"] == "refund-sub-0123456789"
    assert status["progress"] == "1/2"
