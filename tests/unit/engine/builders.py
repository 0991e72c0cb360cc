"""Short ways to write a task's rows and surroundings, and to read a plan."""

from collections.abc import Iterable
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from parley.engine.actions import (
    Action,
    AnswerCall,
    CloseAttempt,
    CreateChild,
    CreateJob,
    CreateRound,
    EndStep,
    EndTask,
    EndTurn,
    EnterStep,
    ExpireWait,
    FinishChild,
    FinishContainer,
    LookAgain,
    QueueTask,
    RefuseAttempt,
    SetSuspended,
    StartAttempt,
    StartCall,
    StartRound,
    StopJob,
)
from parley.engine.names import call_step
from parley.engine.plan import Plan, make_plan
from parley.engine.pods import JobView, PodView
from parley.engine.state import (
    Attempt,
    AttemptPhase,
    End,
    EndPhase,
    Gate,
    MarkPhase,
    StepMark,
    Surroundings,
    TaskState,
    Turn,
    Wait,
    WaitKind,
)
from parley.engine.views import StepView
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState, Step, TaskSpec

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def container(name: str = "build", **fields: Any) -> Step:
    return Step.model_validate({"name": name, "container": {"image": "img"}, **fields})


def prompt(name: str = "ask", history: str | None = None, **fields: Any) -> Step:
    return Step.model_validate({"name": name, "prompt": {"text": "Hi", "history": history}, **fields})


def step(name: str, **body: Any) -> Step:
    return Step.model_validate({"name": name, **body})


def task(*steps: Step, session: str | None = None, agent: str | None = None, **fields: Any) -> TaskSpec:
    if session:
        fields["sessionRef"] = {"name": session}
    if agent:
        fields["agentRef"] = {"name": agent}
    return TaskSpec.model_validate({"steps": list(steps), **fields})


def desired(spec: TaskSpec, state: DesiredState) -> TaskSpec:
    return spec.model_copy(update={"desired_state": state})


def attempt(
    step: str = "build",
    phase: AttemptPhase = "Open",
    number: int = 1,
    *,
    reason: Reason | None = None,
    message: str = "",
    left: timedelta = timedelta(hours=1),
    item: int = -1,
    job: str | None = None,
    **fields: Any,
) -> Attempt:
    """The ``number``-th attempt of a step, or an item; its id says all. ``left`` until its deadline."""
    of_item = f"{item}-" if item >= 0 else ""
    letter = 10 * (ord(step) - ord("a")) if len(step) == 1 else 0
    return Attempt(
        id=number * 100 + len(step) + letter + (item + 1) * 1000,
        step=step,
        item=item,
        number=number,
        job=job or f"{step}-{of_item}{number}",
        phase=phase,
        deadline=NOW + left,
        created_at=NOW - timedelta(minutes=10 - number),
        ended_at=None if phase in {"Open", "Running"} else NOW - timedelta(minutes=9 - number),
        reason=reason,
        message=message,
        **fields,
    )


def entered(items: int | None = None, **fields: Any) -> StepMark:
    """A step that was decided, and goes on."""
    return StepMark("Entered", items=items, entered_at=NOW - timedelta(minutes=10), **fields)


def marked(phase: MarkPhase, reason: Reason | None = None, **fields: Any) -> StepMark:
    """A step whose end is written down."""
    at = NOW - timedelta(minutes=9)
    return StepMark(phase, reason=reason, entered_at=at, ended_at=at, **fields)


def question(step: str = "ask", left: timedelta | None = None, **fields: Any) -> Wait:
    """An open question; ``left`` until its deadline."""
    deadline = NOW + left if left is not None else None
    values = {"item": -1, "kind": "Question", "question": "Well?", "choices": (), "state": "Open", **fields}
    return Wait(id=f"w-{step}", step=step, since=NOW, deadline=deadline, **values)


def approval(wait_id: str = "ok", left: timedelta | None = None, **fields: Any) -> Wait:
    """An open call of step ``ask`` that a person must approve."""
    values = {"call": "pay", "arguments": '{"sum":7}', "choices": ("approve", "reject"), **fields}
    return replace(
        question("ask", left), id=wait_id, kind="Approval", question="May support call pay?", **values
    )


def call(wait_id: str = "run", kind: WaitKind = "Container", **fields: Any) -> Wait:
    """An open call of step ``ask`` that the operator runs."""
    return replace(question("ask"), **{"id": wait_id, "kind": kind, "question": "", "call": "pay", **fields})


def of_call(wait: Wait, phase: AttemptPhase = "Open", number: int = 1, **fields: Any) -> Attempt:
    """The ``number``-th attempt of a call's container, in Job ``<id of the wait>-<number>``."""
    own = attempt(call_step(wait.step, wait.id), phase, number, job=f"{wait.id}-{number}", **fields)
    return replace(own, id=number * 100 + 50)


TURN = task(prompt("ask"), session="alice")
"""A turn of a session: its one step is ``ask``."""
PAUSED = attempt("ask", "Paused")
HELD = {"ask": Turn.HELD}
LATE = timedelta(seconds=-1)
"""As what is left until a deadline: it has passed."""


def for_each(parallelism: int = 2) -> dict[str, Any]:
    """Items that a template gives."""
    return {"items": "{{ x }}", "parallelism": parallelism}


