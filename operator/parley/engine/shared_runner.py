"""Runtime mode Task: one runner takes the task's attempts one after another.

An attempt's own Job is made only when no runner of the task is free to take it; so the pod that runs an attempt is
known by who holds it, not by its Job's name.
"""

from collections.abc import Iterable
from datetime import datetime

from parley.engine.names import pod_key
from parley.engine.pods import JobView, PodState, PodView, Verdict, judge, judge_refusal, judge_runner
from parley.engine.state import Attempt, Surroundings
from parley.resources.reasons import Reason

_CLOSED_OVER = {"TimedOut", "Cancelled", "Lost"}
_WAITS = Verdict(PodState.WAITING, Reason.SCHEDULING, "waits for a runner of its task")


def pod_of(attempt: Attempt, around: Surroundings) -> PodView | None:
    """Return the pod of the task that runs an attempt, or will; a warm runner's is its agent's."""
    if attempt.runtime == "Warm":
        return None
    if attempt.runtime == "Task" and attempt.phase == "Running":
        return next((pod for pod in around.pods.values() if pod.uid == attempt.holder_pod), None)
    return around.pods.get(pod_key(attempt.job, attempt.index))


def runner_job(attempt: Attempt, attempts: Iterable[Attempt]) -> str:
    """Return the name of the Job whose pod ran an attempt: the one of the attempt that this pod took first.

    A runner takes its own Job's attempt before any other.
    """
    if attempt.runtime != "Task" or not attempt.holder_pod:
        return attempt.job
    return min((other for other in attempts if other.holder_pod == attempt.holder_pod), key=_taken).job


def find_served(attempts: Iterable[Attempt], around: Surroundings) -> frozenset[int]:
    """Return the open attempts that the task's idle runners are about to take; the others need another runner."""
    shared = [attempt for attempt in attempts if attempt.runtime == "Task"]
    if not shared:
        return frozenset()
    busy = {attempt.holder_pod for attempt in shared if attempt.phase == "Running"} | distrusted(shared)
    idle = {job for job in {attempt.job for attempt in shared} if _is_idle(job, around, busy)}
    waiting = sorted((a for a in shared if a.phase == "Open"), key=lambda attempt: attempt.id)
    own = {attempt.id for attempt in waiting if attempt.job in idle}
    others = [attempt.id for attempt in waiting if attempt.id not in own]
    return frozenset(own) | frozenset(others[: len(idle) - len(own)])


def distrusted(attempts: Iterable[Attempt]) -> set[str]:
    """Return the uids of pods whose attempt was closed over their heads, and who took no other since.

    Such a runner may hang; it is stopped, and another one does the work.
    """
    newest: dict[str, Attempt] = {}
    for attempt in attempts:
        if attempt.runtime != "Task" or not attempt.holder_pod:
            continue
        known = newest.get(attempt.holder_pod)
        if known is None or _taken(attempt) > _taken(known):
            newest[attempt.holder_pod] = attempt
    return {pod for pod, attempt in newest.items() if attempt.phase in _CLOSED_OVER}


def _taken(attempt: Attempt) -> tuple[datetime, int]:
    return attempt.taken_at or attempt.created_at, attempt.id


def judge_shared(
    attempt: Attempt, pod: PodView | None, around: Surroundings, now: datetime, *, served: bool
) -> Verdict:
    """Judge an open attempt of mode Task. ``pod``: of its holder, or before it has one, of its own Job."""
    if attempt.phase == "Running":
        return _judge_held(attempt, pod, around, now)
    job = around.jobs.get(attempt.job)
    own = judge(pod, job)
    if own.state is PodState.WAITING and not _is_over(job):
        return own if own.reason is not Reason.SCHEDULING else _WAITS
    if served:
        return _WAITS
    if own.state is PodState.ABSENT and attempt.job not in around.vanished:
        refusal = around.refusals.get(attempt.job)
        return judge_refusal(refusal) if refusal else own
    if own.reason is Reason.CONTAINER_CONFIG_ERROR:
        return judge_runner(own)
    # Its own runner ended, or took another step and is still at it: only another attempt gets another runner.
    return Verdict(PodState.DISRUPTED, Reason.POD_LOST, "no runner of its task is left to take the step")


def _judge_held(attempt: Attempt, pod: PodView | None, around: Surroundings, now: datetime) -> Verdict:
    if pod is None:
        return Verdict(PodState.DISRUPTED, Reason.POD_LOST, "the pod that ran the step is gone")
    job = next((job for job in around.jobs.values() if around.pods.get(job.name) is pod), None)
    verdict = judge_runner(judge(pod, job))
    if verdict.state in {PodState.FAILED, PodState.DISRUPTED}:
        return verdict
    if attempt.lease_until is not None and now >= attempt.lease_until:
        return Verdict(
            PodState.DISRUPTED, Reason.POD_LOST, f"nothing was heard of the runner in pod {pod.name}"
        )
    return Verdict(PodState.RUNNING, Reason.RUNNING)


def _is_idle(name: str, around: Surroundings, busy: set[str]) -> bool:
    job, pod = around.jobs.get(name), around.pods.get(name)
    if job is None or _is_over(job):
        return False
    return pod is None or (pod.holds_node and not pod.deleting and pod.uid not in busy)


def _is_over(job: JobView | None) -> bool:
    return job is not None and job.ended
