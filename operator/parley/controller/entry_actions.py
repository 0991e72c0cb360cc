"""What is decided about a step before anything of it runs, and how steps end that no attempt ends."""

from asyncio import Lock
from datetime import datetime
from uuid import uuid4
from weakref import WeakValueDictionary

from pydantic import JsonValue

from parley.controller import rendering
from parley.controller.attempt_actions import values_of
from parley.controller.context import Context
from parley.controller.end_actions import EndActions
from parley.controller.known_values import KnownValues
from parley.controller.task_under_work import TaskUnderWork
from parley.controller.telling import tell_of_task
from parley.engine.actions import EndStep, EnterStep, ExpireWait
from parley.engine.state import TaskState
from parley.resources.reasons import Reason
from parley.resources.task import Step
from parley.store import replies, steps
from parley.store.entries import AskPerson, Done, Enter, Entry, FailStep, Skip, Sleep
from parley.store.errors import ResultTooLarge
from parley.templates.errors import TemplateError


class EntryActions:
    """Renders first, then writes the decision down; the first decision stands."""

    def __init__(self, context: Context, ends: EndActions) -> None:
        self._context = context
        self._ends = ends
        self._writers: WeakValueDictionary[str, Lock] = WeakValueDictionary()
        """By session: who writes its context."""

    async def enter(self, action: EnterStep, task: TaskUnderWork, state: TaskState) -> None:
        """Decide a step, and write that down; a ``return`` ends the task instead."""
        if action.step.set is None or task.session is None:
            await self._enter(action, task, state)
            return
        # Writers that all begin with what they have read lose in turns, and the last of them each time. In a line they
        # lose only to a tool that writes at the same moment.
        async with self._writers.setdefault(task.session.uid, Lock()):
            await self._enter(action, task, state)

    async def _enter(self, action: EnterStep, task: TaskUnderWork, state: TaskState) -> None:
        values, index, step = values_of(self._context, task, state), action.index, action.step
        try:
            entry = await self._decide(task, index, step, values)
            if entry is None:
                value = await rendering.render_return(self._context.evaluator, task, index, step, values)
                await self._ends.end_with(task, f"step {step.name} returned", value)
                return
        except TemplateError as error:
            entry = FailStep(Reason.TEMPLATE_ERROR, str(error))
        try:
            await self._write(task, step, entry)
        except ResultTooLarge as error:
            await self._write(task, step, FailStep(Reason.RESULT_TOO_LARGE, str(error)))

    async def end(self, action: EndStep, task: TaskUnderWork) -> None:
        """End a fan-out that is through, or a sleep that is over."""
        try:
            await self._end(task, action.step, action)
        except ResultTooLarge as error:
            failed = EndStep(action.step, "Failed", Reason.RESULT_TOO_LARGE, str(error))
            await self._end(task, action.step, failed)

    async def expire(self, action: ExpireWait, task: TaskUnderWork, state: TaskState) -> None:
        """End a wait that nobody replied to in time."""
        context, step = self._context, action.step
        default = step.wait is not None and step.wait.on_timeout is not None
        output: JsonValue = None
        if default:
            values = values_of(context, task, state)
            try:
                output = await rendering.render_on_timeout(
                    context.evaluator, task, action.index, step, values
                )
            except TemplateError as error:
                await self._end(
                    task, step.name, EndStep(step.name, "Failed", Reason.TEMPLATE_ERROR, str(error))
                )
                return
        async with context.store() as connection:
            expired = await replies.expire_wait(
                connection, context.fence, action.wait_id, output, has_default=default
            )
        wait = next((each for each in state.waits if each.id == action.wait_id), None)
        if expired and wait is not None and wait.kind == "Approval":
            note = (
                f"nobody said in time whether to call {wait.call} (step {wait.step}): see onApprovalTimeout"
            )
            tell_of_task(context, task.resource, Reason.WAIT_TIMEOUT, note, key=wait.id, warning=True)

    async def _decide(self, task: TaskUnderWork, index: int, step: Step, values: KnownValues) -> Entry | None:
        """Return what is to be written down; None for a ``return`` whose time has come."""
        evaluator = self._context.evaluator
        if not await rendering.render_when(evaluator, task, index, step, values):
            return Skip("when is false")
        if step.for_each is not None:
            return Enter(await rendering.render_items(evaluator, task, index, step, values))
        match step.kind:
            case "sleep":
                time = await rendering.render_sleep(evaluator, task, index, step, values)
                return Sleep(until=time) if isinstance(time, datetime) else Sleep(duration=time)
            case "wait":
                question = await rendering.render_wait(evaluator, task, index, step, values)
                return AskPerson(str(uuid4()), question.to_json(), question.timeout)
            case "set":
                context = await rendering.render_set(evaluator, task, index, step, values)
                base = task.session_spec.context if task.session_spec is not None else None
                # What it was made from: if another writer comes between, it is made again.
                seen = await values.context()
                return Done(None, context, base, seen.version)
            case "fail":
                message = await rendering.render_fail(evaluator, task, index, step, values)
                return FailStep(Reason.ERROR, message)
            case "return":
                return None
            case "prompt" | "tool" | "container" | "task":
                return Enter()

    async def _write(self, task: TaskUnderWork, step: Step, entry: Entry) -> None:
        context = self._context
        async with context.store() as connection:
            await steps.enter_step(connection, context.fence, task.resource.uid, step.name, entry)

    async def _end(self, task: TaskUnderWork, step: str, end: EndStep) -> None:
        context = self._context
        async with context.store() as connection:
            await steps.end_step(
                connection, context.fence, task.resource.uid, step, end.phase, end.reason, end.message
            )
