"""Kubernetes Events about a Task, for what its status alone does not tell."""

from parley.controller.context import Context
from parley.controller.resource import Resource
from parley.kube.events import Transition
from parley.kube.kinds import TASK


def tell_of_task(
    context: Context, task: Resource, reason: str, note: str, *, key: str, warning: bool = False
) -> None:
    """Tell of something that happened to a Task; the same key again is the same Event."""
    context.tell(
        Transition(
            kind=TASK,
            namespace=task.namespace,
            name=task.name,
            uid=task.uid,
            type="Warning" if warning else "Normal",
            reason=reason,
            note=note,
            key=key,
        )
    )
