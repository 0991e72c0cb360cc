"""One open attempt: what its pod shows, and what to do about it: make the Job, commit, close, look again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from parley.engine import shared_runner
from parley.engine.actions import Action, CloseAttempt, FinishContainer, LookAgain
from parley.engine.names import pod_key
from parley.engine.pods import JobView, PodState, PodView, Verdict, judge, judge_refusal, judge_runner
from parley.engine.retries import ELSEWHERE, Again, what_follows
from parley.engine.situation import Situation
from parley.engine.state import NO_ITEM, Attempt
from parley.engine.warm_runner import LOOK_AFTER, judge_warm
from parley.resources.common import format_duration
from parley.resources.reasons import Reason
from parley.resources.task import Step

NODE_PAUSE = timedelta(seconds=30)
_POD_PATIENCE = timedelta(seconds=3)
_REFUSED_PAUSE = timedelta(seconds=10)
_TAKING_PAUSE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Watch:
    """How an open attempt stands, and what that asks for."""

    attempt: Attempt
    reason: Reason
    message: str = ""
    actions: tuple[Action, ...] = ()
    absent: bool = False
    """What runs it (Job, child) is to be made."""
    lost: CloseAttempt | None = None
    """It was lost: to be closed, and repeated."""
    wake_at: datetime | None = None


def lacks_pod(
    attempt: Attempt, jobs: Mapping[str, JobView], pods: Mapping[str, PodView], now: datetime
) -> bool:
    """Tell whether an attempt's Job should have a pod by now, so that somebody should ask why it has none."""
    job = jobs.get(attempt.job)
    # Later items of a round may have to wait for their place in it.
    first = attempt.index == 0
    waits = attempt.open and first and job is not None and not job.ended and attempt.job not in pods
    return waits and now >= attempt.created_at + _POD_PATIENCE


def watch(situation: Situation, attempt: Attempt) -> Watch:
    """Look at an open attempt that a pod runs."""
    step, state, around = situation.step, situation.state, situation.around
    pod = shared_runner.pod_of(attempt, around)
    verdict = _judge_attempt(situation, attempt, pod)
    reason = verdict.reason or Reason.SCHEDULING
    if verdict.state is PodState.DISRUPTED:
        reason = verdict.reason or Reason.POD_LOST
        if pod is None and attempt.runtime != "Warm" and attempt.job not in around.looked:
            return Watch(attempt, reason, verdict.message, (LookAgain(attempt.job),))
        elsewhere = verdict.reason is ELSEWHERE
        close = CloseAttempt(
            attempt.id, "Cancelled" if elsewhere else "Lost", reason, verdict.message, keeps_turn=True
        )
        return Watch(attempt, reason, verdict.message, lost=close)
    if verdict.state in {PodState.SUCCEEDED, PodState.FAILED}:
        action = (
            FinishContainer(attempt, verdict)
            if step.container is not None
            else close_failed(situation, attempt, verdict.reason or Reason.ERROR, verdict.message)
        )
        return Watch(attempt, reason, verdict.message, (action,))
    if state.now >= attempt.deadline:
        return Watch(attempt, reason, verdict.message, (_time_out(situation, attempt, verdict),))
    return Watch(
        attempt,
        reason,
        verdict.message,
        absent=verdict.state is PodState.ABSENT,
        wake_at=min((attempt.deadline, *_wakes(situation, attempt, pod))),
    )


def close_failed(situation: Situation, attempt: Attempt, reason: Reason, message: str) -> CloseAttempt:
    """Close an attempt that gave nothing."""
    return _keeping_turn(situation, attempt, CloseAttempt(attempt.id, "Failed", reason, message))


def close_late(situation: Situation, attempt: Attempt, reason: Reason, message: str) -> CloseAttempt:
    """Close an attempt at its deadline."""
    return _keeping_turn(situation, attempt, CloseAttempt(attempt.id, "TimedOut", reason, message))


def time_limit(step: Step) -> str:
    """Name a step's timeout."""
    return f"the step's timeout ({format_duration(step.timeout_or_default())})"


def successor_waits(situation: Situation, last: Attempt) -> str | None:
    """Say why the next attempt may not start yet: the one before may still be running.

    A runner's is fenced off by its closed row, so that its successor need not wait.
    """
    if situation.step.container is not None:
        pod = situation.around.pods.get(pod_key(last.job, last.index))
        return f"waits until pod {pod.name} has ended" if pod is not None and pod.holds_node else None
    if situation.step.task is not None:
        child = situation.state.children.get(last.job)
        return f"waits until Task {child.name} has ended" if child is not None and not child.over else None
    return None


