"""The Deployment of an agent's warm runners: made when it is first needed, scaled to zero when the agent is idle."""

import logging

from parley.controller.context import AGENT_KEY, TASK_KEY, WARM_KEY, Context
from parley.controller.pod_builder import RunnerWorkload
from parley.controller.queue import Key
from parley.controller.resource import Resource
from parley.controller.warm_builder import build_deployment, deployment_name
from parley.controller.warm_runners import read_deployment
from parley.kube.errors import Forbidden, Invalid
from parley.kube.kinds import DEPLOYMENT
from parley.resources.agent import AgentSpec
from parley.store.pools import is_needed

log = logging.getLogger(__name__)
_BUSY_PAUSE = 10.0
"""Seconds until runners that seem idle, but have work that is not known here yet, are looked at again."""
_REFUSED_PAUSE = 10.0


class WarmReconciler:
    """Reconciles the warm runners of one Agent at a time, by the Agent's name.

    What an agent without work says meanwhile is applied when it has some again: the runners would be ended anyway.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    async def reconcile(self, namespace: str, name: str) -> None:
        """Bring the Deployment to what it should be. Raises what the store and the API server raise."""
        context = self._context
        agent = context.projection.agents.get(namespace, name)
        if agent is None or agent.deleting:
            return
        spec = (await context.specs.read(AgentSpec, agent)).spec
        if spec is None:
            return
        runners, key = context.projection.runners, Key(WARM_KEY, namespace, name)
        deployment = runners.deployment(namespace, agent.uid)
        idle = context.demand.idle_seconds(agent.uid)
        if idle is not None and (deployment is None or deployment.replicas == 0):
            return
        workload, replicas = context.pools.workload(agent, spec), spec.warm.replicas
        if idle is not None and deployment is not None:
            rest = spec.warm.idle_time.total_seconds() - idle
            if rest > 0:
                context.queue.add_after(key, rest)
            elif await self._has_work(agent, {workload.pool, deployment.pool}):
                context.queue.add_after(key, _BUSY_PAUSE)
            else:
                replicas = 0
        if deployment is None or (deployment.pool, deployment.replicas) != (workload.pool, replicas):
            await self._apply(agent, workload, replicas)

    async def _has_work(self, agent: Resource, pools: set[str]) -> bool:
        """Ask the store: a task that holds an attempt may not have been looked at by this leader yet."""
        pools = pools | self._context.projection.runners.pools(agent.namespace, agent.uid)
        async with self._context.store() as connection:
            return await is_needed(connection, pools)

    async def _apply(self, agent: Resource, workload: RunnerWorkload, replicas: int) -> None:
        context, namespace = self._context, agent.namespace
        owner, runners = context.pools.owner(agent), context.projection.runners
        body = build_deployment(owner, workload, replicas)
        log.info("warm runners of Agent %s/%s: %d in pool %s", namespace, agent.name, replicas, workload.pool)
        try:
            written = await context.kube.apply(
                DEPLOYMENT, namespace, deployment_name(owner), body, uid=None, resource_version=None
            )
        except (Forbidden, Invalid) as error:
            if runners.refuse(namespace, agent.uid, error.message):
                for task in context.demand.tasks(agent.uid):
                    context.wake(TASK_KEY, task.namespace, task.name)
            context.queue.add_after(Key(WARM_KEY, namespace, agent.name), _REFUSED_PAUSE)
            return
        context.echoes.wrote(DEPLOYMENT, written)
        if runners.see_deployment(namespace, agent.uid, read_deployment(written)):
            # For the watch, which brings the same, it is no news then.
            context.wake(AGENT_KEY, namespace, agent.name)
