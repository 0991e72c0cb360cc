"""One step in its task: all that decides what it does next."""

from dataclasses import dataclass

from parley.engine.state import Attempt, StepMark, Surroundings, TaskState, Turn
from parley.resources.task import Step, TaskSpec


@dataclass(frozen=True, slots=True)
class Situation:
    """What a step's plan is made from."""

    task: TaskSpec
    index: int
    """Its place in the spec, for the paths in messages."""
    step: Step
    attempts: tuple[Attempt, ...]
    """The step's, by item and then by number."""
    mark: StepMark | None
    state: TaskState
    around: Surroundings
    holds_slot: bool = False
    """The task has a concurrency slot already: something of it runs."""
    served: frozenset[int] = frozenset()
    """Attempts that one of the task's idle runners is about to take."""

    @property
    def takes_turn(self) -> bool:
        """Whether the step is a turn of its session."""
        return takes_turn(self.task, self.step)

    @property
    def has_paused(self) -> bool:
        """Whether an attempt of the step paused: its calls are open until the step ends, and so is its turn."""
        return any(attempt.phase == "Paused" for attempt in self.attempts)

    @property
    def turn(self) -> Turn:
        """Its place in the session's queue."""
        return self.around.turns.get(self.step.name, Turn.NONE)


def takes_turn(task: TaskSpec, step: Step) -> bool:
    """Tell whether a step uses its session's history, and so runs as a turn of it."""
    return (
        step.prompt is not None
        and step.for_each is None
        and task.session_ref is not None
        and step.prompt.history != "None"
    )


def needs_slot(step: Step) -> bool:
    """Tell whether a step runs in pods of its own, and so counts against concurrency limits."""
    return step.runs_in_runner or step.container is not None
