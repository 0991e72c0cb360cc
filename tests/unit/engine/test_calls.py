"""Tool calls of a paused attempt: who approves them, what runs for them, when the step goes on."""

from dataclasses import replace
from datetime import timedelta

import pytest
from parley.engine.actions import AnswerCall, CreateJob, QueueTask, StartCall
from parley.engine.calls import MAX_CONTAINERS
from parley.engine.names import call_step
from parley.engine.plan import holds_slot
from parley.engine.pods import JobView
from parley.engine.retries import MAX_DISRUPTIONS
from parley.engine.state import Hold, Surroundings, TaskState, Wait
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState

from tests.unit.engine.builders import (
    HELD,
    LATE,
    NOW,
    PAUSED,
    TURN,
    actions,
    approval,
    around,
    call,
    case,
    container,
    dead,
    desired,
    held,
    of_call,
    paused,
    plan,
    pod,
    prompt,
    task,
    views,
)

RUN, QUEUE = call(), call("later", "Task")
BUSY = Hold(Reason.CONCURRENCY_LIMITED, "1st of 1 in the queue of Agent support")
CASES = [
    case(
        "a person must approve",
        paused(approval()),
        held(),
        [],
        "ask Waiting WaitingForInput",
        "May support call pay?",
    ),
    case(
        "nobody did in time",
        paused(approval(left=LATE)),
        held(),
        ["expire ok"],
        "ask Waiting WaitingForInput",
        "",
    ),
    case("no call is open", paused(), held(), ["start ask-2 Resume in turn"], "ask Queued Pending", ""),
    case(
        "another step's call is open",
        paused(replace(approval(), step="other")),
        held(),
        ["start ask-2 Resume in turn"],
        "ask Queued Pending",
        "",
    ),
    case(
        "a Task is to be queued",
        paused(QUEUE),
        held(),
        ["queue later"],
        "ask Running Running",
        "its Task is being queued",
    ),
    case(
        "a container is to run",
        paused(RUN),
        held(),
        ["call run 1 First"],
        "ask Queued Pending",
        "is about to start",
    ),
    case(
        "its Job is to be made",
        paused(RUN, others=(of_call(RUN),)),
        held(),
        ["job run-1"],
        "ask Running Scheduling",
        "Job run-1 waits for its pod to start",
    ),
    case(
        "its pod runs",
        paused(RUN, others=(of_call(RUN),)),
        held(pods={"run-1": pod()}),
        [],
        "ask Running Running",
        "tool pay runs in Job run-1",
    ),
    case(
        "its image is missing",
        paused(RUN, others=(of_call(RUN),)),
        held(pods={"run-1": pod("Pending", waiting_reason="ErrImagePull", waiting_message="no such image")}),
        [],
        "ask Running ImagePullFailed",
        "tool pay: ErrImagePull: no such image",
    ),
    case(
        "its pod has ended",
        paused(RUN, others=(of_call(RUN),)),
        held(pods={"run-1": dead(0)}),
        ["finish run-1 Succeeded Succeeded"],
        "ask Running Succeeded",
        "",
    ),
    case(
        "its pod failed",
        paused(RUN, others=(of_call(RUN),)),
        held(pods={"run-1": dead(3)}),
        ["finish run-1 Failed ExitCode"],
        "ask Running ExitCode",
        "",
    ),
    case(
        "it succeeded",
        paused(RUN, others=(of_call(RUN, "Succeeded"),)),
        held(),
        ["answer run by 150"],
        "ask Running Running",
        "has ended in Job run-1",
    ),
    case(
        "it failed: that is the result, and not repeated",
        paused(RUN, others=(of_call(RUN, "Failed", reason=Reason.EXIT_CODE),)),
        held(),
        ["answer run by 150"],
        "ask Running Running",
        "",
    ),
    case(
        "it takes too long",
        paused(RUN, others=(of_call(RUN, left=LATE),)),
        held(pods={"run-1": pod()}),
        ["close 150 TimedOut StepTimeout"],
        "ask Running Running",
        "",
    ),
    case(
        "it took too long",
        paused(RUN, others=(of_call(RUN, "TimedOut", reason=Reason.STEP_TIMEOUT),)),
        held(pods={"run-1": pod()}),
        ["answer run by 150", "stop run-1"],
        "ask Running Running",
        "",
    ),
    case(
        "its pod was evicted",
        paused(RUN, others=(of_call(RUN),)),
        held(pods={"run-1": pod("Failed", status_reason="Evicted")}),
        ["call run 2 Disruption; close 150 Lost Evicted"],
        "ask Queued Pending",
        "",
    ),
    case(
        "the agent is busy elsewhere",
        paused(RUN),
        held(slot=BUSY),
        [],
        "ask Queued ConcurrencyLimited",
        "tool pay: 1st of 1 in the queue",
    ),
    case(
        "one call runs, another asks",
        paused(approval(), RUN, others=(of_call(RUN),)),
        held(pods={"run-1": pod()}),
        [],
        "ask Running Running",
        "tool pay runs in Job run-1",
    ),
    case(
        "one call waits for a slot, another asks",
        paused(approval(), RUN),
        held(slot=BUSY),
        [],
        "ask Waiting WaitingForInput",
        "May support call pay?",
    ),
    case(
        "both kinds at once",
        paused(RUN, QUEUE),
        held(),
        ["queue later", "call run 1 First"],
        "ask Running Running",
        "",
    ),
]


