"""From an agent to the Deployment of its warm runners: pure, with golden files in ``tests/unit/controller/golden``.

The runners' pool is named after all that their pods are given. So an attempt that was inserted for an agent as it is
now is taken by pods that have what it needs, and by no others, while the Deployment changes from the old to the new.
"""

import hashlib
import json
from dataclasses import dataclass, replace

from pydantic import JsonValue

from parley.controller.job_builder import MANAGED_BY_LABEL
from parley.controller.pod_builder import RunnerWorkload, build_pod_spec, pod_metadata
from parley.controller.warm_runners import AGENT_LABEL, AGENT_UID_LABEL
from parley.kube.client import FIELD_MANAGER, JsonObject
from parley.kube.kinds import AGENT, DEPLOYMENT
from parley.protocol.messages import POOL_LABEL, RUNTIME_LABEL

WARM_RUNTIME = "warm"
"""Value of ``RUNTIME_LABEL`` on the Deployment and its pods."""
_READABLE = 40
_DIGEST = 10
_LABEL_LENGTH = 63
_REVISIONS = 10
"""ReplicaSets kept: one whose pods still finish their work must not go before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmOwner:
    """The agent whose runners they are, in its cluster."""

    cluster: str
    namespace: str
    name: str
    uid: str


def deployment_name(owner: WarmOwner) -> str:
    """Return the name of an agent's Deployment, at most 58 characters."""
    return f"parley-{_readable(owner)}-{_digest(owner.uid)}"


def in_pool(owner: WarmOwner, workload: RunnerWorkload) -> RunnerWorkload:
    """Return the same workload with the name of its pool, a DNS label."""
    template = _template(owner, replace(workload, pool=""))
    content = json.dumps([owner.cluster, owner.uid, template], sort_keys=True, separators=(",", ":"))
    return replace(workload, pool=f"warm-{_readable(owner)}-{_digest(content)}")


def build_deployment(owner: WarmOwner, workload: RunnerWorkload, replicas: int) -> JsonObject:
    """Build the Deployment of an agent's warm runners.

    Args:
        owner: the agent.
        workload: what its pods run, in its pool.
        replicas: how many pods there are to be.
    """
    labels = _labels(owner) | {POOL_LABEL: workload.pool}
    return {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.kind,
        "metadata": {
            "name": deployment_name(owner),
            "namespace": owner.namespace,
            "labels": labels,
            "ownerReferences": [
                {
                    "apiVersion": AGENT.api_version,
                    "kind": AGENT.kind,
                    "name": owner.name,
                    "uid": owner.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": _REVISIONS,
            "selector": {"matchLabels": {AGENT_UID_LABEL: owner.uid, RUNTIME_LABEL: WARM_RUNTIME}},
            # An agent that changes is never without a runner; the old ones finish what they have begun.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": _template(owner, workload),
        },
    }


def _template(owner: WarmOwner, workload: RunnerWorkload) -> dict[str, JsonValue]:
    labels = _labels(owner) | {POOL_LABEL: workload.pool}
    return {"metadata": pod_metadata(workload, labels), "spec": build_pod_spec(workload)}


def _labels(owner: WarmOwner) -> dict[str, JsonValue]:
    return {
        "app.kubernetes.io/name": "parley",
        "app.kubernetes.io/component": RunnerWorkload.component,
        MANAGED_BY_LABEL: FIELD_MANAGER,
        AGENT_LABEL: owner.name[:_LABEL_LENGTH].rstrip("-."),
        AGENT_UID_LABEL: owner.uid,
        RUNTIME_LABEL: WARM_RUNTIME,
    }


def _readable(owner: WarmOwner) -> str:
    # A subdomain may have dots, which a label's value that is used as a name may not.
    return owner.name.replace(".", "-")[:_READABLE].rstrip("-")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
