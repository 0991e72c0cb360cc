"""Warm runners that do what a test says: the part of the Deployment controller, of the kubelet and of the processes."""

from dataclasses import dataclass, field
from typing import Any, cast

from parley.controller.job_builder import MANAGED_BY_LABEL
from parley.kube.client import FIELD_MANAGER, JsonObject
from parley.kube.kinds import DEPLOYMENT, POD
from parley.protocol.messages import POOL_LABEL, TakeAnswer
from parley.store import runner_calls
from parley.store.pool import connect

from tests.integration.controller.cluster import NAMESPACE, Cluster
from tests.integration.controller.scripted_runner import Script, ScriptedRunner


@dataclass
class WarmPods:
    """One pod for each pool that was ever wanted; ``taken`` has what they were told."""

    cluster: Cluster
    taken: list[TakeAnswer] = field(default_factory=list[TakeAnswer])

    def deployments(self) -> list[dict[str, Any]]:
        return [
            cast("dict[str, Any]", body)
            for (kind, _, _), body in self.cluster.kube.objects.items()
            if kind == "Deployment"
        ]

    @property
    def deployment(self) -> dict[str, Any]:
        (only,) = self.deployments()
        return only

    @property
    def pool(self) -> str:
        return str(self.deployment["metadata"]["labels"][POOL_LABEL])

    @property
    def replicas(self) -> int:
        return int(self.deployment["spec"]["replicas"])

    async def start(self, **state: Any) -> None:
        """Let the pod of the present pool run, or stand as ``state`` says."""
        template = self.deployment["spec"]["template"]
        name = f"pod-of-{self.pool}"
        labels = {**template["metadata"]["labels"], MANAGED_BY_LABEL: FIELD_MANAGER}
        shown = state or {"running": {}}
        body: dict[str, Any] = {
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
            "spec": {"nodeName": "node-1"},
            "status": {
                "phase": "Running" if "running" in shown else "Pending",
                "containerStatuses": [{"name": "step", "state": shown}],
            },
        }
        if ("Pod", NAMESPACE, name) in self.cluster.kube.objects:
            self.cluster.kube.edit(POD, NAMESPACE, name, lambda old: old.update(status=body["status"]))
        else:
            await self.cluster.kube.create(POD, NAMESPACE, cast("JsonObject", body))
        self.tell(readyReplicas=int("running" in shown))

    async def end(self, pool: str) -> None:
        await self.cluster.kube.delete(POD, NAMESPACE, f"pod-of-{pool}")

    def tell(self, **status: Any) -> None:
        """Let the Deployment controller say something."""
        name = self.deployment["metadata"]["name"]
        self.cluster.kube.edit(
            DEPLOYMENT,
            NAMESPACE,
            name,
            lambda body: cast("dict[str, Any]", body).setdefault("status", {}).update(status),
        )

    async def take(self, pool: str | None = None, *, slot: int = 0) -> TakeAnswer | None:
        """Take the next attempt of a pool, by default the present one's."""
        async with connect(self.cluster.pool) as connection:
            taken = await runner_calls.take_warm(
                connection,
                pool=pool or self.pool,
                namespace=NAMESPACE,
                holder=self._holder(pool or self.pool, slot),
            )
        if taken is not None:
            self.taken.append(taken)
        return taken

    async def answer(
        self, taken: TakeAnswer, script: Script, pool: str | None = None, *, slot: int = 0
    ) -> None:
        """Bring an attempt to its outcome."""
        async with connect(self.cluster.pool) as connection:
            holder = self._holder(pool or self.pool, slot)
            runner = ScriptedRunner(connection, holder, script, taken)
            await runner.run()
            self.cluster.called += runner.ran

    async def serve(self, *script: Any) -> int:
        """Run all that is there, one after the other; returns how many attempts that were."""
        count = 0
        while (taken := await self.take()) is not None:
            said = list(script) or [f"answer of {taken.request.step}"]
            await self.answer(taken, said)
            await self.cluster.settle()
            count += 1
        return count

    def _holder(self, pool: str, slot: int) -> str:
        pods = self.cluster.kube.objects.get(("Pod", NAMESPACE, f"pod-of-{pool}"))
        uid = cast("dict[str, Any]", pods)["metadata"]["uid"] if pods is not None else pool
        return f"{uid}/slot-{slot}"