@pytest.mark.parametrize(("state", "known", "do", "show", "message"), CASES)
def test_a_paused_turn(state: TaskState, known: Surroundings, do: list[str], show: str, message: str) -> None:
    made = plan(TURN, state, known)

    assert (actions(made), views(made)) == (do, [show])
    assert message in made.steps[0].message


@pytest.mark.parametrize(
    "waits", [(approval(),), (RUN,), (QUEUE,), (approval(), RUN)], ids=lambda w: w[0].kind
)
def test_a_paused_turn_stays_in_the_queue_and_shows_its_questions(waits: tuple[Wait, ...]) -> None:
    made = plan(TURN, paused(*waits), held())

    assert made.ready_turns == ("ask",)
    assert made.steps[0].waits == tuple(wait for wait in waits if wait.kind == "Approval")
    assert made.steps[0].attempts == (PAUSED,)


def test_a_question_wakes_the_plan_at_its_deadline() -> None:
    made = plan(TURN, paused(approval(left=timedelta(hours=2)), approval("too", timedelta(hours=1))), held())

    assert made.wake_at == NOW + timedelta(hours=1)
    assert actions(made) == []


@pytest.mark.parametrize(
    "state", [paused(), paused(RUN), paused(QUEUE), paused(approval(left=LATE)), paused(approval())]
)
def test_nothing_of_it_begins_or_expires_while_the_task_is_suspended(state: TaskState) -> None:
    made = plan(desired(TURN, DesiredState.SUSPENDED), replace(state, suspended=True), held())

    assert actions(made) == []


def test_a_result_is_taken_also_while_the_task_is_suspended() -> None:
    state = paused(RUN, others=(of_call(RUN, "Succeeded"),), suspended=True)

    assert actions(plan(desired(TURN, DesiredState.SUSPENDED), state, held())) == ["answer run by 150"]


def test_a_container_that_is_lost_too_often_gives_what_it_has() -> None:
    losses = tuple(of_call(RUN, "Lost", n, reason=Reason.POD_LOST) for n in range(1, MAX_DISRUPTIONS + 1))

    again = plan(TURN, paused(RUN, others=losses), held())
    last = of_call(RUN, "Lost", MAX_DISRUPTIONS + 1, reason=Reason.POD_LOST)
    never = plan(TURN, paused(RUN, others=(*losses, last)), held())

    assert actions(again) == ["call run 6 Disruption"]
    assert actions(never) == ["answer run by 650"]


