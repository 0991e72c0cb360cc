"""Whether a Task has ended, as its own status says."""

from parley.controller.projection import Resource
from parley.resources.task import TaskPhase

FINAL_PHASES = frozenset({TaskPhase.SUCCEEDED, TaskPhase.FAILED, TaskPhase.CANCELLED})


def is_final(task: Resource) -> bool:
    """Whether the task's status says that it has ended: such a task is never planned again (design 5.6)."""
    return task.status.get("phase") in FINAL_PHASES
