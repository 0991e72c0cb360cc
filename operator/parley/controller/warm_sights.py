"""From a sight of a warm runner's pod or Deployment to the keys it concerns."""

from typing import cast

from parley.controller.context import AGENT_KEY, TASK_KEY, WARM_KEY, Context
from parley.controller.pod_view import read_pod
from parley.controller.warm_runners import (
    agent_of_deployment,
    agent_uid_of_pod,
    pool_of_pod,
    read_deployment,
)
from parley.engine.pods import Verdict
from parley.engine.warm_runner import judge_pool
from parley.kube.client import JsonObject
from parley.kube.kinds import DEPLOYMENT, Kind


class WarmSights:
    """Takes in what is seen of warm runners."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def see(self, kind: Kind, body: JsonObject, deleted: bool) -> None:
        """Take in a Deployment, or a pod with the labels of a warm runner."""
        namespace = str(cast("JsonObject", body["metadata"])["namespace"])
        uid = self._agent_uid(kind, body)
        if uid is None:
            return
        agent = self._context.projection.agents.by_uid(uid)
        if agent is not None and agent.namespace != namespace:
            return
        before = self._verdicts(namespace, uid)
        if kind is DEPLOYMENT:
            self._see_deployment(namespace, uid, body, deleted)
        else:
            self._see_pod(namespace, uid, body, deleted)
        if self._verdicts(namespace, uid) != before:
            # What the waiting steps show is how the runners stand.
            for task in self._context.demand.tasks(uid):
                self._context.wake(TASK_KEY, task.namespace, task.name)

    def _agent_uid(self, kind: Kind, body: JsonObject) -> str | None:
        if kind is not DEPLOYMENT:
            return agent_uid_of_pod(body)
        owner = agent_of_deployment(body)
        return owner[1] if owner is not None else None

    def _see_deployment(self, namespace: str, uid: str, body: JsonObject, deleted: bool) -> None:
        runners, seen = self._context.projection.runners, read_deployment(body)
        before = runners.deployment(namespace, uid)
        changed = (
            runners.drop_deployment(namespace, uid, seen.uid)
            if deleted
            else runners.see_deployment(namespace, uid, seen)
        )
        owner = agent_of_deployment(body)
        if not changed or owner is None:
            return
        self._context.wake(WARM_KEY, namespace, owner[0])
        counts = (before.replicas, before.ready) if before is not None else None
        if deleted or counts != (seen.replicas, seen.ready):
            self._context.wake(AGENT_KEY, namespace, owner[0])

    def _see_pod(self, namespace: str, uid: str, body: JsonObject, deleted: bool) -> None:
        runners, pod = self._context.projection.runners, read_pod(body)
        if deleted:
            runners.drop_pod(namespace, uid, pod.uid)
        else:
            runners.see_pod(namespace, uid, pool_of_pod(body), pod)

    def _verdicts(self, namespace: str, uid: str) -> list[Verdict]:
        """Say how the pools of an agent stand."""
        runners = self._context.projection.runners
        deployment = runners.deployment(namespace, uid)
        names = runners.pools(namespace, uid)
        if deployment is not None:
            names.add(deployment.pool)
        return [judge_pool(runners.pool(namespace, uid, name)) for name in sorted(names)]
