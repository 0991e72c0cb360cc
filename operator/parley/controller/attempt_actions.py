"""Attempts: their rows are inserted, closed and finished here; what runs them is made by ``job_actions``."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from math import ceil

from pydantic import JsonValue

from parley.controller.context import Context
from parley.controller.family import FAMILY_LIMITS
from parley.controller.job_actions import JobActions
from parley.controller.known_values import KnownValues
from parley.controller.logs import end_of_log
from parley.controller.opening import as_close, opened
from parley.controller.paused_requests import with_tools_of_pauses
from parley.controller.requests import build_request, build_round
from parley.controller.sights import wake_children
from parley.controller.task_under_work import TaskUnderWork
from parley.controller.workloads import has_secrets_of
from parley.engine.actions import (
    CloseAttempt,
    FinishContainer,
    RefuseAttempt,
    RoundEntry,
    StartAttempt,
    StartRound,
)
from parley.engine.names import child_name, job_name, pod_key, round_name
from parley.engine.pods import PodState
from parley.engine.state import NO_ITEM, Hold, Runtime, TaskState
from parley.resources.container_output import read_output
from parley.resources.reasons import Reason
from parley.resources.runtime import RuntimeMode
from parley.resources.task import Step, runtime_mode
from parley.store import attempts, rounds, steps
from parley.store.errors import ResultTooLarge
from parley.store.records import NewAttempt, NotGranted
from parley.templates.errors import TemplateError


class AttemptActions:
    """Writes rows first; the Job of an attempt that stands is made at once, without another plan."""

    def __init__(self, context: Context, jobs: JobActions) -> None:
        self._context = context
        self._jobs = jobs

    async def start(self, action: StartAttempt, task: TaskUnderWork, state: TaskState) -> None:
        """Insert a step's next attempt, or one of an item of it."""
        context, resource, step = self._context, task.resource, action.step
        failure: TemplateError | None = None
        request: dict[str, JsonValue] = {}
        try:
            request = await build_request(
                context.evaluator, task, action.index, step, self._values(task, state), item=action.item
            )
            asked = await with_tools_of_pauses(context, {action.item: request}, state, step.name)
            request = asked[action.item]
        except TemplateError as error:
            failure = error
        name = child_name if step.task is not None else job_name
        runtime, pool = self._runtime(task, step, request)
        new = NewAttempt(
            task_uid=resource.uid,
            step=step.name,
            number=action.number,
            cause=action.cause,
            job=None
            if runtime == "Warm"
            else name(resource.name, resource.uid, step.name, action.item, action.number),
            request=request,
            timeout=step.timeout_or_default(),
            session_uid=task.session.uid if action.needs_turn and task.session else None,
            item=action.item,
            close=as_close(action.close) if action.close else None,
            runtime=runtime,
            pool=pool,
        )
        async with context.store() as connection:
            if failure is not None:
                await attempts.insert_failed_attempt(
                    connection, context.fence, new, Reason.TEMPLATE_ERROR, str(failure)
                )
                return
            inserted = await attempts.insert_attempt(connection, context.fence, new)
            if isinstance(inserted, NotGranted) and (limit := FAMILY_LIMITS.get(inserted.why)):
                await attempts.insert_failed_attempt(
                    connection, context.fence, new, Reason.INVALID_SPEC, limit
                )
        if isinstance(inserted, NotGranted):
            if inserted.why == "turn":
                task.denied[step.name] = Hold(Reason.SESSION_BUSY, "waits for its turn in the session")
            return
        task.requests[inserted.id] = request
        if new.runtime == "Warm":
            task.left_to_runners.add(step.name)
        if step.task is None and new.runtime == "Job":
            await self._jobs.create(opened(new, inserted, state), new.timeout, task)

    async def refuse(self, action: RefuseAttempt, task: TaskUnderWork) -> None:
        """Insert an attempt that has failed for good: nothing runs."""
        resource, step = task.resource, action.step
        new = NewAttempt(
            task_uid=resource.uid,
            step=step.name,
            number=action.number,
            cause="First",
            job=job_name(resource.name, resource.uid, step.name, NO_ITEM, action.number),
            request={},
            timeout=step.timeout_or_default(),
        )
        async with self._context.store() as connection:
            await attempts.insert_failed_attempt(
                connection, self._context.fence, new, action.reason, action.message
            )

    async def start_round(self, action: StartRound, task: TaskUnderWork, state: TaskState) -> None:
        """Insert the attempts of a round, all or none."""
        context, resource, step, entries = self._context, task.resource, action.step, action.entries
        items = [entry.item for entry in entries]
        try:
            requests = await build_round(task, action.index, step, self._values(task, state), items)
        except TemplateError as error:
            async with context.store() as connection:
                await steps.end_step(
                    connection,
                    context.fence,
                    resource.uid,
                    step.name,
                    "Failed",
                    Reason.TEMPLATE_ERROR,
                    str(error),
                )
            return
        by_item = dict(zip(items, requests, strict=True))
        requests = [*(await with_tools_of_pauses(context, by_item, state, step.name)).values()]
        round_ = _round(task, step, entries, requests)
        closes = [as_close(close) for close in action.close]
        async with context.store() as connection:
            inserted = await rounds.insert_round(connection, context.fence, round_, closes)
        if isinstance(inserted, NotGranted):
            return
        task.requests[inserted[0].id] = requests[0]
        stand = tuple(opened(new, row, state) for new, row in zip(round_, inserted, strict=True))
        await self._jobs.create_round(stand[0].job, stand, step, task)

    async def finish_container(self, action: FinishContainer, task: TaskUnderWork) -> None:
        """Commit what a container's pod shows, with the end of its log."""
        context, attempt, verdict = self._context, action.attempt, action.verdict
        namespace, key = task.resource.namespace, pod_key(attempt.job, attempt.index)
        pod = context.projection.workloads.of_task(task.resource.workload_key).pods.get(key)
        succeeded = verdict.state is PodState.SUCCEEDED
        log = await end_of_log(context, namespace, pod.name) if pod is not None else None
        async with context.store() as connection:
            try:
                await attempts.finish_container(
                    connection,
                    context.fence,
                    attempt.id,
                    outcome="Succeeded" if succeeded else "Failed",
                    reason=verdict.reason or Reason.ERROR,
                    message=verdict.message,
                    exit_code=verdict.exit_code,
                    output=read_output(pod.termination_message) if pod and succeeded else None,
                    pod_uid=pod.uid if pod else None,
                    log=log,
                )
            except ResultTooLarge as error:
                await attempts.close_attempt(
                    connection,
                    context.fence,
                    attempt.id,
                    "Failed",
                    Reason.RESULT_TOO_LARGE,
                    str(error),
                    end_turn=False,
                )

    async def close(self, action: CloseAttempt, task: TaskUnderWork) -> None:
        """Close an attempt that has no outcome."""
        async with self._context.store() as connection:
            await attempts.close_attempt(
                connection,
                self._context.fence,
                action.attempt,
                action.phase,
                action.reason,
                action.message,
                end_turn=not action.keeps_turn,
            )
        wake_children(self._context, task.resource)

    def _runtime(
        self, task: TaskUnderWork, step: Step, request: Mapping[str, JsonValue]
    ) -> tuple[Runtime, str | None]:
        """Say what kind of runner takes a step's attempt, and of which pool."""
        mode = runtime_mode(task.spec, task.agent_spec) if step.runs_in_runner else RuntimeMode.JOB
        if mode is not RuntimeMode.WARM or task.agent is None or task.agent_spec is None or not request:
            return ("Task" if mode is RuntimeMode.TASK else "Job"), None
        workload = self._context.pools.workload(task.agent, task.agent_spec)
        # A step that paused goes on with the tools it had then: their Secrets may be the agent's no more.
        return ("Warm", workload.pool) if has_secrets_of(workload, request) else ("Job", None)

    def _values(self, task: TaskUnderWork, state: TaskState) -> KnownValues:
        return values_of(self._context, task, state)


def values_of(context: Context, task: TaskUnderWork, state: TaskState) -> KnownValues:
    """Return what the task's templates read."""
    session = task.session.uid if task.session else None
    return KnownValues(context.store, task.resource.uid, session, state.outputs)


def _round(
    task: TaskUnderWork,
    step: Step,
    entries: Sequence[RoundEntry],
    requests: Sequence[Mapping[str, JsonValue]],
) -> list[NewAttempt]:
    resource, timeout, first = task.resource, step.timeout_or_default(), entries[0]
    job = round_name(resource.name, resource.uid, step.name, first.item, first.number)
    return [
        NewAttempt(
            task_uid=resource.uid,
            step=step.name,
            number=entry.number,
            cause=entry.cause,
            job=job,
            request=request,
            timeout=round_timeout(step, len(entries)),
            item=entry.item,
            index=index,
            item_timeout=timeout,
        )
        for index, (entry, request) in enumerate(zip(entries, requests, strict=True))
    ]


def round_timeout(step: Step, items: int) -> timedelta:
    """Return how long a round may take: each item its time, and as many waits for the items before it."""
    parallelism = step.for_each.parallelism if step.for_each else 1
    return step.timeout_or_default() * ceil(items / parallelism)
