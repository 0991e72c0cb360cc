"""What an Agent's status counts: its sessions, its open tasks, its tokens."""

from collections.abc import Iterator

from parley.controller.context import AGENT_KEY, Context
from parley.controller.finality import is_final
from parley.controller.queue import Key
from parley.controller.resource import Resource, all_referred
from parley.controller.spec_reconciler import COUNT_SECONDS, Counts
from parley.resources.agent import UsageToday, WarmStatus
from parley.resources.common import Usage
from parley.store.usage import agent_usage


class AgentCounts:
    """Counts in the projection and in the store."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def of(self, agent: Resource) -> Counts:
        """Return the counted fields of an Agent's status; while tasks are open it is counted again in 10 s.

        Raises:
            StoreUnavailable: the tokens could not be read.
        """
        context = self._context
        active = sum(1 for _ in self._open_tasks(agent))
        if active:
            context.queue.add_after(Key(AGENT_KEY, agent.namespace, agent.name), COUNT_SECONDS)
        async with context.store() as connection:
            used = await agent_usage(connection, context.cluster, agent.namespace, [agent.name])
        tokens = used[agent.name]
        return {
            "sessions": len(context.projection.sessions.referring_to(agent.namespace, agent.name)),
            "active_tasks": active,
            "usage": Usage(input_tokens=tokens.total_in, output_tokens=tokens.total_out),
            "usage_today": UsageToday(
                input_tokens=tokens.today_in, output_tokens=tokens.today_out, day=tokens.day.isoformat()
            ),
            "warm": self._warm(agent),
        }

    def _warm(self, agent: Resource) -> WarmStatus | None:
        deployment = self._context.projection.runners.deployment(agent.namespace, agent.uid)
        return (
            WarmStatus(replicas=deployment.replicas, ready=deployment.ready)
            if deployment is not None
            else None
        )

    def _open_tasks(self, agent: Resource) -> Iterator[Resource]:
        """Yield the tasks that name the agent, and those that leave the choice to a session it speaks first in."""
        projection, namespace, name = self._context.projection, agent.namespace, agent.name
        for task in projection.tasks.referring_to(namespace, name, "agentRef"):
            if not is_final(task):
                yield task
        for session in projection.sessions.referring_to(namespace, name):
            if all_referred(session, "agentRef")[:1] != [name]:
                continue
            for task in projection.tasks.referring_to(namespace, session.name):
                if not is_final(task) and not projection.tasks.refers(task, "agentRef"):
                    yield task


def count_soon(context: Context, resource: Resource) -> None:
    """Let the Agents of a Session or Task be counted again, in a while: many change at once."""
    names = all_referred(resource, "agentRef")
    session = context.projection.sessions.get(resource.namespace, _session(resource))
    if not names and session is not None:
        names = all_referred(session, "agentRef")
    for name in names:
        context.queue.add_after(Key(AGENT_KEY, resource.namespace, name), COUNT_SECONDS)


def _session(resource: Resource) -> str:
    reference = resource.spec.get("sessionRef")
    return str(reference.get("name")) if isinstance(reference, dict) else ""
