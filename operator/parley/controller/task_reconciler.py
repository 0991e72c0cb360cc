"""Tasks: read what is known, plan, carry the plan out, until nothing is left to do; then show it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from parley.controller.context import GONE_TASK_KEY, SESSION_KEY, TASK_KEY, TURNS_KEY, Context
from parley.controller.finality import FINAL_PHASES, is_final, is_settled
from parley.controller.pod_view import is_node_ready
from parley.controller.projection import Resource, TaskWorkload, referred
from parley.controller.queue import Key
from parley.controller.refusals import Refusals
from parley.controller.rows import task_state, turns_of
from parley.controller.session_reconciler import SessionReconciler
from parley.controller.task_actions import TaskActions, TaskUnderWork
from parley.controller.task_status import TaskStatusWriter
from parley.engine.plan import Plan, awaits_ticket, make_plan
from parley.engine.pods import JobView, PodView
from parley.engine.state import Hold, Surroundings, TaskState
from parley.engine.step_plan import lacks_pod
from parley.kube.kinds import NODE
from parley.resources.agent import AgentSpec
from parley.resources.reasons import Reason
from parley.resources.session import SessionSpec
from parley.resources.task import TaskSpec, TaskStatus
from parley.store.records import TaskRecord
from parley.store.tasks import load_task, register_task

_MOST_ROUNDS = 20
_TICKET_PATIENCE = 1.0
_SESSION_DELAY = 5.0
"""Seconds until a session shows that a task of it began; a short turn shows its end instead, in one write."""
_NODE_PATIENCE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class _Observation:
    state: TaskState
    around: Surroundings


class TaskReconciler:
    """Reconciles one Task at a time by name; different tasks at the same time."""

    def __init__(self, context: Context, sessions: SessionReconciler) -> None:
        self._context = context
        self._sessions = sessions
        self._actions = TaskActions(context)
        self._writer = TaskStatusWriter(context, sessions)
        self._refusals = Refusals(context.kube)

    async def reconcile(self, namespace: str, name: str) -> None:
        """Bring a Task as far as it goes now. Raises what the store and the API server raise."""
        resource = self._context.projection.tasks.get(namespace, name)
        if resource is None or resource.deleting or is_settled(resource):
            return
        if is_final(resource):
            await self._writer.acknowledge(resource)
            return
        task = await self._read(resource)
        for _ in range(_MOST_ROUNDS):
            seen = await self._observe(task)
            plan = make_plan(task.spec, task.steps, seen.state, seen.around)
            if self._note_turn(task, plan) and not plan.actions and awaits_ticket(plan, seen.around):
                # The ticket comes at once; if the turn does not come with it, that is shown soon enough.
                self._context.queue.add_after(Key(TASK_KEY, namespace, name), _TICKET_PATIENCE)
                return
            if not plan.actions:
                status = await self._writer.show(task, plan, seen.state, seen.around.hold)
                self._settle(resource, status, plan, seen.state)
                return
            for action in plan.actions:
                await self._actions.carry_out(action, task, seen.state)
        raise RuntimeError(f"the task was not settled after {_MOST_ROUNDS} rounds")

    def forget(self, task: Resource) -> None:
        """Drop what is remembered of a task that has ended."""
        self._context.projection.workloads.forget_task(task.workload_key)
        self._context.ready_steps.forget(task.uid)
        self._context.specs.forget(task)

    async def _read(self, resource: Resource) -> TaskUnderWork:
        reading = await self._context.specs.read(TaskSpec, resource)
        spec = reading.spec
        if spec is None:
            # Only a CRD of another version lets such an object in: enough of a spec to refuse it by.
            spec = TaskSpec(message="unreadable")
        return TaskUnderWork(resource, spec, spec.effective_steps(), reading.problems)

    async def _observe(self, task: TaskUnderWork) -> _Observation:
        context, resource = self._context, task.resource
        # Pods before rows: a runner commits before its pod ends, so a pod seen ended here has its outcome in the
        # rows read after it. The other way round an outcome between the two would look like a lost pod.
        workload = context.projection.workloads.of_task(resource.workload_key)
        await self._resolve(task)
        record = await self._load(task)
        state = task_state(record)
        bound = record.session_uid if record.attempts else None
        gone = bound is not None and (task.session is None or task.session.uid != bound)
        around = Surroundings(
            pods=await self._with_lost_nodes(workload.pods, state.now),
            jobs=await self._with_refusals(resource.namespace, state, workload),
            vanished=frozenset(workload.vanished),
            looked=frozenset(task.looked),
            refusals=_refused_before(resource, state) | task.refusals,
            hold=None if gone else self._hold(task),
            session_gone=gone,
            lacking=_lacking(resource, state),
            problems=task.problems,
            turns=turns_of(record, task.session.uid if task.session else None),
            denied=task.denied,
        )
        return _Observation(state, around)

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

    async def _resolve(self, task: TaskUnderWork) -> None:
        """Look up the session and the agent; both may be made, or made again, at any time."""
        projection, specs, namespace = self._context.projection, self._context.specs, task.resource.namespace
        task.session, task.agent, task.agent_name = None, None, None
        task.session_spec, task.agent_spec, task.unusable = None, None, []
        if task.spec.session_ref is not None:
            task.session = projection.sessions.get(namespace, task.spec.session_ref.name)
            if task.session is not None:
                session = await specs.read(SessionSpec, task.session)
                task.session_spec = session.spec
                task.unusable += [f"Session {task.session.name}: {problem}" for problem in session.problems]
                task.agent_name = referred(task.session, "agentRef")
        elif task.spec.agent_ref is not None:
            task.agent_name = task.spec.agent_ref.name
        if task.agent_name is not None:
            task.agent = projection.agents.get(namespace, task.agent_name)
            if task.agent is not None:
                agent = await specs.read(AgentSpec, task.agent)
                task.agent_spec = agent.spec
                task.unusable += [f"Agent {task.agent.name}: {problem}" for problem in agent.problems]

    def _hold(self, task: TaskUnderWork) -> Hold | None:
        session_ref = task.spec.session_ref
        if session_ref is not None and task.session is None:
            return Hold(
                Reason.SESSION_NOT_FOUND, f"Session {session_ref.name} does not exist in this namespace"
            )
        if task.agent_name is not None and task.agent is None:
            return Hold(Reason.AGENT_NOT_FOUND, f"Agent {task.agent_name} does not exist in this namespace")
        if task.session is not None and (mismatch := self._context.mismatched_sessions.get(task.session.uid)):
            return Hold(Reason.STORE_MISMATCH, f"Session {task.session.name}: {mismatch}")
        if task.unusable:
            return Hold(Reason.INVALID_SPEC, "; ".join(task.unusable))
        return None

    async def _load(self, task: TaskUnderWork) -> TaskRecord:
        context, resource = self._context, task.resource
        async with context.store() as connection:
            record = await load_task(connection, resource.uid)
            session_uid = task.session.uid if task.session else None
            unbound = record is not None and not record.attempts and record.session_uid != session_uid
            if record is None or unbound:
                if task.session is not None:
                    await self._sessions.register(connection, task.session)
                await register_task(
                    connection,
                    context.fence,
                    uid=resource.uid,
                    cluster=context.cluster,
                    namespace=resource.namespace,
                    name=resource.name,
                    session_uid=session_uid,
                    spec=resource.spec,
                    timeout=task.spec.timeout_or_none(),
                    created_at=resource.created,
                )
                self._after_registration(task)
                record = await load_task(connection, resource.uid)
        if record is None:
            raise RuntimeError(f"the row of Task {resource.namespace}/{resource.name} vanished")
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
        for name, pod in pods.items():
            if pod.overdue_at is None or not pod.holds_node or now < pod.overdue_at + _NODE_PATIENCE:
                continue
            body = await self._context.kube.get(NODE, None, pod.node)
            found[name] = replace(pod, node_lost=body is None or not is_node_ready(body))
        return found

    def _note_turn(self, task: TaskUnderWork, plan: Plan) -> bool:
        """Say what is ready; tells whether that is news.

        Tickets wait for each open task of the session, so those without a turn say so too.
        """
        resource = task.resource
        session = referred(resource, "sessionRef")
        if session is None or not self._context.ready_steps.note(resource.uid, plan.ready_turn):
            return False
        self._context.wake(TURNS_KEY, resource.namespace, session)
        return True

    def _settle(self, resource: Resource, status: TaskStatus, plan: Plan, state: TaskState) -> None:
        """Remember when to look again, or nothing more of a task that has ended."""
        if status.phase in FINAL_PHASES:
            self.forget(resource)
        elif plan.wake_at is not None:
            seconds = (plan.wake_at - state.now).total_seconds()
            # The store's clock is read in milliseconds: a little late beats a round too early.
            self._context.queue.add_after(Key(TASK_KEY, resource.namespace, resource.name), seconds + 0.05)


def _refused_before(resource: Resource, state: TaskState) -> dict[str, str]:
    """Say why the Jobs of attempts whose deadline has passed were refused, as the status has it.

    They are not tried again, and the step keeps the cause as its reason.
    """
    late = {attempt.job for attempt in state.attempts if attempt.open and state.now >= attempt.deadline}
    return {
        step.job: step.message
        for step in TaskStatus.model_validate(resource.status).steps
        if step.job in late and step.message and step.reason in {Reason.QUOTA_EXCEEDED, Reason.POD_REFUSED}
    }


def _lacking(resource: Resource, state: TaskState) -> str | None:
    """Say which attempt the status names that the store lacks: then its work may have run, and must not run again."""
    for step in TaskStatus.model_validate(resource.status).steps:
        if step.attempt > len(state.of_step(step.name)):
            return (
                f"the status names attempt {step.attempt} of step {step.name}, which this store does not hold: the "
                "task began with another store. Create it anew to run it again"
            )
    return None
