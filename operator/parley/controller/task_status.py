"""Write what users see of a Task, and tell them of transitions by Kubernetes Events."""

import logging

from parley.controller.context import TASK_KEY, Context
from parley.controller.finality import FINAL_PHASES, is_settled
from parley.controller.metrics import TASKS_WAITING
from parley.controller.queue import Key
from parley.controller.resource import Resource
from parley.controller.session_reconciler import SessionReconciler
from parley.controller.status_pace import Pace
from parley.controller.task_under_work import TaskUnderWork
from parley.controller.telling import tell_of_task
from parley.engine.plan import Plan
from parley.engine.situation import takes_turn
from parley.engine.state import Hold, TaskState
from parley.engine.status import build_status
from parley.kube.errors import Invalid
from parley.kube.kinds import TASK
from parley.resources.reasons import Reason
from parley.resources.task import StepPhase, TaskPhase, TaskStatus
from parley.resources.task_status import WaitingEntry

log = logging.getLogger(__name__)
_WARNINGS = frozenset(
    {
        Reason.AGENT_NOT_FOUND,
        Reason.SESSION_NOT_FOUND,
        Reason.TEMPLATE_NOT_FOUND,
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
        self._pace = Pace()
        tasks = context.projection.tasks
        TASKS_WAITING.watch(lambda: ((task.namespace,) for task in tasks if task.status.get("waiting")))

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
            tolerated={step.name for step in task.steps if step.continue_on_error},
            parent=resource.owner.name if resource.owner and resource.owner.kind == TASK.kind else None,
        )
        if task.session is not None and _concerns_session(task, status, previous):
            await self._sessions.show(task.session.namespace, task.session.name)
        if status.to_json() == resource.status:
            return status
        wait = self._pace.postpone(resource.uid, status, previous, begun=_newest_begun(status, state))
        if wait:
            self._context.queue.add_after(Key(TASK_KEY, resource.namespace, resource.name), wait)
            return status
        await self._write(resource, status)
        self._pace.wrote(resource.uid, status)
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
        body = status.to_json()
        with self._context.echoes.writing(resource.uid, body):
            written = await self._context.kube.apply_status(
                TASK,
                resource.namespace,
                resource.name,
                body,
                resource_version=resource.resource_version,
            )
        self._context.echoes.wrote(TASK, written)
        self._context.projection.tasks.see(Resource.from_object(written))

    def _tell(self, resource: Resource, status: TaskStatus, previous: TaskStatus) -> None:
        """Tell users of a transition: a new question, another phase, or another reason for the same one."""
        before = {entry.id for entry in previous.waiting or ()}
        for entry in status.waiting or ():
            if entry.id not in before:
                self._post(resource, Reason.WAITING_FOR_INPUT, asked(entry), key=entry.id)
        ready = next(c for c in status.conditions if c.type == "Ready")
        old = next((c for c in previous.conditions if c.type == "Ready"), None)
        if old is not None and (old.reason, previous.phase) == (ready.reason, status.phase):
            return
        if ready.reason == Reason.WAITING_FOR_INPUT:
            return  # the questions were told
        self._post(
            resource,
            ready.reason,
            ready.message or f"the task is {status.phase}",
            key=f"{status.phase}/{sum(step.attempt for step in status.steps)}/{resource.generation}",
            warning=status.phase is TaskPhase.FAILED,
        )

    def _post(self, resource: Resource, reason: str, note: str, *, key: str, warning: bool = False) -> None:
        tell_of_task(self._context, resource, reason, note, key=key, warning=warning or reason in _WARNINGS)


def _newest_begun(status: TaskStatus, state: TaskState) -> float | None:
    """Return for how many seconds the newest attempt has been open that may be over in no time, if there is one."""
    if status.phase is not TaskPhase.RUNNING or status.waiting:
        return None
    begun = [a.created_at for a in state.attempts if a.open and a.runtime == "Warm"]
    return (state.now - max(begun)).total_seconds() if begun else None


def asked(entry: WaitingEntry) -> str:
    """Say what a person is asked, for an Event."""
    how = f"choose one of {', '.join(entry.choices)}" if entry.choices else "give a value"
    what = f" {entry.arguments}" if entry.kind == "Approval" and entry.arguments else ""
    return f"step {entry.step} asks: {entry.question}{what} ({how}; waitID {entry.id})"


def _concerns_session(task: TaskUnderWork, status: TaskStatus, previous: TaskStatus) -> bool:
    """Tell whether the session's status shows something of this change: an end, a turn, who waits for a reply."""
    waits = bool(status.waiting) != bool(previous.waiting)
    return waits or status.phase in FINAL_PHASES or _turn_ended(task, status, previous)


def _turn_ended(task: TaskUnderWork, status: TaskStatus, previous: TaskStatus) -> bool:
    before = {step.name: step.phase for step in previous.steps}
    turns = {step.name for step in task.steps if takes_turn(task.spec, step)}
    return any(
        step.name in turns and step.phase is StepPhase.SUCCEEDED and before.get(step.name) != step.phase
        for step in status.steps
    )
