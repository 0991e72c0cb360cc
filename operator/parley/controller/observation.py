"""Read what a plan is made from: the projection, the rows, and what only the API server can tell."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from parley.controller.context import GONE_TASK_KEY, SESSION_KEY, Context
from parley.controller.finality import is_final
from parley.controller.gates import Gates
from parley.controller.pod_view import is_node_ready
from parley.controller.projection import TaskWorkload
from parley.controller.queue import Key
from parley.controller.refusals import Refusals
from parley.controller.resolving import Resolver
from parley.controller.resource import Resource
from parley.controller.rows import task_state, turns_of
from parley.controller.session_reconciler import SessionReconciler
from parley.controller.task_under_work import TaskUnderWork
from parley.engine.pods import JobView, PodView
from parley.engine.state import Child, Surroundings, TaskState, WarmPool
from parley.engine.step_plan import lacks_pod
from parley.kube.kinds import NODE, TASK
from parley.resources.reasons import Reason
from parley.resources.runtime import RuntimeMode
from parley.resources.task import TaskStatus, runtime_mode
from parley.store.records import NewParent, TaskRecord
from parley.store.tasks import load_task, register_task

_SESSION_DELAY = 5.0
"""Seconds until a session shows that a task of it began; a short turn shows its end instead, in one write."""
_NODE_PATIENCE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Observation:
    """One moment of a task."""

    state: TaskState
    around: Surroundings


class Observer:
    """Reads tasks; registers those that the store does not know."""

    def __init__(self, context: Context, sessions: SessionReconciler) -> None:
        self._context = context
        self._sessions = sessions
        self._refusals = Refusals(context.kube)
        self._resolver = Resolver(context)
        self._gates = Gates(context)

    async def observe(self, task: TaskUnderWork) -> Observation:
        """Return what the plan is made from, but for the task's place among those that work."""
        context, resource = self._context, task.resource
        # Pods before rows: a runner commits before its pod ends, so a pod seen ended here has its outcome in the
        # rows read after it. The other way round an outcome between the two would look like a lost pod.
        workload = context.projection.workloads.of_task(resource.workload_key)
        await self._resolver.resolve(task)
        record = await self._load(task)
        state = self._with_children(resource, task_state(record))
        bound = record.session_uid if record.attempts or record.steps else None
        gone = bound is not None and (task.session is None or task.session.uid != bound)
        gate = await self._gates.of(task, record)
        # The end of its session is all that is said of a task that was bound to it.
        hold = None if gone else self._resolver.hold(task) or gate.hold
        gate = replace(gate, hold=hold, session_over=None if gone else gate.session_over)
        around = Surroundings(
            pods=await self._with_lost_nodes(workload.pods, state.now),
            jobs=await self._with_refusals(resource.namespace, state, workload),
            vanished=frozenset(workload.vanished),
            looked=frozenset(task.looked),
            refusals=_refused_before(resource, state) | task.refusals,
            gate=gate,
            session_gone=gone,
            lacking=_lacking(resource, state),
            problems=task.problems if gone or task.misfit is None else (*task.problems, task.misfit),
            turns=turns_of(record, task.session.uid if task.session else None),
            denied=task.denied,
            child_refusals=task.child_refusals,
            runtime=runtime_mode(task.spec, task.agent_spec).value,
            pool=self._pool(task),
        )
        return Observation(state, around)

    def _pool(self, task: TaskUnderWork) -> WarmPool | None:
        """Return whose runners take the task's attempts, where they go to warm ones."""
        agent, spec = task.agent, task.agent_spec
        if agent is None or spec is None or runtime_mode(task.spec, spec) is not RuntimeMode.WARM:
            return None
        name = self._context.pools.workload(agent, spec).pool
        return self._context.projection.runners.pool(agent.namespace, agent.uid, name)

    def _with_children(self, resource: Resource, state: TaskState) -> TaskState:
        """Add the child Tasks that exist and are not registered yet, or whose attempt was closed over their heads."""
        living = {
            child.name: Child(child.name, child.uid)
            for child in self._context.projection.tasks.owned_by(resource.uid)
            if not is_final(child)
        }
        return replace(state, children={**living, **state.children}) if living else state

    async def _with_refusals(
        self, namespace: str, state: TaskState, workload: TaskWorkload
    ) -> Mapping[str, JobView]:
        """Return the Jobs, with the reason for those that have had no pod for longer than is usual."""
        jobs = workload.jobs
        waiting = [a.job for a in state.attempts if lacks_pod(a, jobs, workload.pods, state.now)]
        if not waiting:
            return jobs
        said = await self._refusals.in_namespace(namespace)
        return jobs | {name: replace(jobs[name], refusal=said.get(jobs[name].uid)) for name in waiting}

    async def _load(self, task: TaskUnderWork) -> TaskRecord:
        context, resource = self._context, task.resource
        session_uid = task.session.uid if task.session else None
        async with context.store() as connection:
            # Of one that nobody has said or planned anything of, the store mostly knows nothing.
            is_new = "phase" not in resource.status and resource.uid not in context.ready_steps
            record = None if is_new else await load_task(connection, resource.uid)
            begun = record is not None and (record.attempts or record.steps)
            unbound = record is not None and not begun and record.session_uid != session_uid
            if record is None or unbound:
                if task.session is not None:
                    await self._sessions.register(connection, task.session)
                owner = resource.owner
                record = await register_task(
                    connection,
                    context.fence,
                    uid=resource.uid,
                    cluster=context.cluster,
                    namespace=resource.namespace,
                    name=resource.name,
                    session_uid=session_uid,
                    spec=task.registered,
                    timeout=task.spec.timeout_or_none(),
                    created_at=resource.created,
                    parent=NewParent(owner.uid) if owner is not None and owner.kind == TASK.kind else None,
                )
                self._after_registration(task)
        if record is None:
            raise RuntimeError(f"the row of {task.title} vanished")
        return record

    def _after_registration(self, task: TaskUnderWork) -> None:
        context, resource = self._context, task.resource
        if context.projection.tasks.by_uid(resource.uid) is None:
            # It went while it was registered: what closes its row may have come too early.
            context.wake(GONE_TASK_KEY, resource.namespace, resource.uid)
        if task.session is not None:
            key = Key(SESSION_KEY, task.session.namespace, task.session.name)
            context.queue.add_after(key, _SESSION_DELAY)

    async def _with_lost_nodes(self, pods: Mapping[str, PodView], now: datetime) -> Mapping[str, PodView]:
        """Return the pods, marked where the node that should have ended them is gone or does not answer."""
        found = dict(pods)
        for key, pod in pods.items():
            if pod.overdue_at is None or not pod.lives or now < pod.overdue_at + _NODE_PATIENCE:
                continue
            body = await self._context.kube.get(NODE, None, pod.node)
            found[key] = replace(pod, node_lost=body is None or not is_node_ready(body))
        return found