def _judge_attempt(situation: Situation, attempt: Attempt, pod: PodView | None) -> Verdict:
    step, around = situation.step, situation.around
    if attempt.runtime == "Warm":
        return judge_warm(attempt, around, situation.state.now)
    if attempt.runtime == "Task":
        return shared_runner.judge_shared(
            attempt, pod, around, situation.state.now, served=attempt.id in situation.served
        )
    verdict = judge(pod, around.jobs.get(attempt.job))
    if verdict.state is PodState.ABSENT and (attempt.job in around.vanished or attempt.phase == "Running"):
        return Verdict(PodState.DISRUPTED, Reason.POD_LOST, f"Job {attempt.job} was deleted")
    if pod is None and attempt.phase == "Running" and attempt.item != NO_ITEM:
        # Its round's Job goes on with other items, and never makes another pod for this one.
        return Verdict(PodState.DISRUPTED, Reason.POD_LOST, "the pod that ran the item is gone")
    if verdict.state is PodState.ABSENT and (refusal := around.refusals.get(attempt.job)):
        return judge_refusal(refusal)
    if step.container is None:
        return judge_runner(verdict)
    return _judge_upload(attempt, pod, verdict) if step.container.output_from == "File" else verdict


def _judge_upload(attempt: Attempt, pod: PodView | None, verdict: Verdict) -> Verdict:
    """A container that leaves a file has not succeeded before the pod's other container has sent it."""
    if verdict.state is not PodState.SUCCEEDED or pod is None:
        return verdict
    if attempt.uploaded:
        return verdict
    if pod.lives:
        return Verdict(PodState.RUNNING, Reason.RUNNING, "its output file is being stored")
    if pod.disruption is not None or pod.status_reason == "Evicted":
        message = pod.disruption or pod.status_message or "the pod was evicted"
        return Verdict(PodState.DISRUPTED, Reason.EVICTED, f"before its output file was stored: {message}")
    if pod.gone or pod.node_lost or pod.deleting:
        message = f"pod {pod.name} or its node was lost before the output file was stored"
        return Verdict(PodState.DISRUPTED, Reason.POD_LOST, message)
    message = "its output file was never stored: the log of the pod's container output says why"
    return Verdict(PodState.FAILED, Reason.ERROR, message, verdict.exit_code)


def _time_out(situation: Situation, attempt: Attempt, verdict: Verdict) -> CloseAttempt:
    """Close at the deadline; a step that never ran keeps the cause that held it."""
    limit = time_limit(situation.step)
    if verdict.state is PodState.WAITING and verdict.reason and verdict.reason is not Reason.SCHEDULING:
        return close_late(situation, attempt, verdict.reason, f"{verdict.message} (until {limit} passed)")
    return close_late(situation, attempt, Reason.STEP_TIMEOUT, f"did not end within {limit}")


def _keeping_turn(situation: Situation, attempt: Attempt, close: CloseAttempt) -> CloseAttempt:
    if not situation.takes_turn:
        return close
    follows = what_follows(situation.step, closed(situation.attempts, attempt, close, situation.state.now))
    goes_on = isinstance(follows, Again) and (follows.soon or situation.has_paused)
    return replace(close, keeps_turn=goes_on)


def closed(
    attempts: tuple[Attempt, ...], attempt: Attempt, close: CloseAttempt, now: datetime
) -> tuple[Attempt, ...]:
    """Return a step's attempts as they are once one of them is closed."""
    after = replace(attempt, phase=close.phase, reason=close.reason, message=close.message, ended_at=now)
    return tuple(after if other.id == attempt.id else other for other in attempts)


def _wakes(situation: Situation, attempt: Attempt, pod: PodView | None) -> list[datetime]:
    now = situation.state.now
    wakes = [attempt.lease_until] if attempt.lease_until is not None else []
    if attempt.runtime == "Warm":
        due = attempt.created_at + LOOK_AFTER
        return [*wakes, due if now < due else now + _TAKING_PAUSE] if attempt.phase == "Open" else wakes
    if attempt.phase == "Open" and attempt.runtime == "Task":
        # Nobody tells that a runner took it, and from then on its lease counts.
        wakes.append(now + _TAKING_PAUSE)
    if (
        attempt.phase == "Open"
        and attempt.item != NO_ITEM
        and pod is not None
        and situation.step.runs_in_runner
    ):
        # Nor of an item in a round: from then on it has its own time.
        wakes.append(now + situation.step.timeout_or_default())
    if pod is not None:
        # Its node may be gone, and then nobody says that it ended.
        return [*wakes, now + NODE_PAUSE] if pod.deleting else wakes
    if attempt.phase == "Open" and attempt.index == 0 and attempt.id not in situation.served:
        due = attempt.created_at + _POD_PATIENCE
        wakes.append(due if now < due else now + _REFUSED_PAUSE)
    return wakes


def own_actions(seen: Iterable[Watch]) -> list[Action]:
    """Return what open attempts ask for; their Job is looked at once, however many they are."""
    actions: list[Action] = []
    looked: set[str] = set()
    for watch in seen:
        if watch.lost is not None:
            actions.append(watch.lost)
        for action in watch.actions:
            if isinstance(action, LookAgain):
                if action.job in looked:
                    continue
                looked.add(action.job)
            actions.append(action)
    return actions
