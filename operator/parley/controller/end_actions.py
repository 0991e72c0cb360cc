"""The end of a task: its output is rendered, and what is still open is closed with it."""

from pydantic import JsonValue

from parley.controller.attempt_actions import values_of
from parley.controller.context import Context
from parley.controller.rendering import render_output
from parley.controller.sights import wake_children
from parley.controller.task_under_work import TaskUnderWork
from parley.engine.actions import EndTask
from parley.engine.state import EndPhase, TaskState
from parley.resources.reasons import Reason
from parley.store import tasks
from parley.store.errors import ResultTooLarge
from parley.templates.errors import TemplateError


class EndActions:
    """The first end stands."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def end(self, action: EndTask, task: TaskUnderWork, state: TaskState) -> None:
        """End a task; when it succeeded its output is rendered first, and may yet fail it."""
        if action.phase != "Succeeded":
            await self._end(task, action.phase, action.reason, action.message)
            return
        try:
            output = await render_output(self._context.evaluator, task, values_of(self._context, task, state))
        except TemplateError as error:
            await self._end(task, "Failed", Reason.TEMPLATE_ERROR, str(error))
            return
        await self.end_with(task, action.message, output)

    async def end_with(self, task: TaskUnderWork, message: str, output: JsonValue) -> None:
        """End a task that succeeded with this output."""
        try:
            await self._end(task, "Succeeded", Reason.SUCCEEDED, message, output)
        except ResultTooLarge as error:
            await self._end(task, "Failed", Reason.RESULT_TOO_LARGE, f"the task's output: {error}")

    async def _end(
        self,
        task: TaskUnderWork,
        phase: EndPhase,
        reason: Reason,
        message: str,
        output: JsonValue = None,
    ) -> None:
        async with self._context.store() as connection:
            await tasks.end_task(
                connection,
                self._context.fence,
                task.resource.uid,
                phase=phase,
                reason=reason,
                message=message,
                output=output,
                close_attempts=reason,
            )
        wake_children(self._context, task.resource)
