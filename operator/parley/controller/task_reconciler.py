"""Tasks: read what is known, plan, carry the plan out, until nothing is left to do; then show it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from parley.controller.context import TASK_KEY, TURNS_KEY, Context
from parley.controller.finality import FINAL_PHASES, is_final
from parley.controller.projection import Resource, TaskWorkload, referred
from parley.controller.queue import Key
from parley.controller.refusals import Refusals
from parley.controller.rows import task_state, turns_of
from parley.controller.session_reconciler import SessionReconciler
from parley.controller.task_actions import TaskActions, TaskUnderWork
from parley.engine.plan import Plan, lacks_pod, make_plan, takes_turn
from parley.engine.pods import JobView
from parley.engine.state import Hold, Surroundings, TaskState
from parley.engine.status import build_status
from parley.kube.events import Transition
from parley.kube.kinds import TASK
from parley.resources.agent import AgentSpec
from parley.resources.reasons import Reason
from parley.resources.session import SessionSpec
from parley.resources.task import StepPhase, TaskPhase, TaskSpec, TaskStatus
from parley.store.records import TaskRecord
from parley.store.tasks import load_task, register_task

_MOST_ROUNDS = 20


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
        self._refusals = Refusals(context.kube)

    async def reconcile(self, namespace: str, name: str) -> None:
        """Bring a Task as far as it goes now. Raises what the store and the API server raise."""
        resource = self._context.projection.tasks.get(namespace, name)
        if resource is None or resource.deleting or is_final(resource):
            return
        task = await self._read(resource)
        for _ in range(_MOST_ROUNDS):
            seen = await self._observe(task)
            plan = make_plan(task.spec, task.steps, seen.state, seen.around)
            self._note_turn(task, plan)
            if not plan.actions:
                await self._show(task, plan, seen)
                return
            for action in plan.actions:
                await self._actions.carry_out(action, task, seen.state)
        raise RuntimeError(f"the task was not settled after {_MOST_ROUNDS} rounds")

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a task that has ended or is gone."""
        self._context.projection.workloads.forget_task(uid)

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
        workload = context.projection.workloads.of_task(resource.uid)
        await self._resolve(task)
        record = await self._load(task)
        state = task_state(record)
        bound = record.session_uid if record.attempts else None
        gone = bound is not None and (task.session is None or task.session.uid != bound)
        around = Surroundings(
            pods=workload.pods,
            jobs=await self._with_refusals(resource.namespace, state, workload),
            vanished=frozenset(workload.vanished),
            looked=frozenset(task.looked),
            refusals=task.refusals,
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
                record = await load_task(connection, resource.uid)
        if record is None:
            raise RuntimeError(f"the row of Task {resource.namespace}/{resource.name} vanished")
        return record

    def _note_turn(self, task: TaskUnderWork, plan: Plan) -> None:
        """Say what is ready. Tickets wait for each open task of the session, so those without a turn say so too."""
        resource = task.resource
        session = referred(resource, "sessionRef")
        if session is not None and self._context.ready_steps.note(resource.uid, plan.ready_turn):
            self._context.wake(TURNS_KEY, resource.namespace, session)

    async def _show(self, task: TaskUnderWork, plan: Plan, seen: _Observation) -> None:
        resource = task.resource
        previous = TaskStatus.model_validate(resource.status)
        status = build_status(
            plan.steps,
            seen.state,
            hold=seen.around.hold,
            agent=task.agent_name or previous.agent,
            generation=resource.generation,
            previous=previous,
        )
        ended = status.phase in FINAL_PHASES
        if task.session is not None and (ended or _turn_ended(task, status, previous)):
            # Whoever sees Succeeded sees its events: the session's status goes first (design 4).
            await self._sessions.show(task.session.namespace, task.session.name)
        body = status.to_json()
        if body != resource.status:
            written = await self._context.kube.apply_status(
                TASK,
                resource.namespace,
                resource.name,
                body,
                resource_version=resource.resource_version,
            )
            self._context.echoes.wrote(TASK, written)
            self._context.projection.tasks.see(Resource.from_object(written))
            self._tell(resource, status, previous)
        if ended:
            self.forget(resource.uid)
        elif plan.wake_at is not None:
            seconds = (plan.wake_at - seen.state.now).total_seconds()
            # The store's clock is read in milliseconds: a little late beats a round too early.
            self._context.queue.add_after(Key(TASK_KEY, resource.namespace, resource.name), seconds + 0.05)

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


def _lacking(resource: Resource, state: TaskState) -> str | None:
    """Say which attempt the status names that the store lacks: then its work may have run, and must not run again."""
    for step in TaskStatus.model_validate(resource.status).steps:
        if step.attempt > len(state.of_step(step.name)):
            return (
                f"the status names attempt {step.attempt} of step {step.name}, which this store does not hold: the "
                "task began with another store. Create it anew to run it again"
            )
    return None


def _turn_ended(task: TaskUnderWork, status: TaskStatus, previous: TaskStatus) -> bool:
    before = {step.name: step.phase for step in previous.steps}
    turns = {step.name for step in task.steps if takes_turn(task.spec, step)}
    return any(
        step.name in turns and step.phase is StepPhase.SUCCEEDED and before.get(step.name) != step.phase
        for step in status.steps
    )
