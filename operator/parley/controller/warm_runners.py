"""What the operator last saw of agents' warm runners: each agent's Deployment and its pods, by the agent's uid."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from parley.engine.pods import PodView
from parley.engine.state import WarmPool
from parley.kube.client import JsonObject
from parley.kube.kinds import AGENT
from parley.protocol.messages import POOL_LABEL

AGENT_LABEL = "parley.dev/agent"
AGENT_UID_LABEL = "parley.dev/agent-uid"
_REMEMBERED_DELETIONS = 2_000


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """What matters of an agent's Deployment."""

    name: str
    uid: str
    pool: str
    replicas: int
    """How many pods it is to have."""
    ready: int
    refusal: str | None = None
    """Why it cannot make a pod."""
    version: int = field(default=0, compare=False)
    """Its resourceVersion: of two views of one Deployment the higher is newer."""


def read_deployment(body: JsonObject) -> DeploymentView:
    """Read a Deployment of warm runners; it is ready as far as pods of its present pool are."""
    metadata, spec, status = (_mapping(body.get(part)) for part in ("metadata", "spec", "status"))
    return DeploymentView(
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        pool=str(_mapping(metadata.get("labels")).get(POOL_LABEL) or ""),
        replicas=_count(spec.get("replicas")),
        ready=_count(status.get("readyReplicas")),
        refusal=_refusal(status),
        version=int(str(metadata.get("resourceVersion") or 0)),
    )


def agent_of_deployment(body: JsonObject) -> tuple[str, str] | None:
    """Return name and uid of the Agent that controls a Deployment; None if none does."""
    references = _mapping(body.get("metadata")).get("ownerReferences")
    for each in references if isinstance(references, list) else ():
        if (
            isinstance(each, dict)
            and each.get("controller")
            and (each.get("kind"), each.get("apiVersion")) == (AGENT.kind, AGENT.api_version)
        ):
            return str(each.get("name")), str(each.get("uid"))
    return None


def agent_uid_of_pod(body: JsonObject) -> str | None:
    """Return the uid of the agent whose warm runner a pod is, by its labels; None for any other pod."""
    labels = _mapping(_mapping(body.get("metadata")).get("labels"))
    uid = labels.get(AGENT_UID_LABEL)
    return str(uid) if uid and labels.get(POOL_LABEL) else None


def pool_of_pod(body: JsonObject) -> str:
    """Return the pool that a warm runner's pod takes attempts of."""
    return str(_mapping(_mapping(body.get("metadata")).get("labels")).get(POOL_LABEL) or "")


@dataclass(slots=True)
class _Runners:
    deployment: DeploymentView | None = None
    pods: dict[str, tuple[str, PodView]] = field(default_factory=dict[str, tuple[str, PodView]])
    """By uid, with their pools."""
    refusal: str | None = None
    """Why the API server does not take the Deployment."""


class WarmRunners:
    """The warm runners of all agents.

    By namespace and uid: the label that names an agent can be forged, but only by those who may make pods there.
    """

    def __init__(self) -> None:
        self._by_agent: defaultdict[tuple[str, str], _Runners] = defaultdict(_Runners)
        self._gone: OrderedDict[str, None] = OrderedDict()

    def deployment(self, namespace: str, agent_uid: str) -> DeploymentView | None:
        """Return an agent's Deployment, if there is one."""
        found = self._by_agent.get((namespace, agent_uid))
        return found.deployment if found is not None else None

    def pool(self, namespace: str, agent_uid: str, name: str) -> WarmPool:
        """Return an agent's pool of that name, with its pods."""
        found = self._by_agent.get((namespace, agent_uid))
        if found is None:
            return WarmPool(name)
        deployment = found.deployment
        made = deployment is not None and deployment.pool == name
        refusal = found.refusal or (deployment.refusal if deployment is not None and made else None)
        return WarmPool(name, tuple(pod for pool, pod in found.pods.values() if pool == name), refusal)

    def pools(self, namespace: str, agent_uid: str) -> set[str]:
        """Return the pools that an agent's pods are of, old ones included."""
        found = self._by_agent.get((namespace, agent_uid))
        return {pool for pool, _ in found.pods.values()} if found is not None else set()

    def see_deployment(self, namespace: str, agent_uid: str, seen: DeploymentView) -> bool:
        """Take in a Deployment; tells whether it changed anything."""
        runners = self._by_agent[namespace, agent_uid]
        known = runners.deployment
        if seen.uid in self._gone or (known and known.uid == seen.uid and seen.version < known.version):
            return False
        runners.deployment, runners.refusal = seen, None
        return known != seen

    def drop_deployment(self, namespace: str, agent_uid: str, uid: str) -> bool:
        """A Deployment was deleted."""
        self._note_gone(uid)
        runners = self._by_agent.get((namespace, agent_uid))
        if runners is None or runners.deployment is None or runners.deployment.uid != uid:
            return False
        runners.deployment = None
        return True

    def see_pod(self, namespace: str, agent_uid: str, pool: str, pod: PodView) -> bool:
        """Take in a pod; tells whether it changed anything."""
        if pod.uid in self._gone:
            return False
        pods = self._by_agent[namespace, agent_uid].pods
        known = pods.get(pod.uid)
        if known is not None and pod.version < known[1].version:
            return False
        pods[pod.uid] = pool, pod
        return known != (pool, pod)

    def drop_pod(self, namespace: str, agent_uid: str, uid: str) -> bool:
        """A pod was deleted."""
        self._note_gone(uid)
        runners = self._by_agent.get((namespace, agent_uid))
        return runners is not None and runners.pods.pop(uid, None) is not None

    def refuse(self, namespace: str, agent_uid: str, message: str | None) -> bool:
        """Remember why the API server does not take an agent's Deployment; tells whether that is news."""
        runners = self._by_agent[namespace, agent_uid]
        changed, runners.refusal = runners.refusal != message, message
        return changed

    def all_pods(self) -> Iterator[tuple[str, str, str]]:
        """Yield namespace, agent's uid and own uid of each pod."""
        for (namespace, agent_uid), runners in [*self._by_agent.items()]:
            for uid in [*runners.pods]:
                yield namespace, agent_uid, uid

    def all_deployments(self) -> Iterator[tuple[str, str, str]]:
        """Yield namespace, agent's uid and own uid of each Deployment."""
        for (namespace, agent_uid), runners in [*self._by_agent.items()]:
            if runners.deployment is not None:
                yield namespace, agent_uid, runners.deployment.uid

    def forget(self, namespace: str, agent_uid: str) -> None:
        """Drop what is known of an agent that is gone."""
        self._by_agent.pop((namespace, agent_uid), None)

    def _note_gone(self, uid: str) -> None:
        self._gone[uid] = None
        if len(self._gone) > _REMEMBERED_DELETIONS:
            self._gone.popitem(last=False)


def _refusal(status: Mapping[str, JsonValue]) -> str | None:
    conditions = status.get("conditions")
    for each in conditions if isinstance(conditions, list) else ():
        if isinstance(each, dict) and each.get("type") == "ReplicaFailure" and each.get("status") == "True":
            return str(each.get("message") or each.get("reason") or "it cannot make a pod")
    return None


def _mapping(value: JsonValue) -> Mapping[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def _count(value: JsonValue) -> int:
    return value if isinstance(value, int) else 0
