"""Whether a Task has ended, as its own status says."""

from typing import TYPE_CHECKING

from parley.resources.task import TaskPhase

if TYPE_CHECKING:
    # The projection keeps less of what has ended, so it imports this module.
    from parley.controller.projection import Resource

FINAL_PHASES = frozenset({TaskPhase.SUCCEEDED, TaskPhase.FAILED, TaskPhase.CANCELLED})


def is_final(task: "Resource") -> bool:
    """Whether the task's status says that it has ended: such a task is never planned again."""
    return task.status.get("phase") in FINAL_PHASES


def is_settled(task: "Resource") -> bool:
    """Whether a task has ended and its status says so of its present spec too: nothing is left to do."""
    return is_final(task) and task.status.get("observedGeneration") == task.generation
