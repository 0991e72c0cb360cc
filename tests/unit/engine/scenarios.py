"""Stories of tasks, drawn at random, and how each must end."""

from typing import Any

from hypothesis import strategies as st
from parley.engine.retries import MAX_DISRUPTIONS
from parley.engine.situation import takes_turn
from parley.resources.reasons import Reason
from parley.resources.retry import RetryCause
from parley.resources.task import Step

from tests.unit.engine.builders import task
from tests.unit.engine.sim_script import Call, Decision, Ending, Script, failure_of
from tests.unit.engine.sim_session import SessionStory
from tests.unit.engine.simulator import Scenario

NAMES = ("one", "two", "three", "four", "five", "six")
SEEDS = st.integers(0, 2**32)
ENDED = ("Failed", Reason.SESSION_ENDED)
"""How a task ends whose session takes no more turns."""
SLOW = {Ending.HANG, Ending.NO_IMAGE}
BODIES: dict[str, dict[str, Any]] = {
    "container": {"container": {"image": "img"}},
    "turn": {"prompt": {"text": "Hi"}},
    "prompt": {"prompt": {"text": "Hi", "history": "None"}},
    "tool": {"tool": {"name": "pay"}},
    "task": {"task": {"templateRef": {"name": "child"}}},
    "wait": {"wait": {"question": "Well?"}},
    "patient wait": {"wait": {"question": "Well?", "timeout": "1h"}},
    "wait with default": {"wait": {"question": "Well?", "timeout": "1h", "onTimeout": "no"}},
    "sleep": {"sleep": {"duration": "1h"}},
    "set": {"set": {"context": {"key": "value"}}},
    "return": {"return": {"value": 1}},
    "fail": {"fail": {"message": "no"}},
}
WORK = ("container", "turn", "prompt", "tool", "task")
RUNNERS = {"turn", "prompt", "tool"}
CALLERS = ("turn", "turn", "prompt", "tool", "container")
"""Kinds of a task that is mostly about tool calls."""
KINDS = (*WORK, *WORK, *(kind for kind in BODIES if kind not in {"return", "fail"}))


def _scripts(kind: str, *, shared: bool) -> st.SearchStrategy[Script]:
    endings = [Ending.SUCCEED] * 10 + list(Ending)
    losses = [0, 0, 0, 1, 2, MAX_DISRUPTIONS, MAX_DISRUPTIONS + 1]
    if kind == "task":
        losses = [0]
    elif shared and kind != "container":
        # What a runner that died had not taken is lost with it, beside what the script says.
        losses, endings = [0, 0, 1, 2], [e for e in endings if e is not Ending.NO_IMAGE]
    return st.builds(
        Script,
        ending=st.sampled_from(endings),
        losses=st.sampled_from(losses),
        failures=st.sampled_from([1, 2, 99]),
        rounds=_rounds(kind),
    )


def _rounds(kind: str) -> st.SearchStrategy[tuple[tuple[Call, ...], ...]]:
    """The calls of a model, or the one of a tool step; mostly none."""
    if kind not in {"prompt", "tool"}:
        return st.just(())
    ending = st.sampled_from([Ending.SUCCEED, Ending.SUCCEED, Ending.FAIL, Ending.HANG, Ending.NO_IMAGE])
    call = st.builds(
        Call,
        kind=st.sampled_from(["Http", "Container", "Container", "Task"]),
        approval=st.sampled_from([None, None, "Yes", "Yes", "No", "Late", "LateYes"]),
        script=st.builds(
            Script, ending=ending, losses=st.sampled_from([0, 0, 1, MAX_DISRUPTIONS, MAX_DISRUPTIONS + 1])
        ),
    )
    if kind == "tool":
        return st.tuples(st.tuples(call))
    several = st.lists(st.lists(call, min_size=1, max_size=3).map(tuple), max_size=2).map(tuple)
    return st.one_of(st.just(()), several)


@st.composite
def _retries(draw: st.DrawFn) -> dict[str, Any]:
    causes = draw(
        st.sampled_from([None, ["Error"], ["Timeout", "OOMKilled"], ["Error", "OOMKilled", "Timeout"]])
    )
    return {"limit": draw(st.integers(0, 3))} | ({"causes": causes} if causes else {})


@st.composite
def _steps(
    draw: st.DrawFn, above: tuple[str, ...], name: str, *, kinds: tuple[str, ...], shared: bool
) -> Step:
    ends = above and draw(st.integers(0, 11)) == 0
    kind = draw(st.sampled_from(("return", "fail") if ends else kinds))
    body: dict[str, Any] = {"name": name, **BODIES[kind]}
    needs = draw(st.sampled_from(["above", "none", "some"]))
    if needs != "above":
        body["needs"] = (
            draw(st.lists(st.sampled_from(above), unique=True)) if above and needs == "some" else []
        )
    if draw(st.integers(0, 3)) == 0:
        body["when"] = "{{ inputs.wanted }}"
    if not ends:
        body["continueOnError"] = draw(st.integers(0, 2)) == 0
    if kind in WORK:
        body["retry"] = draw(_retries())
        if kind != "turn" and draw(st.integers(0, 2)) == 0:
            body["forEach"] = {
                "items": "{{ inputs.items }}",
                "parallelism": draw(st.sampled_from([1, 2, 10])),
            }
        if shared and kind in RUNNERS:
            body["timeout"] = "20s"
        if kind in RUNNERS and "forEach" in body:
            # Items that hang must not take the time of others.
            body["forEach"]["parallelism"] = 10
    return Step.model_validate(body)


