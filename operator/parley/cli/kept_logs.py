"""The ends of logs that Parley's store keeps, which the gateway gives: of containers whose pods are gone."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from parley.api.tasks import AttemptView
from parley.cli.app import App
from parley.cli.reading import mapping, name_of, number, objects, text
from parley.kube.client import JsonObject

if TYPE_CHECKING:
    from parley.client import Parley

STEP_LABEL = "parley.dev/step"
ATTEMPT_LABEL = "parley.dev/attempt"
JOB_LABEL = "batch.kubernetes.io/job-name"
_GOING_ON = {"Open", "Running", "Paused"}
_ENDED = {"Succeeded", "Failed", "Cancelled"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which logs of a Task are asked for.

    Attributes:
        step: None: of all steps.
        every_attempt: not of each step's newest only.
        tail: so many lines from the end of each; None: all.
    """

    step: str | None
    every_attempt: bool
    tail: int | None

    def lines(self, log: str) -> list[str]:
        """The lines of a log that are asked for."""
        whole = log.splitlines()
        return whole if self.tail is None else whole[max(0, len(whole) - self.tail) :]


@dataclass(frozen=True, slots=True)
class KeptLog:
    """The end of an attempt's log; None: none was kept."""

    step: str
    title: str
    lines: Sequence[str] | None


def attempt_title(step: str, item: str, attempt: int) -> str:
    """What stands before each line of an attempt's log."""
    return f"{step}{f'[{item}]' if item else ''}{f'#{attempt}' if attempt > 1 else ''}"


def jobs_of(pods: Sequence[JsonObject]) -> set[str]:
    """Names of the Jobs that have pods."""
    return {text(pod, "metadata", "labels", JOB_LABEL) for pod in pods}


def are_gone(task: JsonObject, pods: Sequence[JsonObject], wanted: Wanted) -> bool:
    """Whether something that is asked for may have ended in a pod that is no more."""
    there = jobs_of(pods)
    for one in _in_jobs(task, wanted.step):
        ended = text(one, "phase") in _ENDED
        before = number(one, "attempt") - (0 if ended else 1)
        if (ended and text(one, "job") not in there) or (
            wanted.every_attempt and before > _attempts_seen(pods, text(one, "name"))
        ):
            return True
    return False


def _attempts_seen(pods: Sequence[JsonObject], step: str) -> int:
    labels = [mapping(pod, "metadata", "labels") for pod in pods]
    return len({text(each, ATTEMPT_LABEL) for each in labels if text(each, STEP_LABEL) == step})


def _in_jobs(task: JsonObject, step: str | None) -> Iterator[JsonObject]:
    """The steps of a Task that run in Jobs."""
    for one in objects(task, "status", "steps"):
        if step in {None, text(one, "name")} and text(one, "job") and not text(one, "task"):
            yield one


def kept_logs(app: App, task: JsonObject, there: Set[str], wanted: Wanted) -> list[KeptLog]:
    """What is kept of the attempts whose pods are gone, in the order in which they were made.

    Args:
        app: with the way to the gateway.
        task: the Task.
        there: names of the Jobs whose pods are still there.
        wanted: of which of them.

    Raises:
        CliError: the gateway cannot be asked, or refuses.
    """
    steps = {text(one, "name") for one in _in_jobs(task, wanted.step)}
    with app.gateway() as parley:
        made = [
            one
            for one in parley.get_task(name_of(task)).attempts
            if one.runtime == "Job" and one.step in steps
        ]
        newest = _newest(made)
        return [
            _read(parley, name_of(task), one, wanted)
            for one in made
            if one.state not in _GOING_ON
            and one.job not in there
            and (wanted.every_attempt or one.number == newest[one.step, one.item])
        ]


def _read(parley: "Parley", task: str, attempt: AttemptView, wanted: Wanted) -> KeptLog:
    item = "" if attempt.item is None else str(attempt.item)
    title = attempt_title(attempt.step, item, attempt.number)
    # Of runners, whose pods have no exit code here, nothing is kept: a list of prompts is not asked for one by one.
    log = None if attempt.exit_code is None else parley.get_attempt_log(task, attempt.id).log
    return KeptLog(attempt.step, title, None if log is None else wanted.lines(log))


def _newest(made: Sequence[AttemptView]) -> Mapping[tuple[str, int | None], int]:
    found: dict[tuple[str, int | None], int] = {}
    for one in made:
        found[one.step, one.item] = max(found.get((one.step, one.item), 0), one.number)
    return found
