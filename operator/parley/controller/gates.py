"""What lets a task's steps through or not, beside what they need: the session's state, its turn, the agent's tokens."""

from dataclasses import replace

from parley.controller.context import Context
from parley.controller.session_gate import gate_of
from parley.controller.task_under_work import TaskUnderWork
from parley.controller.turns import before_in_line
from parley.engine.situation import takes_turn
from parley.engine.state import Gate, Hold
from parley.resources.reasons import Reason
from parley.store.records import TaskRecord, TurnRecord
from parley.store.turns import session_turns
from parley.store.usage import agent_usage


class Gates:
    """Asks the store only for what a task can be stopped by."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def of(self, task: TaskUnderWork, record: TaskRecord) -> Gate:
        """Say what stands in the way of a task's steps now."""
        if record.ended is not None:
            return Gate()
        gate = Gate()
        if task.session_spec is not None:
            gate = replace(
                gate_of(task.session_spec, record.session), turn_holder=await self._turn_holder(task, record)
            )
        return await self._with_quota(gate, task)

    async def _turn_holder(self, task: TaskUnderWork, record: TaskRecord) -> Hold | None:
        """Name the task that this one waits for, where it has to: who has the session's turn, or is next before it."""
        busy = any(hold.reason is Reason.SESSION_BUSY for hold in task.denied.values())
        if task.session is None or not (busy or self._context.askers.may_ask(task.session.name)):
            return None
        if not any(takes_turn(task.spec, step) for step in task.steps):
            return None
        if any(turn.state == "Held" for turn in record.turns):
            return None
        async with self._context.store() as connection:
            turns = await session_turns(connection, task.session.uid)
        held = next((turn for turn in turns if turn.state == "Held"), None)
        if held is not None and held.task_uid != record.uid and self._asks(held):
            return Hold(
                Reason.SESSION_WAITING_FOR_REPLY,
                f"Task {held.task_name} has the session's turn and waits for a reply: see its status.waiting",
            )
        before = before_in_line(turns).get(record.uid)
        if before is None:
            return None
        if before.state == "Held":
            return Hold(Reason.SESSION_BUSY, f"Task {before.task_name} has the session's turn")
        # Whom it comes after stays so; who has the turn changes each time, and all that wait would be written for it.
        return Hold(Reason.SESSION_BUSY, f"waits for its turn in the session, after Task {before.task_name}")

    def _asks(self, held: TurnRecord) -> bool:
        holder = self._context.projection.tasks.by_uid(held.task_uid or "")
        return held.paused and holder is not None and bool(holder.status.get("waiting"))

    async def _with_quota(self, gate: Gate, task: TaskUnderWork) -> Gate:
        """Hold prompts back once the agent has used up its tokens of the day."""
        limits = task.agent_spec.limits if task.agent_spec is not None else None
        most = limits.tokens_per_day if limits is not None else None
        if task.agent is None or most is None or all(step.prompt is None for step in task.steps):
            return gate
        name, namespace = task.agent.name, task.resource.namespace
        async with self._context.store() as connection:
            usage = (await agent_usage(connection, self._context.cluster, namespace, [name])).get(name)
        if usage is None or usage.today_in + usage.today_out < most:
            return gate
        used = usage.today_in + usage.today_out
        message = (
            f"Agent {name} has used {used:,} of its {most:,} tokens of {usage.day}: its prompts go on at "
            f"{usage.renews_at:%Y-%m-%dT%H:%M:%SZ}"
        )
        return replace(gate, quota=Hold(Reason.QUOTA_EXCEEDED, message), quota_until=usage.renews_at)
