"""Pods of attempts that were closed over their heads: they are stopped."""

from parley.engine.actions import StopJob
from parley.engine.shared_runner import distrusted
from parley.engine.state import Surroundings, TaskState

_CLOSED_OVER = {"TimedOut", "Cancelled", "Lost"}


def stop_leftovers(state: TaskState, around: Surroundings) -> tuple[StopJob, ...]:
    """Stop the Jobs in which nothing may go on any more. A round is stopped once none of its attempts is open."""
    needed = {attempt.job for attempt in state.attempts if attempt.open}
    suspects = distrusted(state.attempts)
    jobs = dict.fromkeys(
        attempt.job
        for attempt in state.attempts
        if attempt.phase in _CLOSED_OVER and (attempt.runtime == "Job" or state.end is not None)
    )
    hung = dict.fromkeys(key for key, pod in around.pods.items() if pod.uid in suspects)
    return tuple(
        StopJob(name)
        for name in jobs | hung
        if (name not in needed or name in hung)
        and (job := around.jobs.get(name)) is not None
        and not job.ended
    )
