"""Tasks: read what is known, plan, carry the plan out, until nothing is left to do; then show it."""

from asyncio import CancelledError, get_running_loop
from dataclasses import replace
from datetime import UTC, datetime

from parley.controller.context import TASK_KEY, TURNS_KEY, Context
from parley.controller.finality import FINAL_PHASES, is_final, is_settled
from parley.controller.observation import Observation, Observer
from parley.controller.pruning import Pruner, is_to_prune
from parley.controller.queue import Key
from parley.controller.resource import Resource, referred
from parley.controller.session_reconciler import SessionReconciler
from parley.controller.sights import wake_owner, wake_session_tasks
from parley.controller.task_actions import TaskActions
from parley.controller.task_status import TaskStatusWriter
from parley.controller.task_under_work import TaskUnderWork
from parley.controller.templates import TemplateResolver, as_resolved
from parley.engine.actions import Action, StartAttempt, StartCall, StartRound
from parley.engine.plan import Plan, awaits_ticket, holds_slot, make_plan
from parley.engine.situation import needs_slot
from parley.engine.state import Hold, Surroundings, TaskState, Turn
from parley.engine.warm_runner import LOOK_AFTER
from parley.kube.errors import KubeUnavailable
from parley.kube.kinds import TASK
from parley.resources.session_status import SessionPhase
from parley.resources.task import DesiredState, TaskSpec, TaskStatus
from parley.store.children import is_left
from parley.store.errors import StoreUnavailable

_MOST_ROUNDS = 20
_TICKET_PATIENCE = 1.0
_MANY_ATTEMPTS = 100
_PACE = 0.5
"""Seconds between two looks at a task with many attempts: each pod of a large fan-out tells of itself several times."""


