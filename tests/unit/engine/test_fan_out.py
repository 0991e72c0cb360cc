"""Steps with items: containers and children one by one, prompts in rounds."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from parley.engine.actions import EndStep, StartAttempt, StartRound
from parley.engine.pods import JobView
from parley.engine.state import Attempt, AttemptPhase, Hold, TaskState
from parley.engine.views import ItemCounts
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState, Step, TaskSpec

from tests.unit.engine.builders import (
    LATE,
    NOW,
    actions,
    around,
    attempt,
    container,
    dead,
    desired,
    ended,
    entered,
    for_each,
    marked,
    of_items,
    plan,
    pod,
    prompt,
    rows,
    step,
    task,
    views,
)


def each(parallelism: int = 2, **fields: Any) -> TaskSpec:
    return task(container("a", forEach=for_each(parallelism), **fields), container("z"))


def asked(parallelism: int = 2, **fields: Any) -> TaskSpec:
    return task(prompt("a", forEach=for_each(parallelism), **fields), agent="support")


def item(n: int, phase: AttemptPhase = "Open", number: int = 1, **fields: Any) -> Attempt:
    return attempt("a", phase, number, item=n, **fields)


def bad(n: int, number: int = 1) -> Attempt:
    return item(n, "Failed", number, reason=Reason.EXIT_CODE, message="exit code 3")


def of(total: int, *attempts: Attempt, **fields: Any) -> TaskState:
    return of_items("a", total, *attempts, **fields)


@pytest.mark.parametrize(
    ("what", "spec", "given", "do"),
    [
        ("as many as may run at once", each(), of(3), ["start a/0-1 First", "start a/1-1 First"]),
        ("no more than there are", each(10), of(2), ["start a/0-1 First", "start a/1-1 First"]),
        ("no more while they run", each(), of(3, item(0), item(1)), []),
        ("the next when one is done", each(), of(3, item(0, "Succeeded"), item(1)), ["start a/2-1 First"]),
        (
            "all are done",
            each(),
            of(2, item(0, "Succeeded"), item(1, "Succeeded")),
            ["end step a Succeeded Succeeded"],
        ),
        ("there is none", each(), of(0), ["end step a Succeeded Succeeded"]),
        ("one has failed: no other begins", each(), of(3, bad(0), item(1)), []),
        ("one has failed, none runs", each(), of(3, bad(0)), ["end step a Failed ExitCode"]),
        (
            "one has failed, which it may",
            each(continueOnError=True),
            of(3, bad(0), item(1)),
            ["start a/2-1 First"],
        ),
        (
            "all have ended, one failed as it may",
            each(continueOnError=True),
            of(2, item(0, "Succeeded"), bad(1)),
            ["end step a Failed ExitCode"],
        ),
        (
            "one is repeated before others begin",
            each(retry={"limit": 1}),
            of(3, bad(0), item(1)),
            ["start a/0-2 Retry"],
        ),
        (
            "one whose pod was lost is repeated",
            each(),
            of(3, item(0, "Lost"), item(1)),
            ["start a/0-2 Disruption"],
        ),
        (
            "one that failed again",
            each(retry={"limit": 1}),
            of(1, bad(0), bad(0, 2)),
            ["end step a Failed ExitCode"],
        ),
    ],
)
def test_containers_of_items(what: str, spec: TaskSpec, given: Any, do: list[str]) -> None:
    running = {a.job: pod() for a in given.attempts if a.open}

    assert actions(plan(spec, given, around(pods=running))) == do, what


def test_items_that_end_are_committed_one_by_one() -> None:
    made = plan(each(), of(2, item(0), item(1)), around(pods={"a-0-1": dead(0), "a-1-1": dead(3)}))

    assert actions(made) == ["finish a-0-1 Succeeded Succeeded", "finish a-1-1 Failed ExitCode"]


def test_an_item_whose_pod_was_lost_is_closed_before_anything_else() -> None:
    made = plan(each(), of(3, item(0)), around(pods={"a-0-1": pod("Failed", status_reason="Evicted")}))

    assert actions(made) == ["close 1101 Lost Evicted"]


def test_the_jobs_of_items_are_made_one_each() -> None:
    assert actions(plan(each(), of(2, item(0), item(1)))) == ["job a-0-1", "job a-1-1"]


def test_a_start_says_which_item_it_is() -> None:
    (start, _) = plan(each(), of(2)).actions

    assert isinstance(start, StartAttempt)
    assert (start.item, start.number, start.needs_turn) == (0, 1, False)


def test_the_backoff_of_one_item_holds_no_other() -> None:
    just = Attempt(**{f: getattr(bad(0), f) for f in bad(0).__slots__} | {"ended_at": NOW})

    made = plan(each(retry={"limit": 1}), of(2, just, item(1)), around(pods={"a-1-1": pod()}))

    assert actions(made) == []
    assert views(made)[0] == "a Running Running"
    assert made.wake_at == NOW + timedelta(seconds=10)


def test_a_step_whose_items_all_wait_to_be_repeated_says_so() -> None:
    just = Attempt(**{f: getattr(bad(0), f) for f in bad(0).__slots__} | {"ended_at": NOW})

    made = plan(each(retry={"limit": 1}), of(1, just))

    assert views(made)[0] == "a Waiting Retrying"
    assert made.steps[0].message.startswith("item 0: attempt 2 starts at 2026-11-23T12:00:10Z")
    assert made.wake_at == NOW + timedelta(seconds=10)
    assert not made.wants_slot


def test_the_failure_of_a_step_names_its_first_failed_item_and_how_many_there_are() -> None:
    given = of(5, item(0, "Succeeded"), bad(3), bad(1), item(2, "Cancelled", reason=Reason.CANCELLED))

    (end,) = plan(each(), given).actions

    assert isinstance(end, EndStep)
    assert end.message == "item 1: exit code 3 (2 of 5 items failed)"


def test_items_are_counted() -> None:
    given = of(9, item(0, "Succeeded"), item(1, "Succeeded"), bad(2), item(3), item(4, "Lost"))

    made = plan(each(1, continueOnError=True), given, around(pods={"a-3-1": pod()}))

    assert made.steps[0].items == ItemCounts(total=9, succeeded=2, failed=1, active=1)
    assert made.steps[0].message == "2 of 9 items are done, 1 failed"


def test_the_counts_of_an_ended_step_are_those_written_down() -> None:
    mark = marked("Failed", Reason.EXIT_CODE, items=1000, succeeded=990, failed=10)

    made = plan(each(continueOnError=True), rows(bad(999), marks={"a": mark}))

    assert made.steps[0].items == ItemCounts(total=1000, succeeded=990, failed=10, active=0)
    assert actions(made) == ["start z-1 First"]


def test_what_holds_items_back_is_shown_beside_those_that_run() -> None:
    missing = Hold(Reason.AGENT_NOT_FOUND, "Agent support does not exist")

    made = plan(each(), of(3, item(0)), around(pods={"a-0-1": pod()}, hold=missing))

    assert actions(made) == []
    assert views(made)[0] == "a Running Running"
    assert views(plan(each(), of(3), around(hold=missing)))[0] == "a Pending AgentNotFound"


def test_a_fan_out_cut_short_by_the_tasks_end_shows_how_far_it_came() -> None:
    given = ended(
        "Cancelled",
        Reason.CANCELLED,
        item(0, "Succeeded"),
        item(1, "Cancelled", reason=Reason.CANCELLED),
        marks={"a": entered(5)},
    )

    (view, _) = plan(each(), given).steps

    assert (view.phase, view.items) == ("Cancelled", ItemCounts(5, 1, 0, 0))
    assert view.message == "1 of 5 items were done"


# Rounds.


def at(
    n: int, phase: AttemptPhase = "Open", number: int = 1, index: int | None = None, **fields: Any
) -> Attempt:
    """An attempt of a round; of the first, unless said."""
    job = fields.pop("job", "round-1" if number == 1 else "round-2")
    return item(n, phase, number, job=job, index=n if index is None else index, **fields)


def gone_wrong(n: int, number: int = 1, ago: int = 60, **fields: Any) -> Attempt:
    made = at(n, "Failed", number, reason=Reason.MODEL_ERROR, message="no", **fields)
    return Attempt(
        **{f: getattr(made, f) for f in made.__slots__} | {"ended_at": NOW - timedelta(seconds=ago)}
    )


JOB = JobView("round-1", "uid")


@pytest.mark.parametrize(
    ("what", "spec", "given", "known", "do"),
    [
        ("one round has all items", asked(), of(3), around(), ["round a 0-1 1-1 2-1"]),
        ("its Job is made", asked(), of(2, at(0), at(1)), around(), ["job round-1 of 2"]),
        ("its Job is there", asked(), of(2, at(0), at(1)), around([JOB]), []),
        (
            "no other begins before all have ended",
            asked(retry={"limit": 1}),
            of(2, gone_wrong(0), at(1, "Running")),
            around([JOB], pods={"round-1/1": pod()}),
            [],
        ),
        (
            "the next has those to repeat only",
            asked(retry={"limit": 1}),
            of(4, gone_wrong(0), at(1, "Succeeded"), at(2, "Lost"), gone_wrong(3)),
            around([JobView("round-1", "uid", completed=True)]),
            ["round a 0-2 2-2 3-2"],
        ),
        (
            "it waits for the last of them",
            asked(retry={"limit": 1}),
            of(2, gone_wrong(0), gone_wrong(1, ago=5)),
            around(),
            [],
        ),
        ("all are done", asked(), of(1, at(0, "Succeeded")), around(), ["end step a Succeeded Succeeded"]),
        (
            "one failed for good: those not begun are dropped",
            asked(),
            of(3, gone_wrong(0), at(1, "Running"), at(2)),
            around([JOB], pods={"round-1/1": pod()}),
            ["close 3101 Cancelled Cancelled"],
        ),
        (
            "one failed for good, and the others have ended",
            asked(),
            of(3, gone_wrong(0), at(1, "Succeeded"), at(2, "Cancelled", reason=Reason.CANCELLED)),
            around([JOB]),
            ["end step a Failed ModelError", "stop round-1"],
        ),
        (
            "one failed, which it may",
            asked(continueOnError=True),
            of(3, gone_wrong(0), at(1, "Running"), at(2)),
            around([JOB], pods={"round-1/1": pod()}),
            [],
        ),
        (
            "deadlines are each item's own",
            asked(retry={"limit": 1}),
            of(2, at(0, "Running", left=LATE), at(1, "Running")),
            around(pods={"round-1": pod(), "round-1/1": pod()}),
            ["close 1101 TimedOut StepTimeout"],
        ),
        (
            "an item that was begun and has no pod is lost",
            asked(),
            of(2, at(0, "Running"), at(1)),
            around([JOB]),
            ["close 1101 Lost PodLost"],
        ),
        (
            "the Job was deleted: all are lost",
            asked(),
            of(2, at(0), at(1)),
            around(vanished=["round-1"]),
            ["close 1101 Lost PodLost", "close 2101 Lost PodLost"],
        ),
        (
            "the pods of a round are told apart",
            asked(),
            of(2, at(0, "Running"), at(1, "Running")),
            around(pods={"round-1": pod(), "round-1/1": dead(1)}),
            ["close 2101 Failed Error"],
        ),
        (
            "the Job goes on for others when one was closed",
            asked(retry={"limit": 1}),
            of(2, at(0, "TimedOut", reason=Reason.STEP_TIMEOUT), at(1, "Running")),
            around(pods={"round-1": pod(), "round-1/1": pod()}),
            [],
        ),
    ],
)
def test_prompts_of_items(what: str, spec: TaskSpec, given: Any, known: Any, do: list[str]) -> None:
    assert actions(plan(spec, given, known)) == do, what


def test_a_round_that_waits_says_for_which_item() -> None:
    made = plan(asked(retry={"limit": 1}), of(2, gone_wrong(0), gone_wrong(1, ago=4)))

    assert views(made) == ["a Waiting Retrying"]
    assert made.steps[0].message.startswith("item 1: ")
    assert made.wake_at == NOW + timedelta(seconds=6)


def test_the_causes_of_a_rounds_attempts_are_told() -> None:
    given = of(3, gone_wrong(0), at(1, "Lost"))

    (start,) = plan(asked(retry={"limit": 1}), given).actions

    assert isinstance(start, StartRound)
    assert [(e.item, e.number, e.cause) for e in start.entries] == [
        (0, 2, "Retry"),
        (1, 2, "Disruption"),
        (2, 1, "First"),
    ]


def test_a_lost_job_is_looked_at_once_for_all_its_items() -> None:
    job = JobView("round-1", "uid", failed_reason="BackoffLimitExceeded")

    made = plan(asked(), of(3, at(0), at(1), at(2)), around([job]), looked=False)

    assert actions(made) == ["look round-1"]


def test_items_that_wait_for_their_place_in_a_round_are_not_active() -> None:
    made = plan(asked(), of(3, at(0, "Running"), at(1), at(2)), around(pods={"round-1": pod()}))

    assert made.steps[0].items == ItemCounts(3, 0, 0, 1)
    assert made.wake_at == NOW + timedelta(hours=1), "nobody asks every few seconds why they have no pod"


@pytest.mark.parametrize("runtime", ["Job", "Task"])
def test_items_take_no_turn_whatever_the_runtime(runtime: Any) -> None:
    spec = task(prompt("a", forEach=for_each()), session="alice")

    made = plan(spec, of(1), around(runtime=runtime))

    assert actions(made) == ["round a 0-1"]
    assert made.ready_turns == ()


def child(parallelism: int = 2) -> Step:
    return step("a", task={"templateRef": {"name": "t"}}, forEach={"items": [1], "parallelism": parallelism})


def test_children_of_items_are_made_one_by_one() -> None:
    assert actions(plan(task(child()), of(3))) == ["start a/0-1 First", "start a/1-1 First"]
    assert actions(plan(task(child()), of(3, item(0), item(1)))) == ["child a-0-1", "child a-1-1"]


def test_an_item_that_runs_is_looked_at_when_its_own_time_is_over() -> None:
    """A round's deadline is far; an item's own time begins when its runner takes it, of which nobody tells."""
    spec, first = asked(1, timeout="5m"), item(0, job="round", left=timedelta(hours=1))
    second = item(1, job="round", index=1, left=timedelta(hours=1))

    made = plan(spec, of(2, first, second), around(pods={"round": pod()}))

    assert made.wake_at == NOW + timedelta(minutes=5)


def test_items_of_a_round_that_have_not_begun_are_put_off_while_the_task_is_suspended() -> None:
    """Given one item at work and one in the queue, when the task is suspended, then the other comes in a later round."""
    spec = desired(asked(1), DesiredState.SUSPENDED)
    works, queued = item(0, "Running", job="round"), item(1, job="round", index=1)
    known = around(pods={"round": pod()})
    assert actions(plan(spec, of(2, works, queued, suspended=True), known)) == [
        "close 2101 Cancelled Suspended"
    ]

    put_off = replace(queued, phase="Cancelled", reason=Reason.SUSPENDED, ended_at=NOW)
    assert actions(plan(spec, of(2, works, put_off, suspended=True), known)) == []
    done = replace(works, phase="Succeeded", ended_at=NOW)
    assert actions(plan(asked(1), of(2, done, put_off), around())) == ["round a 1-2"]
