"""Runtime mode Warm: runners of the agent take the attempts of its pool, whatever task they belong to.

Such a pod runs several attempts and outlives them all, so its end says little of any one: who holds an attempt keeps it
by a lease, and the lease alone tells that the holder is lost.
"""

from datetime import datetime, timedelta

from parley.engine.pods import PodState, PodView, Verdict, judge, judge_refusal
from parley.engine.retries import ELSEWHERE
from parley.engine.state import Attempt, Surroundings, WarmPool
from parley.resources.reasons import Reason

LOOK_AFTER = timedelta(milliseconds=500)
"""When an attempt is looked at for the first time: nobody tells that a runner took it, and most are over by then."""
_WAITS = Verdict(PodState.WAITING, Reason.SCHEDULING, "waits for a runner of its agent")
_CRASHES = "CrashLoopBackOff"


def judge_warm(attempt: Attempt, around: Surroundings, now: datetime) -> Verdict:
    """Judge an open attempt of mode Warm."""
    if attempt.phase == "Running":
        if attempt.lease_until is not None and now >= attempt.lease_until:
            return Verdict(
                PodState.DISRUPTED,
                Reason.POD_LOST,
                f"nothing was heard of the runner{_name(attempt, around)}",
            )
        return Verdict(PodState.RUNNING, Reason.RUNNING)
    pool = around.pool
    if pool is None or pool.name != attempt.pool:
        return Verdict(PodState.DISRUPTED, ELSEWHERE, "no runner had taken it, and its agent has others now")
    return judge_pool(pool)


def judge_pool(pool: WarmPool) -> Verdict:
    """Say why none of an agent's runners takes an attempt yet."""
    # One that has ended, such as by an eviction, stays for a while: another is to start in its place.
    meant = [pod for pod in pool.pods if pod.lives and not pod.deleting]
    if any(pod.running for pod in meant):
        return _WAITS
    said = [_judge_start(pod) for pod in meant]
    told = next((verdict for verdict in said if verdict.reason is not Reason.SCHEDULING), None)
    if told is not None:
        return told
    return _WAITS if said or pool.refusal is None else judge_refusal(pool.refusal)


def _judge_start(pod: PodView) -> Verdict:
    """Read what keeps a pod from running; its container is started again whenever it ends."""
    if pod.waiting_reason == _CRASHES or pod.exit_code is not None:
        said = pod.termination_message.strip() or pod.waiting_message
        message = f"the runner in pod {pod.name} ends again and again" + (f": {said}" if said else "")
        return Verdict(PodState.WAITING, Reason.ERROR, message)
    verdict = judge(pod, None)
    return verdict if verdict.state is PodState.WAITING else _WAITS


def _name(attempt: Attempt, around: Surroundings) -> str:
    pods = around.pool.pods if around.pool is not None else ()
    return next((f" in pod {pod.name}" for pod in pods if pod.uid == attempt.holder_pod), "")