class TaskReconciler:
    """Reconciles one Task at a time by name; different tasks at the same time."""

    def __init__(self, context: Context, sessions: SessionReconciler) -> None:
        self._context = context
        self._observer = Observer(context, sessions)
        self._actions = TaskActions(context)
        self._templates = TemplateResolver(context)
        self._writer = TaskStatusWriter(context, sessions)
        self._pruner = Pruner(context)
        self._rests: dict[str, float] = {}
        """By uid: until when a task with many attempts is left alone."""
        self._patience: dict[str, float] = {}
        """By uid: until when nothing is said of a ticket that has not come."""

    async def reconcile(self, namespace: str, name: str) -> None:
        """Bring a Task as far as it goes now. Raises what the store and the API server raise."""
        resource = self._context.projection.tasks.get(namespace, name)
        if resource is None:
            return
        if resource.deleting:
            self._context.slots.forget(resource.uid)
        elif is_final(resource):
            # Its end may be the word of another leader, and all others wait until each open task was planned.
            self.forget(resource)
            await self._after_the_end(resource)
        elif (rest := self._rests.get(resource.uid, 0.0) - get_running_loop().time()) > 0:
            self._context.queue.add_after(_key(resource), rest)
        else:
            try:
                await self._go_on(resource)
            except (StoreUnavailable, KubeUnavailable):
                raise
            except (Exception, CancelledError):
                # What cannot be planned, or takes too long, must not keep all others from their places.
                self._context.slots.pass_over(resource.uid)
                raise

    def forget(self, task: Resource) -> None:
        """Drop what is remembered of a task that has ended."""
        self._context.projection.workloads.forget_task(task.workload_key)
        self._context.ready_steps.forget(task.uid)
        self._context.specs.forget(task)
        self._context.slots.forget(task.uid)
        self._context.demand.forget(task.uid)
        if (session := self._context.askers.forget(task.uid)) is not None:
            wake_session_tasks(self._context, task.namespace, session)
        self._templates.forget(task)
        self._rests.pop(task.uid, None)
        self._patience.pop(task.uid, None)

    async def _after_the_end(self, resource: Resource) -> None:
        if not is_settled(resource):
            await self._writer.acknowledge(resource)
        latest = self._context.projection.tasks.get(resource.namespace, resource.name)
        if latest is not None and is_to_prune(latest):
            await self._pruner.prune(latest)

    async def _go_on(self, resource: Resource) -> None:
        task = await self._read(resource)
        if isinstance(task, Hold):
            await self._show_held(resource, task)
            return
        begun: TaskState | None = None
        for _ in range(_MOST_ROUNDS):
            seen = await self._observer.observe(task)
            begun = begun or seen.state
            self._context.demand.note(resource, task.agent if _needs_warm_runner(seen.state) else None)
            plan, around = self._plan(task, seen)
            if self._note_turns(task, plan, around):
                self._patience[resource.uid] = get_running_loop().time() + _TICKET_PATIENCE
            if (
                not plan.actions
                and awaits_ticket(plan, around)
                and (rest := self._rest_of_patience(resource))
            ):
                # The ticket comes at once; if the turn does not come with it, that is shown soon enough.
                self._context.queue.add_after(_key(resource), rest)
                return
            if not plan.actions:
                status = await self._writer.show(task, plan, seen.state, around.gate.hold)
                self._note_asker(task, status, around)
                self._settle(resource, status, plan, seen.state)
                return
            for action in plan.actions:
                await self._actions.carry_out(action, task, seen.state)
            if all(_is_left_to_runners(action, task) for action in plan.actions):
                # Most are over before anybody looks again; and what is to be seen before is told.
                self._context.demand.note(resource, task.agent)
                self._context.queue.add_after(_key(resource), LOOK_AFTER.total_seconds())
                return
        if begun is not None and _has_advanced(begun, (await self._observer.observe(task)).state):
            # Steps that run in the operator follow each other at once; other tasks have their turn in between.
            self._context.queue.add(_key(resource))
            return
        raise RuntimeError(f"the task was not settled after {_MOST_ROUNDS} rounds")

    async def _read(self, resource: Resource) -> TaskUnderWork | Hold:
        written, own_problems = resource, tuple[str, ...]()
        if referred(resource, "templateRef") is not None:
            resolved = await self._templates.resolve(resource)
            if not isinstance(resolved, Hold):
                written, own_problems = as_resolved(resource, resolved.spec), resolved.problems
            elif not await self._is_over(resource):
                return resolved
        reading = await self._context.specs.read(TaskSpec, written)
        spec = reading.spec
        if spec is None:
            # Only a CRD of another version lets such an object in: enough of a spec to refuse it by.
            spec = TaskSpec(message="unreadable")
        return TaskUnderWork(
            resource=resource,
            spec=spec,
            steps=spec.effective_steps(),
            problems=own_problems or reading.problems,
            registered=written.spec,
        )

    async def _is_over(self, resource: Resource) -> bool:
        """Whether a task that waits for its template is to end all the same."""
        if resource.spec.get("desiredState") == DesiredState.CANCELLED:
            return True
        if resource.owner is None or resource.owner.kind != TASK.kind:
            return False
        async with self._context.store() as connection:
            return await is_left(connection, resource.owner.uid, resource.name)

    def _plan(self, task: TaskUnderWork, seen: Observation) -> tuple[Plan, Surroundings]:
        """Make a plan with the task's place among those that work; nothing is awaited between ask and settle."""
        slots, claim, state = self._context.slots, task.claim, seen.state
        holds = state.end is None and holds_slot(task.steps, state)
        if claim is None:
            return make_plan(task.spec, task.steps, state, seen.around), seen.around
        around = replace(seen.around, slot=slots.ask(claim, holds=holds))
        plan = make_plan(task.spec, task.steps, state, around)
        starts = any(_takes_slot(action) for action in plan.actions)
        slots.settle(claim, starts=starts, holds=holds, wants=plan.wants_slot and around.slot is not None)
        return plan, around

    def _note_turns(self, task: TaskUnderWork, plan: Plan, around: Surroundings) -> bool:
        """Say what is ready; tells whether that is news for the session's queue.

        Tickets wait for each open task of the session, so those without a turn say so too.
        """
        resource, session = task.resource, task.spec.session_ref
        is_news = self._context.ready_steps.note(resource.uid, plan.ready_turns)
        if session is None or not (is_news or awaits_ticket(plan, around)):
            return False
        if is_news and self._is_queued_alone(task, plan, around):
            return False
        # Also of what is no news: a look at the queue that began before may have taken a ticket back since.
        self._context.wake(TURNS_KEY, resource.namespace, session.name)
        return is_news

    def _is_queued_alone(self, task: TaskUnderWork, plan: Plan, around: Surroundings) -> bool:
        """Tell whether the session's queue is as it should be already, as in a chat: its message brought the ticket.

        Nobody else waits, each ready step has its ticket, and no other step of this task has one.
        """
        session = task.session
        if session is None or session.status.get("phase") == SessionPhase.DORMANT:
            return False
        tasks = self._context.projection.tasks.referring_to(session.namespace, session.name)
        others = (each for each in tasks if each.uid != task.resource.uid)
        return set(around.turns) == set(plan.ready_turns) and all(map(is_final, others))

    def _rest_of_patience(self, resource: Resource) -> float:
        """Return for how many more seconds nothing is said of a ticket that has not come."""
        rest = self._patience.get(resource.uid, 0.0) - get_running_loop().time()
        if rest <= 0:
            self._patience.pop(resource.uid, None)
        return max(rest, 0.0)

    def _note_asker(self, task: TaskUnderWork, status: TaskStatus, around: Surroundings) -> None:
        """Let the others of the session say whose reply they wait for, once this task's status says what is asked."""
        session = task.spec.session_ref
        asks = bool(status.waiting) and Turn.HELD in around.turns.values()
        if session is not None and self._context.askers.note(task.resource, session.name if asks else None):
            wake_session_tasks(self._context, task.resource.namespace, session.name)

    async def _show_held(self, resource: Resource, hold: Hold) -> None:
        """Show that a task waits for its template; the store does not know it yet."""
        self._context.slots.forget(resource.uid)
        session = referred(resource, "sessionRef")
        if session is not None and self._context.ready_steps.note(resource.uid, ()):
            self._context.wake(TURNS_KEY, resource.namespace, session)
        now = datetime.now(UTC)
        task = TaskUnderWork(resource, TaskSpec(), [], (), {})
        await self._writer.show(task, Plan(()), TaskState(now=now, created_at=now), hold)

    def _settle(self, resource: Resource, status: TaskStatus, plan: Plan, state: TaskState) -> None:
        """Remember when to look again, or nothing more of a task that has ended."""
        queue, key = self._context.queue, _key(resource)
        if status.phase in FINAL_PHASES:
            self.forget(resource)
            # Our own write is no news when the watch brings it: who waits for this end is told here.
            latest = self._context.projection.tasks.get(resource.namespace, resource.name)
            wake_owner(self._context, latest or resource)
            if latest is not None and is_to_prune(latest):
                queue.add(key)
            return
        if len(state.attempts) > _MANY_ATTEMPTS:
            self._rests[resource.uid] = get_running_loop().time() + _PACE
        if plan.wake_at is not None:
            # The store's clock is read in milliseconds: a little late beats a round too early.
            queue.add_after(key, (plan.wake_at - state.now).total_seconds() + 0.05)
        if plan.wants_slot:
            # Its place in the queue changes without anything of its own.
            queue.add_after(key, self._context.slots.pause)