@st.composite
def scenarios(
    draw: st.DrawFn,
    *,
    cancels: bool = False,
    parent_ends: bool = False,
    session_ends: bool = False,
    calls: bool = False,
) -> Scenario:
    shared = draw(st.integers(0, 2)) == 0
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    steps: list[Step] = []
    scripts: dict[str, Script] = {}
    decisions: dict[str, Decision] = {}
    for name in names:
        step = draw(
            _steps(tuple(s.name for s in steps), name, kinds=CALLERS if calls else KINDS, shared=shared)
        )
        steps.append(step)
        lasts = step.wait is None or step.wait.timeout is None
        chosen = decisions[name] = Decision(
            skip=draw(st.booleans()),
            broken=draw(st.integers(0, 20)) == 0 and _is_decided(step),
            items=draw(st.integers(0, 4)) if step.for_each else 0,
            reply=lasts or draw(st.booleans()),
        )
        if step.has_attempts:
            keys = [f"{name}/{item}" for item in range(chosen.items)] if step.for_each else [name]
            alone = shared and step.for_each is None
            scripts |= {key: draw(_scripts(step.kind, shared=alone)) for key in keys}
    return Scenario(
        spec=task(*steps, session="alice", timeout=draw(st.sampled_from([None, None, "30m"]))),
        scripts=scripts,
        decisions=decisions,
        suspends=draw(st.integers(0, 2)),
        patience=draw(st.sampled_from([0, 5, 20, 60])),
        cancels=cancels,
        parent_ends=parent_ends,
        restarts=draw(st.integers(0, 4)),
        lossy=draw(st.booleans()),
        skewed=draw(st.booleans()),
        rival=draw(st.booleans()),
        busy=draw(st.booleans()),
        runtime="Task" if shared else "Job",
        session=SessionStory(
            pauses=draw(st.sampled_from([0, 0, 1, 2])),
            ends=session_ends,
            full=draw(st.integers(0, 9)) == 0,
            quotas=draw(st.sampled_from([0, 0, 1])),
        ),
    )


def expected_ends(scenario: Scenario) -> set[tuple[str, Reason]]:
    """How the scenario's task may end: as one of the steps that end it, which may race; read off its script."""
    steps = scenario.spec.effective_steps()
    done: set[str] = set()
    ends: set[tuple[str, Reason]] = set()
    slow = False
    for index, step in enumerate(steps):
        needs = step.needs if step.needs is not None else [s.name for s in steps[:index][-1:]]
        if not done.issuperset(needs):
            continue
        chosen = scenario.decisions.get(step.name, Decision())
        skipped = step.when is not None and chosen.skip and not chosen.broken
        reasons = set[Reason]() if skipped else _failures(scenario, step, chosen)
        slow = slow or (not skipped and _is_slow(scenario, step, chosen))
        if step.return_ is not None and not skipped and not chosen.broken:
            ends.add(("Succeeded", Reason.SUCCEEDED))
        elif reasons and not step.continue_on_error:
            ends |= {("Failed", reason) for reason in reasons}
        else:
            done.add(step.name)
    if not ends:
        ends = {("Succeeded", Reason.SUCCEEDED)}
    if scenario.spec.timeout and slow:
        ends.add(("Failed", Reason.TASK_TIMEOUT))
    return ends


def _is_decided(step: Step) -> bool:
    return step.when is not None or step.for_each is not None or not step.has_attempts


def _scripts_of(scenario: Scenario, step: Step, chosen: Decision) -> list[Script]:
    if step.for_each is not None:
        return [scenario.scripts[f"{step.name}/{item}"] for item in range(chosen.items)]
    return [scenario.scripts[step.name]] if step.has_attempts else []


def _failures(scenario: Scenario, step: Step, chosen: Decision) -> set[Reason]:
    """The reasons that a step may fail for; empty: it succeeds."""
    if chosen.broken:
        return {Reason.TEMPLATE_ERROR}
    if step.fail is not None:
        return {Reason.ERROR}
    if step.wait is not None and not chosen.reply and step.wait.on_timeout is None:
        return {Reason.WAIT_TIMEOUT}
    if scenario.session.full and takes_turn(scenario.spec, step):
        return {Reason.MESSAGE_LIMIT}
    found = (_failure(step, script) for script in _scripts_of(scenario, step, chosen))
    return {reason for reason in found if reason is not None}


def _failure(step: Step, script: Script) -> Reason | None:
    if script.losses > MAX_DISRUPTIONS:
        return Reason.POD_LOST
    reason = failure_of(script.ending, step.kind)
    if reason is None:
        return Reason.REJECTED if step.tool is not None and _is_rejected(script) else None
    limit, causes = (step.retry.limit, step.retry.causes) if step.retry else (0, [])
    group = RetryCause.ERROR
    if script.ending in SLOW:
        group = RetryCause.TIMEOUT
    elif script.ending is Ending.OUT_OF_MEMORY:
        group = RetryCause.OOM_KILLED
    never = (script.ending is Ending.EXIT_64 and step.container is not None) or (
        script.ending is Ending.DELETED and step.task is not None
    )
    if script.failures <= limit and group in causes and not never:
        return Reason.REJECTED if step.tool is not None and _is_rejected(script) else None
    return reason


def _is_rejected(script: Script) -> bool:
    return any(call.approval in {"No", "Late"} for calls in script.rounds for call in calls)


def _is_slow(scenario: Scenario, step: Step, chosen: Decision) -> bool:
    """Whether a step may take longer than a task's timeout."""
    if step.sleep is not None or (step.wait is not None and not chosen.reply):
        return True
    if step.prompt is not None and scenario.session.quotas:
        return True
    return any(
        script.ending in SLOW or _calls_slowly(script) for script in _scripts_of(scenario, step, chosen)
    )


def _calls_slowly(script: Script) -> bool:
    calls = [call for calls in script.rounds for call in calls]
    return any(call.approval in {"Late", "LateYes"} or call.script.ending in SLOW for call in calls)