def test_a_lost_container_is_not_started_beside_the_one_before() -> None:
    gone = of_call(RUN, "Lost", reason=Reason.POD_LOST)
    there = pod(name="old", node_lost=False)

    made = plan(TURN, paused(RUN, others=(gone,)), held(pods={"run-1": there}))

    assert actions(made) == ["stop run-1"]
    assert made.steps[0].message == "tool pay: waits until pod old has ended"


def test_the_job_of_a_call_is_made_for_a_step_of_its_own() -> None:
    wait = call(timeout=timedelta(minutes=2), output_file=True)

    (start,) = plan(TURN, paused(wait), held()).actions
    (create,) = plan(TURN, paused(wait, others=(of_call(wait),)), held()).actions

    name = call_step("ask", "run")
    assert start == StartCall(wait, name, 1, "First")
    assert isinstance(create, CreateJob)
    assert (create.step.name, create.step.timeout_or_default()) == (name, timedelta(minutes=2))
    assert create.step.container is not None
    assert create.step.container.output_from == "File"


def test_a_file_of_a_call_is_waited_for() -> None:
    wait = call(output_file=True)
    ended = replace(dead(0), phase="Running", running=True)

    waits = plan(TURN, paused(wait, others=(of_call(wait),)), held(pods={"run-1": ended}))
    stored = plan(TURN, paused(wait, others=(of_call(wait, uploaded=True),)), held(pods={"run-1": ended}))

    assert actions(waits) == []
    assert actions(stored) == ["finish run-1 Succeeded Succeeded"]


def test_only_so_many_containers_run_at_once() -> None:
    waits = tuple(call(f"run{n:02}") for n in range(MAX_CONTAINERS + 3))
    running = tuple(replace(of_call(wait), id=1000 + n) for n, wait in enumerate(waits[:4]))
    pods = {each.job: pod() for each in running}

    made = plan(TURN, paused(*waits, others=running), held(pods=pods))

    assert actions(made) == [f"call {wait.id} 1 First" for wait in waits[4:MAX_CONTAINERS]]


def test_a_call_that_runs_has_the_slot_and_one_that_waits_for_a_person_does_not() -> None:
    steps = TURN.effective_steps()

    assert holds_slot(steps, paused(RUN, others=(of_call(RUN),)))
    assert not holds_slot(steps, paused(approval()))
    assert not holds_slot(steps, paused(RUN, others=(of_call(RUN, "Succeeded"),)))


def test_a_step_that_starts_beside_a_call_needs_no_other_slot() -> None:
    spec = task(prompt("ask"), container("build", needs=[]), session="alice")

    made = plan(spec, paused(RUN, others=(of_call(RUN),)), held(pods={"run-1": pod()}, slot=BUSY))

    assert actions(made) == ["start build-1 First"]


def test_the_attempts_of_calls_are_no_steps() -> None:
    made = plan(TURN, paused(RUN, others=(of_call(RUN),)), held(pods={"run-1": pod()}))

    assert [view.name for view in made.steps] == ["ask"]
    assert made.steps[0].attempts == (PAUSED,)


def test_a_task_that_ends_leaves_no_container_of_a_call() -> None:
    spec = desired(TURN, DesiredState.CANCELLED)
    state = paused(RUN, others=(of_call(RUN),))

    ends = plan(spec, state, held(pods={"run-1": pod()}))

    assert actions(ends) == ["end Cancelled Cancelled"]


def test_the_actions_carry_the_wait_itself() -> None:
    state = paused(RUN, QUEUE, others=(of_call(RUN, "Succeeded"),))

    assert plan(TURN, state, held()).actions == (AnswerCall(RUN, 150), QueueTask(QUEUE))


def test_a_call_whose_pod_is_refused_says_so() -> None:
    refused = JobView("run-1", "uid", refusal="violates PodSecurity")

    made = plan(TURN, paused(RUN, others=(of_call(RUN),)), around([refused], turns=HELD))

    assert views(made) == ["ask Running PodRefused"]
    assert made.steps[0].message == "tool pay: violates PodSecurity"
