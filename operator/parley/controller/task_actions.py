"""Carry out what the plan says: one method an action, each safe to repeat."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from parley.controller.context import Context
from parley.controller.job_builder import JobOwner, build_job
from parley.controller.pod_view import controlling_job, is_controlled_by, read_job, read_pod
from parley.controller.projection import TASK_UID_LABEL, Resource
from parley.controller.requests import build_request, render_output, workload_of
from parley.engine.actions import (
    Action,
    CloseAttempt,
    CreateJob,
    EndTask,
    EndTurn,
    FinishContainer,
    LookAgain,
    SetSuspended,
    StartAttempt,
    StopJob,
)
from parley.engine.names import job_name
from parley.engine.pods import PodState
from parley.engine.state import Hold, TaskState
from parley.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid
from parley.kube.kinds import JOB, POD
from parley.resources.agent import AgentSpec
from parley.resources.common import is_deeper_than
from parley.resources.problems import MAX_DEPTH
from parley.resources.reasons import Reason
from parley.resources.session import SessionSpec
from parley.resources.task import Step, TaskSpec
from parley.store import attempts, tasks, turns
from parley.store.errors import ResultTooLarge
from parley.store.records import Close, NewAttempt, NotGranted
from parley.templates.errors import TemplateError

log = logging.getLogger(__name__)


@dataclass(slots=True)
class TaskUnderWork:
    """One Task during one reconcile."""

    resource: Resource
    spec: TaskSpec
    steps: list[Step]
    problems: tuple[str, ...]
    session: Resource | None = None
    agent: Resource | None = None
    agent_name: str | None = None
    session_spec: SessionSpec | None = None
    agent_spec: AgentSpec | None = None
    unusable: list[str] = field(default_factory=list[str])
    """What is wrong in the specs of its session and its agent."""
    denied: dict[str, Hold] = field(default_factory=dict[str, Hold])
    """Steps whose start the store refused in this reconcile."""
    requests: dict[int, Mapping[str, JsonValue]] = field(default_factory=dict[int, Mapping[str, JsonValue]])
    """Requests of attempts inserted in this reconcile."""
    looked: set[str] = field(default_factory=set[str])
    """Jobs whose pods were read from the API server in this reconcile."""
    refusals: dict[str, str] = field(default_factory=dict[str, str])
    """By Job name: why the API server refused to make it in this reconcile."""


class TaskActions:
    """Writes rows first, objects after: what a crash leaves undone the next plan finds."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def carry_out(self, action: Action, task: TaskUnderWork, state: TaskState) -> None:
        """Carry out one action. Raises what the store and the API server raise."""
        match action:
            case StartAttempt():
                await self._start(action, task, state)
            case CreateJob():
                await self._create_job(action, task)
            case FinishContainer():
                await self._finish_container(action, task)
            case CloseAttempt():
                await self._close(action)
            case StopJob():
                await self._stop_job(action, task)
            case LookAgain():
                await self._look_again(action, task)
            case EndTurn():
                async with self._context.store() as connection:
                    await turns.release_turn(connection, self._context.fence, task.resource.uid, action.step)
            case SetSuspended():
                async with self._context.store() as connection:
                    await tasks.set_suspended(
                        connection, self._context.fence, task.resource.uid, suspended=action.suspended
                    )
            case EndTask():
                await self._end(action, task, state)

    async def _start(self, action: StartAttempt, task: TaskUnderWork, state: TaskState) -> None:
        context, resource, step = self._context, task.resource, action.step
        failure: TemplateError | None = None
        request: Mapping[str, JsonValue] = {}
        try:
            request = await build_request(context.evaluator, task, action.index, step, state.outputs)
        except TemplateError as error:
            failure = error
        session_uid = task.session.uid if action.needs_turn and task.session else None
        close = action.close
        new = NewAttempt(
            task_uid=resource.uid,
            step=step.name,
            number=action.number,
            cause=action.cause,
            job=job_name(resource.name, resource.uid, step.name, -1, action.number),
            request=request,
            timeout=step.timeout_or_default(),
            session_uid=session_uid,
            close=Close(close.attempt, close.phase, close.reason, close.message) if close else None,
        )
        async with context.store() as connection:
            if failure is not None:
                await attempts.insert_failed_attempt(
                    connection, context.fence, new, Reason.TEMPLATE_ERROR, str(failure)
                )
                return
            inserted = await attempts.insert_attempt(connection, context.fence, new)
        if isinstance(inserted, NotGranted):
            if inserted.why == "turn":
                task.denied[step.name] = Hold(Reason.SESSION_BUSY, "another turn holds the session")
            return
        task.requests[inserted.id] = request

    async def _create_job(self, action: CreateJob, task: TaskUnderWork) -> None:
        context, resource, attempt = self._context, task.resource, action.attempt
        request = task.requests.get(attempt.id)
        if request is None:
            async with context.store() as connection:
                request = await attempts.load_request(connection, attempt.id)
        body = build_job(
            JobOwner(namespace=resource.namespace, name=resource.name, uid=resource.uid),
            workload_of(request, context.settings, context.store_id),
            name=attempt.job,
            step=attempt.step,
            number=attempt.number,
            timeout_seconds=int(action.step.timeout_or_default().total_seconds()),
        )
        try:
            created = await context.kube.create(JOB, resource.namespace, body)
            context.echoes.wrote(JOB, created)
        except AlreadyExists:
            existing = await context.kube.get(JOB, resource.namespace, attempt.job)
            if existing is None:
                return
            if not is_controlled_by(existing, resource.uid):
                task.refusals[attempt.job] = (
                    f"a Job named {attempt.job} exists that is not this task's: delete it"
                )
                return
            created = existing
        except (Forbidden, Invalid) as error:
            task.refusals[attempt.job] = error.message
            return
        context.projection.workloads.see_job(resource.workload_key, read_job(created))

    async def _finish_container(self, action: FinishContainer, task: TaskUnderWork) -> None:
        context, attempt, verdict = self._context, action.attempt, action.verdict
        pod = context.projection.workloads.of_task(task.resource.workload_key).pods.get(attempt.job)
        succeeded = verdict.state is PodState.SUCCEEDED
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

    async def _close(self, action: CloseAttempt) -> None:
        async with self._context.store() as connection:
            await attempts.close_attempt(
                connection,
                self._context.fence,
                action.attempt,
                action.phase,
                action.reason,
                action.message,
                end_turn=action.phase != "Lost",
            )

    async def _stop_job(self, action: StopJob, task: TaskUnderWork) -> None:
        context, resource = self._context, task.resource
        body = await context.kube.get(JOB, resource.namespace, action.job)
        if body is None:
            context.projection.workloads.drop_job(resource.workload_key, action.job)
            return
        job = read_job(body)
        if not job.ended:
            spec = body.get("spec")
            body["spec"] = {**(spec if isinstance(spec, dict) else {}), "suspend": True}
            try:
                job = read_job(await context.kube.replace(JOB, resource.namespace, body))
            except Conflict:
                # The Job controller wrote it meanwhile; the next round reads it again.
                return
        context.projection.workloads.see_job(resource.workload_key, job)

    async def _look_again(self, action: LookAgain, task: TaskUnderWork) -> None:
        kube, resource = self._context.kube, task.resource
        workloads = self._context.projection.workloads
        pods = await kube.list(POD, namespace=resource.namespace, labels={TASK_UID_LABEL: resource.uid})
        for body in pods.items:
            if (job := controlling_job(body)) is not None:
                workloads.see_pod(resource.workload_key, job, read_pod(body))
        if (body := await kube.get(JOB, resource.namespace, action.job)) is not None:
            workloads.see_job(resource.workload_key, read_job(body))
        task.looked.add(action.job)

    async def _end(self, action: EndTask, task: TaskUnderWork, state: TaskState) -> None:
        context = self._context
        phase, reason, message = action.phase, action.reason, action.message
        output: JsonValue = None
        if phase == "Succeeded":
            try:
                output = await render_output(context.evaluator, task, state.outputs)
            except TemplateError as error:
                phase, reason, message = "Failed", Reason.TEMPLATE_ERROR, str(error)
        async with context.store() as connection:
            try:
                await tasks.end_task(
                    connection,
                    context.fence,
                    task.resource.uid,
                    phase=phase,
                    reason=reason,
                    message=message,
                    output=output,
                    close_attempts=reason,
                )
            except ResultTooLarge as error:
                await tasks.end_task(
                    connection,
                    context.fence,
                    task.resource.uid,
                    phase="Failed",
                    reason=Reason.RESULT_TOO_LARGE,
                    message=f"spec.output: {error}",
                    close_attempts=Reason.RESULT_TOO_LARGE,
                )


def read_output(message: str) -> JsonValue:
    """Read a container's termination message: JSON where it is JSON, else text; empty is null."""
    if not message.strip():
        return None
    try:
        value: JsonValue = json.loads(message, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return message
    # Stored, it could not be read again: the task would never end.
    return message if is_deeper_than(value, MAX_DEPTH) else value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
