"""Which agents have work for warm runners: the tasks with attempts that such a runner has, or is to take.

Kept by the task reconciler, which sees each open task's attempts at every change; a new leader looks at all of them.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from parley.controller.resource import ObjectName, Resource


@dataclass(slots=True)
class _Agent:
    tasks: dict[str, ObjectName] = field(default_factory=dict[str, ObjectName])
    """By uid."""
    idle_since: float | None = None


class WarmDemand:
    """The agents' work, by the agent's uid.

    Args:
        wake: called with an agent's namespace and name when it has work again, or none any more.
        clock: monotonic seconds.
    """

    def __init__(self, wake: Callable[[str, str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._wake = wake
        self._clock = clock
        self._agents: defaultdict[str, _Agent] = defaultdict(_Agent)
        self._of_task: dict[str, Resource] = {}

    def note(self, task: Resource, agent: Resource | None) -> None:
        """Remember whose warm runners a task needs; None: nobody's."""
        known = self._of_task.get(task.uid)
        if known is not None and agent is not None and known.uid == agent.uid:
            return
        self.forget(task.uid)
        if agent is None:
            return
        self._of_task[task.uid] = agent
        entry = self._agents[agent.uid]
        entry.tasks[task.uid] = task.key
        entry.idle_since = None
        if len(entry.tasks) == 1:
            self._wake(agent.namespace, agent.name)

    def forget(self, task_uid: str) -> None:
        """Drop a task that needs no warm runner any more, for it ended or is gone."""
        agent = self._of_task.pop(task_uid, None)
        if agent is None:
            return
        entry = self._agents[agent.uid]
        entry.tasks.pop(task_uid, None)
        if not entry.tasks:
            entry.idle_since = self._clock()
            self._wake(agent.namespace, agent.name)

    def tasks(self, agent_uid: str) -> tuple[ObjectName, ...]:
        """Return the tasks that need an agent's warm runners."""
        entry = self._agents.get(agent_uid)
        return tuple(entry.tasks.values()) if entry is not None else ()

    def idle_seconds(self, agent_uid: str) -> float | None:
        """Return for how long an agent has had no work, as far as was seen here; None while it has some."""
        entry = self._agents[agent_uid]
        if entry.tasks:
            return None
        if entry.idle_since is None:
            entry.idle_since = self._clock()
        return self._clock() - entry.idle_since

    def forget_agent(self, agent_uid: str) -> None:
        """Drop an agent that is gone; its tasks say themselves when they need another."""
        entry = self._agents.get(agent_uid)
        if entry is not None and not entry.tasks:
            del self._agents[agent_uid]
