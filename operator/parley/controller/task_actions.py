"""Carry out what the plan says: one method an action, each safe to repeat."""

from parley.controller.attempt_actions import AttemptActions
from parley.controller.call_actions import CallActions
from parley.controller.child_actions import ChildActions
from parley.controller.context import Context
from parley.controller.end_actions import EndActions
from parley.controller.entry_actions import EntryActions
from parley.controller.job_actions import JobActions
from parley.controller.task_under_work import TaskUnderWork
from parley.engine.actions import (
    Action,
    AnswerCall,
    CloseAttempt,
    CreateChild,
    CreateJob,
    CreateRound,
    EndStep,
    EndTask,
    EndTurn,
    EnterStep,
    ExpireWait,
    FinishChild,
    FinishContainer,
    LookAgain,
    QueueTask,
    RefuseAttempt,
    SetSuspended,
    StartAttempt,
    StartCall,
    StartRound,
    StopJob,
)
from parley.engine.state import TaskState
from parley.store import tasks, turns

__all__ = ["TaskActions", "TaskUnderWork"]


class TaskActions:
    """Writes rows first, objects after: what a crash leaves undone the next plan finds."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._jobs = JobActions(context)
        self._attempts = AttemptActions(context, self._jobs)
        self._calls = CallActions(context, self._jobs)
        self._children = ChildActions(context)
        self._ends = EndActions(context)
        self._entries = EntryActions(context, self._ends)

    async def carry_out(self, action: Action, task: TaskUnderWork, state: TaskState) -> None:  # noqa: C901, PLR0912 - a table
        """Carry out one action. Raises what the store and the API server raise."""
        match action:
            case StartAttempt():
                await self._attempts.start(action, task, state)
            case RefuseAttempt():
                await self._attempts.refuse(action, task)
            case StartCall():
                await self._calls.start(action, task, state)
            case AnswerCall():
                await self._calls.answer(action)
            case QueueTask():
                await self._calls.queue(action, task, state)
            case StartRound():
                await self._attempts.start_round(action, task, state)
            case FinishContainer():
                await self._attempts.finish_container(action, task)
            case CloseAttempt():
                await self._attempts.close(action, task)
            case CreateJob():
                await self._jobs.create(action.attempt, action.step.timeout_or_default(), task)
            case CreateRound():
                await self._jobs.create_round(action.job, action.attempts, action.step, task)
            case StopJob():
                await self._jobs.stop(action, task)
            case LookAgain():
                await self._jobs.look_again(action, task)
            case CreateChild():
                await self._children.create(action, task)
            case FinishChild():
                await self._children.finish(action)
            case EnterStep():
                await self._entries.enter(action, task, state)
            case EndStep():
                await self._entries.end(action, task)
            case ExpireWait():
                await self._entries.expire(action, task, state)
            case EndTurn():
                give_back = turns.end_turn if action.failed else turns.release_turn
                async with self._context.store() as connection:
                    await give_back(connection, self._context.fence, task.resource.uid, action.step)
            case SetSuspended():
                async with self._context.store() as connection:
                    await tasks.set_suspended(
                        connection, self._context.fence, task.resource.uid, suspended=action.suspended
                    )
            case EndTask():
                await self._ends.end(action, task, state)
