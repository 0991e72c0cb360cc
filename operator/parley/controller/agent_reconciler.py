"""Agents: Ready as soon as their spec is sound. Secrets are not read: a pod that lacks one says so."""

from datetime import UTC, datetime

from parley.controller.context import Context
from parley.controller.projection import Resource
from parley.kube.kinds import AGENT
from parley.resources.agent import AgentSpec, AgentStatus
from parley.resources.conditions import invalid, is_ready, merge_conditions
from parley.resources.reasons import Reason


class AgentReconciler:
    """Reconciles Agents by name."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def reconcile(self, namespace: str, name: str) -> None:
        """Write the agent's status if it is not what it should be."""
        agent = self._context.projection.agents.get(namespace, name)
        if agent is None or agent.deleting:
            return
        problems = (await self._context.specs.read(AgentSpec, agent)).problems
        verdicts = (
            invalid(Reason.INVALID_SPEC, "; ".join(problems))
            if problems
            else is_ready("the agent can be used")
        )
        previous = AgentStatus.model_validate(agent.status)
        status = AgentStatus(
            observed_generation=agent.generation,
            conditions=merge_conditions(
                previous.conditions, verdicts, generation=agent.generation, now=datetime.now(UTC)
            ),
        ).to_json()
        if status == agent.status:
            return
        written = await self._context.kube.apply_status(
            AGENT, namespace, name, status, resource_version=agent.resource_version
        )
        self._context.echoes.wrote(AGENT, written)
        self._context.projection.agents.see(Resource.from_object(written))
