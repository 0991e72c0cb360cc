"""Runtime mode Warm: how an attempt stands that one of its agent's runners has, or is to take."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from parley.engine.actions import CloseAttempt, StartAttempt
from parley.engine.pods import PodState, PodView
from parley.engine.state import Attempt, Surroundings, WarmPool
from parley.engine.warm_runner import judge_pool
from parley.resources.reasons import Reason

from tests.unit.engine.builders import NOW, attempt, dead, plan, pod, prompt, rows, task

SPEC = task(prompt("a", "None"), agent="support")
POOL = "warm-support-0123456789"
LEASE = NOW + timedelta(seconds=9)
OVER = NOW - timedelta(milliseconds=1)


def waits(pool: str = POOL, number: int = 1, **fields: Any) -> Attempt:
    return attempt("a", "Open", number, runtime="Warm", pool=pool, job="", **fields)


def held(lease: Any = LEASE, pool: str = POOL, **fields: Any) -> Attempt:
    return attempt(
        "a", "Running", runtime="Warm", pool=pool, job="", holder_pod="uid-of-w", lease_until=lease, **fields
    )


def beside(*pods: PodView, name: str = POOL, refusal: str | None = None) -> Surroundings:
    return Surroundings(runtime="Warm", pool=WarmPool(name, pods, refusal))


OTHER = beside(name="warm-support-9876543210")
GONE = Surroundings(runtime="Job")
PUT_OFF = ["close Cancelled Pending", "start a 2 Disruption"]
LOST = ["close Lost PodLost", "start a 2 Disruption"]


@pytest.mark.parametrize(
    ("what", "given", "around", "do", "reason"),
    [
        ("nobody has taken it yet", waits(), beside(), [], Reason.SCHEDULING),
        ("a runner has it", held(), beside(), [], Reason.RUNNING),
        ("a runner of a pool of before has it", held(pool="warm-before"), OTHER, [], Reason.RUNNING),
        ("the agent is gone, its runner goes on", held(), GONE, [], Reason.RUNNING),
        ("its runner is not heard of", held(OVER), beside(), LOST, None),
        ("its runner is not heard of, and the agent has others", held(OVER), OTHER, LOST, None),
        ("nobody took it, and the agent has others", waits(), OTHER, PUT_OFF, None),
        ("nobody took it, and the agent has Jobs now", waits(), GONE, PUT_OFF, None),
    ],
)
def test_its_lease_and_its_pool_decide(
    what: str, given: Attempt, around: Surroundings, do: list[str], reason: Reason | None
) -> None:
    made = plan(SPEC, rows(given), around)

    assert said(made.actions) == do, what
    if reason is not None:
        assert made.steps[0].reason is reason, what


def test_it_is_looked_at_again_when_its_lease_is_over() -> None:
    made = plan(SPEC, rows(held()), beside())

    assert made.wake_at == LEASE


def test_changes_of_the_agent_are_no_disruptions_however_many() -> None:
    # Given an attempt that was put off nine times, for its agent changed before a runner took it
    before = [
        replace(waits(number=n), phase="Cancelled", reason=Reason.PENDING, ended_at=NOW) for n in range(1, 10)
    ]

    # When the agent changes once more, then there is another attempt all the same
    made = plan(SPEC, rows(*before, waits("warm-before", 10)), beside())

    assert said(made.actions) == ["close Cancelled Pending", "start a 11 Disruption"]


def test_a_runner_that_is_lost_again_and_again_fails_the_step() -> None:
    before = [
        replace(held(), id=n, number=n, phase="Lost", reason=Reason.POD_LOST, ended_at=NOW)
        for n in range(1, 7)
    ]

    made = plan(SPEC, rows(*before), beside())

    assert [getattr(action, "reason", None) for action in made.actions] == [Reason.POD_LOST]


@pytest.mark.parametrize(
    ("what", "pods", "refusal", "reason", "says"),
    [
        ("there is none yet", [], None, Reason.SCHEDULING, "waits for a runner"),
        ("one is up and busy", [pod()], None, Reason.SCHEDULING, "waits for a runner"),
        (
            "one is up although another cannot start",
            [pod(), pod("Pending", running=False, unschedulable="0/1 nodes are available")],
            "exceeded quota: two",
            Reason.SCHEDULING,
            "waits for a runner",
        ),
        (
            "no node fits",
            [pod("Pending", running=False, unschedulable="0/1 nodes are available")],
            None,
            Reason.UNSCHEDULABLE,
            "0/1 nodes",
        ),
        (
            "its image is not there",
            [
                pod(
                    "Pending",
                    running=False,
                    waiting_reason="ImagePullBackOff",
                    waiting_message="no such image",
                )
            ],
            None,
            Reason.IMAGE_PULL_FAILED,
            "no such image",
        ),
        (
            "a Secret is not there",
            [
                pod(
                    "Pending",
                    running=False,
                    waiting_reason="CreateContainerConfigError",
                    waiting_message='secret "openai" not found',
                )
            ],
            None,
            Reason.SECRET_NOT_FOUND,
            "openai",
        ),
        (
            "it ends again and again",
            [pod(running=False, waiting_reason="CrashLoopBackOff", waiting_message="back-off 10s")],
            None,
            Reason.ERROR,
            "ends again and again",
        ),
        (
            "its container has just ended",
            [pod(running=False, exit_code=1)],
            None,
            Reason.ERROR,
            "ends again and again",
        ),
        (
            "one was evicted, and the next does not start",
            [dead(137), pod("Pending", running=False, unschedulable="0/1 nodes are available")],
            None,
            Reason.UNSCHEDULABLE,
            "0/1 nodes",
        ),
        (
            "one was evicted, and the next is not made",
            [dead(137)],
            "pods is forbidden: exceeded quota: small",
            Reason.QUOTA_EXCEEDED,
            "small",
        ),
        ("one was evicted a moment ago", [dead(137)], None, Reason.SCHEDULING, "waits for a runner"),
        (
            "a quota leaves no room",
            [],
            "pods is forbidden: exceeded quota: small",
            Reason.QUOTA_EXCEEDED,
            "small",
        ),
        (
            "a policy refuses it",
            [],
            "pods is forbidden: violates PodSecurity",
            Reason.POD_REFUSED,
            "violates",
        ),
        (
            "the one that ends is no longer meant",
            [pod(deleting=True)],
            "pods is forbidden: exceeded quota: small",
            Reason.QUOTA_EXCEEDED,
            "small",
        ),
    ],
)
def test_what_keeps_runners_from_taking_it_is_told(
    what: str, pods: list[PodView], refusal: str | None, reason: Reason, says: str
) -> None:
    verdict = judge_pool(WarmPool(POOL, tuple(pods), refusal))

    assert (verdict.state, verdict.reason) == (PodState.WAITING, reason), what
    assert says in verdict.message, what


def said(actions: Any) -> list[str]:
    found: list[str] = []
    for action in actions:
        match action:
            case StartAttempt(close=close):
                found += [f"close {close.phase} {close.reason}"] if close else []
                found.append(f"start {action.step.name} {action.number} {action.cause}")
            case CloseAttempt():
                found.append(f"close {action.phase} {action.reason}")
            case _:
                found.append(type(action).__name__)
    return found