def of_items(step: str, total: int, *attempts: Attempt, **fields: Any) -> TaskState:
    """Rows of a step that goes through so many items."""
    return rows(*attempts, marks={step: entered(total)}, **fields)


def case(what: str, *values: object) -> object:
    """A row of a table, by what it tells."""
    return pytest.param(*values, id=what)


def lost(times: int, step: str = "build", reason: Reason = Reason.POD_LOST) -> tuple[Attempt, ...]:
    return tuple(attempt(step, "Lost", n, reason=reason, message=f"loss {n}") for n in range(1, times + 1))


def rows(*attempts: Attempt, **fields: Any) -> TaskState:
    return TaskState(now=NOW, created_at=NOW - timedelta(minutes=10), attempts=attempts, **fields)


def ended(phase: EndPhase, reason: Reason, *attempts: Attempt, message: str = "", **fields: Any) -> TaskState:
    return rows(*attempts, end=End(phase, reason, message, fields.pop("output", None), NOW), **fields)


def pod(phase: str = "Running", name: str = "pod-x", **shown: Any) -> PodView:
    shown.setdefault("running", phase == "Running" and "exit_code" not in shown)
    return PodView(name=name, uid=f"uid-of-{name}", phase=phase, **shown)


def dead(code: int, **shown: Any) -> PodView:
    return pod("Succeeded" if code == 0 else "Failed", exit_code=code, **shown)


def around(
    jobs: Iterable[str | JobView] = (), pods: dict[str, PodView] | None = None, **fields: Any
) -> Surroundings:
    """Jobs by name or as views; a pod's Job is there without saying so. What stands in the gate is named as the rest."""
    views = [JobView(job, f"uid-of-{job}") if isinstance(job, str) else job for job in [*(pods or {}), *jobs]]
    fields["vanished"] = frozenset(fields.get("vanished", ()))
    gate = Gate(
        **{field.name: fields.pop(field.name) for field in dataclass_fields(Gate) if field.name in fields}
    )
    return Surroundings(pods=pods or {}, jobs={view.name: view for view in views}, gate=gate, **fields)


def paused(*waits: Wait, others: tuple[Attempt, ...] = (), **fields: Any) -> TaskState:
    """Rows of a turn whose attempt paused for these calls."""
    return rows(PAUSED, *others, waits=waits, **fields)


def held(**fields: Any) -> Surroundings:
    """As ``around``, where the turn has its session."""
    return around(turns=HELD, **fields)


def plan(
    spec: TaskSpec,
    state: TaskState | None = None,
    surroundings: Surroundings | None = None,
    *,
    looked: bool = True,
) -> Plan:
    """The plan, ``looked``: after the API server itself was asked for every attempt's pod."""
    state = state or rows()
    jobs = frozenset(a.job for a in state.attempts) if looked else frozenset[str]()
    known = replace(surroundings or Surroundings(), looked=jobs)
    return make_plan(spec, spec.effective_steps(), state, known)


def told(action: Action) -> str:  # noqa: C901, PLR0911, PLR0912 - one case an action
    """An action in a few words, as the tables below have it."""
    match action:
        case StartAttempt():
            item = f"/{action.item}" if action.item >= 0 else ""
            said = f"start {action.step.name}{item}-{action.number} {action.cause}"
            said += " in turn" if action.needs_turn else ""
            return f"{said}; {told(action.close)}" if action.close else said
        case StartRound():
            entries = (f"{e.item}-{e.number}" for e in action.entries)
            return f"round {action.step.name} {' '.join(entries)}"
        case RefuseAttempt():
            return f"refuse {action.step.name}-{action.number} {action.reason}"
        case StartCall():
            said = f"call {action.wait.id} {action.number} {action.cause}"
            return f"{said}; {told(action.close)}" if action.close else said
        case AnswerCall():
            return f"answer {action.wait.id} by {action.attempt_id}"
        case QueueTask():
            return f"queue {action.wait.id}"
        case CreateJob():
            return f"job {action.attempt.job}"
        case CreateRound():
            return f"job {action.job} of {len(action.attempts)}"
        case CreateChild() | FinishChild():
            return f"{'child' if isinstance(action, CreateChild) else 'finish child'} {action.attempt.job}"
        case EnterStep():
            return f"enter {action.step.name}"
        case EndStep():
            return f"end step {action.step} {action.phase} {action.reason}"
        case ExpireWait():
            return f"expire {action.wait_id}"
        case FinishContainer():
            return f"finish {action.attempt.job} {action.verdict.state} {action.verdict.reason}"
        case CloseAttempt():
            return f"close {action.attempt} {action.phase} {action.reason}"
        case StopJob():
            return f"stop {action.job}"
        case LookAgain():
            return f"look {action.job}"
        case EndTurn():
            return f"end turn {action.step}{' failed' if action.failed else ''}"
        case SetSuspended():
            return "suspend" if action.suspended else "resume"
        case EndTask():
            return f"end {action.phase} {action.reason}"


def actions(made: Plan) -> list[str]:
    return [told(action) for action in made.actions]


def seen(view: StepView) -> str:
    return f"{view.name} {view.phase}" + (f" {view.reason}" if view.reason else "")


def views(made: Plan) -> list[str]:
    return [seen(view) for view in made.steps]