def _refused_before(resource: Resource, state: TaskState) -> dict[str, str]:
    """Say why the Jobs of attempts whose deadline has passed were refused, as the status has it.

    They are not tried again, and the step keeps the cause as its reason.
    """
    late = {attempt.job for attempt in state.attempts if attempt.open and state.now >= attempt.deadline}
    if not late:
        return {}
    return {
        step.job: step.message
        for step in TaskStatus.model_validate(resource.status).steps
        if step.job in late and step.message and step.reason in {Reason.QUOTA_EXCEEDED, Reason.POD_REFUSED}
    }


def _lacking(resource: Resource, state: TaskState) -> str | None:
    """Say which attempt the status names that the store lacks: then its work may have run, and must not run again."""
    newest: dict[str, int] = {}
    for attempt in state.attempts:
        newest[attempt.step] = max(attempt.number, newest.get(attempt.step, 0))
    steps = resource.status.get("steps")
    # As it stands, not as a model: this is looked at before each plan.
    for step in steps if isinstance(steps, list) else ():
        name, number = (step.get("name"), step.get("attempt")) if isinstance(step, dict) else (None, None)
        mark = state.marks.get(str(name))
        if not isinstance(number, int) or (mark is not None and mark.ended):
            # Of a fan-out that is through the rows hold only the newest attempts.
            continue
        if number > newest.get(str(name), 0):
            return (
                f"the status names attempt {number} of step {name}, which this store does not hold: the "
                "task began with another store. Create it anew to run it again"
            )
    return None