def _key(resource: Resource) -> Key:
    return Key(TASK_KEY, resource.namespace, resource.name)


def _takes_slot(action: Action) -> bool:
    """Tell whether an action starts work in a pod."""
    match action:
        case StartAttempt() | StartRound():
            return needs_slot(action.step)
        case _:
            return isinstance(action, StartCall)


def _is_left_to_runners(action: Action, task: TaskUnderWork) -> bool:
    return isinstance(action, StartAttempt) and action.step.name in task.left_to_runners


def _needs_warm_runner(state: TaskState) -> bool:
    """Tell whether an attempt is held by a warm runner, or may be taken by one now."""
    return any(
        attempt.runtime == "Warm"
        and (attempt.phase == "Running" or (attempt.phase == "Open" and not state.suspended))
        for attempt in state.attempts
    )


def _has_advanced(before: TaskState, after: TaskState) -> bool:
    """Tell whether a task got further: a step was decided, or something was begun."""
    ended = sum(mark.ended for mark in after.marks.values()) - sum(m.ended for m in before.marks.values())
    return (
        ended > 0
        or len(after.marks) > len(before.marks)
        or max((a.id for a in after.attempts), default=0) > max((a.id for a in before.attempts), default=0)
        or (after.end is not None and before.end is None)
    )
