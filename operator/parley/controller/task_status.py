"""Write what users see of a Task, and tell them of transitions by Kubernetes Events."""

import logging

from parley.controller.context import Context
from parley.controller.finality import FINAL_PHASES, is_settled
from parley.controller.projection import Resource
from parley.controller.session_reconciler import SessionReconciler
from parley.controller.task_actions import TaskUnderWork
from parley.engine.plan import Plan
from parley.engine.state import Hold, TaskState
from parley.engine.status import build_status
from parley.engine.situation import takes_turn
from parley.kube.errors import Invalid
from parley.kube.events import Transition
from parley.kube.kinds import TASK
from parley.resources.reasons import Reason
from parley.resources.task import StepPhase, TaskPhase, TaskStatus

log = logging.getLogger(__name__)
_WARNINGS = frozenset(
    {
        Reason.AGENT_NOT_FOUND,
        Reason.SESSION_NOT_FOUND,
        Reason.IMAGE_PULL_FAILED,
        Reason.SECRET_NOT_FOUND,
        Reason.CONTAINER_CONFIG_ERROR,
        Reason.UNSCHEDULABLE,
        Reason.QUOTA_EXCEEDED,
        Reason.POD_REFUSED,
        Reason.POD_LOST,
        Reason.EVICTED,
    }
)


class TaskStatusWriter:
    """Shows a settled plan. The session's status goes first: whoever sees Succeeded sees its events."""

    def __init__(self, context: Context, sessions: SessionReconciler) -> None:
        self._context = context
        self._sessions = sessions

    async def show(self, task: TaskUnderWork, plan: Plan, state: TaskState, hold: Hold | None) -> TaskStatus:
        """Write the task's status if it is not what it should be; returns what it should be."""
        resource = task.resource
        previous = TaskStatus.model_validate(resource.status)
        status = build_status(
            plan.steps,
            state,
            hold=hold,
            agent=task.agent_name or previous.agent,
            generation=resource.generation,
            previous=previous,
        )
        ended = status.phase in FINAL_PHASES
        if task.session is not None and (ended or _turn_ended(task, status, previous)):
            await self._sessions.show(task.session.namespace, task.session.name)
        if status.to_json() != resource.status:
            await self._write(resource, status)
            self._tell(resource, status, previous)
        return status

    async def acknowledge(self, task: Resource) -> None:
        """Say that an edit of a task that has ended was seen: its end stands, and nobody need wait (kstatus)."""
        body = await self._context.kube.get(TASK, task.namespace, task.name)
        if body is None or (seen := Resource.from_object(body)).uid != task.uid or is_settled(seen):
            return
        status = TaskStatus.model_validate(seen.status)
        observed = {"observed_generation": seen.generation}
        conditions = [condition.model_copy(update=observed) for condition in status.conditions]
        await self._apply(seen, status.model_copy(update={**observed, "conditions": conditions}))

    async def _write(self, resource: Resource, status: TaskStatus) -> None:
        try:
            await self._apply(resource, status)
        except Invalid as error:
            # An output can be JSON that the API server cannot hold, such as a number of 400 digits; how the task
            # stands must be seen all the same. The store has the output.
            log.warning("Task %s/%s is shown without outputs: %s", resource.namespace, resource.name, error)
            bare = [step.model_copy(update={"output": None, "truncated": True}) for step in status.steps]
            await self._apply(
                resource, status.model_copy(update={"steps": bare, "output": None, "truncated": True})
            )

    async def _apply(self, resource: Resource, status: TaskStatus) -> None:
        written = await self._context.kube.apply_status(
            TASK,
            resource.namespace,
            resource.name,
            status.to_json(),
            resource_version=resource.resource_version,
        )
        self._context.echoes.wrote(TASK, written)
        self._context.projection.tasks.see(Resource.from_object(written))

    def _tell(self, resource: Resource, status: TaskStatus, previous: TaskStatus) -> None:
        """Tell users of a transition: another phase, or another reason for the same one."""
        ready = next(c for c in status.conditions if c.type == "Ready")
        before = next((c for c in previous.conditions if c.type == "Ready"), None)
        if before is not None and (before.reason, previous.phase) == (ready.reason, status.phase):
            return
        self._context.tell(
            Transition(
                kind=TASK,
                namespace=resource.namespace,
                name=resource.name,
                uid=resource.uid,
                type="Warning" if status.phase is TaskPhase.FAILED or ready.reason in _WARNINGS else "Normal",
                reason=ready.reason,
                note=ready.message or f"the task is {status.phase}",
                key=f"{status.phase}/{sum(step.attempt for step in status.steps)}/{resource.generation}",
            )
        )


def _turn_ended(task: TaskUnderWork, status: TaskStatus, previous: TaskStatus) -> bool:
    before = {step.name: step.phase for step in previous.steps}
    turns = {step.name for step in task.steps if takes_turn(task.spec, step)}
    return any(
        step.name in turns and step.phase is StepPhase.SUCCEEDED and before.get(step.name) != step.phase
        for step in status.steps
    )
