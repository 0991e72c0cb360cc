"""Whose runners take a task's attempts in runtime mode Warm: the agent's, in the pool of what it says now."""

from collections import OrderedDict

from parley.controller.pod_builder import RunnerWorkload
from parley.controller.resource import Resource
from parley.controller.settings import Settings
from parley.controller.warm_builder import WarmOwner, in_pool
from parley.controller.workloads import warm_workload
from parley.resources.agent import AgentSpec

_REMEMBERED = 1_000


class WarmPools:
    """Works out what an agent's warm runners run; once for each generation of the agent.

    Args:
        settings: the operator's.
        cluster: id of the cluster.
        store_id: id of the store.
    """

    def __init__(self, settings: Settings, cluster: str, store_id: str) -> None:
        self._settings = settings
        self._cluster = cluster
        self._store_id = store_id
        self._known: OrderedDict[tuple[str, int], RunnerWorkload] = OrderedDict()

    def owner(self, agent: Resource) -> WarmOwner:
        """Name the agent, for its Deployment."""
        return WarmOwner(cluster=self._cluster, namespace=agent.namespace, name=agent.name, uid=agent.uid)

    def workload(self, agent: Resource, spec: AgentSpec) -> RunnerWorkload:
        """Return what the runners of an agent run, in its pool; ``spec`` is the agent's, read."""
        key = agent.uid, agent.generation
        known = self._known.get(key)
        if known is None:
            workload = warm_workload(spec, self._settings, self._store_id)
            known = self._known[key] = in_pool(self.owner(agent), workload)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known
