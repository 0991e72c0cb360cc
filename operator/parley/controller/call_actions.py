"""Tool calls that the operator carries out: a container in a Job of its own, a Task that is queued.

Each call is a wait of a paused attempt. It ends with a result in the attempt's journal, and the next attempt goes on
from there.
"""

from collections.abc import Mapping

from pydantic import JsonValue

from parley.controller.call_requests import Asked, call_request
from parley.controller.context import Context
from parley.controller.job_actions import JobActions
from parley.controller.opening import as_close, opened
from parley.controller.paused_requests import newest_pauses
from parley.controller.queued_tasks import QueuedTasks
from parley.controller.task_under_work import TaskUnderWork
from parley.controller.telling import tell_of_task
from parley.engine.actions import AnswerCall, QueueTask, StartCall
from parley.engine.names import job_name
from parley.engine.state import NO_ITEM, TaskState, Wait
from parley.resources.reasons import Reason
from parley.resources.steps import DEFAULT_STEP_TIMEOUT
from parley.store import attempts
from parley.store.calls import answer_call, call_arguments
from parley.store.records import NewAttempt, NotGranted
from parley.templates.errors import TemplateError


class CallActions:
    """All safe to repeat, as the actions of steps are."""

    def __init__(self, context: Context, jobs: JobActions) -> None:
        self._context = context
        self._jobs = jobs
        self._queued = QueuedTasks(context)

    async def start(self, action: StartCall, task: TaskUnderWork, state: TaskState) -> None:
        """Insert the next attempt of a call's container, and make its Job."""
        context, resource, wait = self._context, task.resource, action.wait
        failure: TemplateError | None = None
        request: Mapping[str, JsonValue] = {}
        try:
            request = await call_request(
                context.evaluator, await self._asked(wait, state), wait, action.step_name
            )
        except TemplateError as error:
            failure = error
        timeout = wait.timeout or DEFAULT_STEP_TIMEOUT
        new = NewAttempt(
            task_uid=resource.uid,
            step=action.step_name,
            number=action.number,
            cause=action.cause,
            job=job_name(resource.name, resource.uid, action.step_name, NO_ITEM, action.number),
            request=request,
            timeout=timeout,
            close=as_close(action.close) if action.close else None,
        )
        async with context.store() as connection:
            if failure is not None:
                await attempts.insert_failed_attempt(
                    connection, context.fence, new, Reason.TEMPLATE_ERROR, str(failure)
                )
                return
            inserted = await attempts.insert_attempt(connection, context.fence, new)
        if isinstance(inserted, NotGranted):
            return
        task.requests[inserted.id] = request
        await self._jobs.create(opened(new, inserted, state), timeout, task)
        note = f"tool {wait.call} of step {wait.step} runs in Job {new.job}"
        tell_of_task(context, resource, Reason.RUNNING, note, key=new.job or "")

    async def answer(self, action: AnswerCall) -> None:
        """Take the end of a call's container for the call's result."""
        context = self._context
        async with context.store() as connection:
            await answer_call(connection, context.fence, action.wait.id, action.attempt_id)

    async def queue(self, action: QueueTask, task: TaskUnderWork, state: TaskState) -> None:
        """Make the Task of a call, and answer the call with its name."""
        await self._queued.queue(action.wait, await self._asked(action.wait, state), task)

    async def _asked(self, wait: Wait, state: TaskState) -> Asked:
        paused = newest_pauses(state, wait.step).get(wait.item)
        if paused is None:
            raise RuntimeError(f"wait {wait.id} belongs to no attempt that paused")
        async with self._context.store() as connection:
            request = await attempts.load_request(connection, paused.id)
            return Asked(request, await call_arguments(connection, wait.id))
