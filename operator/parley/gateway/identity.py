"""Who calls: from a bearer token to the pod it is bound to, and from there to the Task or the Agent it works for.

A step's pod belongs to a Job, and the Job to a Task; a warm runner's to a ReplicaSet, that to a Deployment, and the
Deployment to an Agent.

A runner names no attempt: what it may touch follows from this chain alone. The API server answers each link; what it
said is kept for a short time, for a step makes its few calls within seconds.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from parley.gateway.problems import NotAStep, NotAuthenticated
from parley.kube.client import JsonObject, KubeApi, TokenIdentity
from parley.kube.kinds import AGENT, DEPLOYMENT, JOB, PARLEY_GROUP, POD, REPLICA_SET, TASK, Kind
from parley.protocol.messages import POOL_LABEL, RUNTIME_LABEL, TASK_RUNTIME, TOKEN_AUDIENCE

TOKEN_SECONDS = 60.0
POD_SECONDS = 5.0
"""How long a pod that has ended or gone may still be taken for running."""
OWNER_SECONDS = 60.0
"""The owner of a Job never changes; one that is deleted takes its pods with it."""
AGENT_SECONDS = 660.0
"""How long the agent of a ReplicaSet is known unasked, from the last request on.

It never changes, and its Deployment may be deleted long before its pods have ended: they have ten minutes to finish
what they have begun, and a minute to spare. That a pod still runs is asked all the while. A gateway that begins after
the Deployment is gone refuses its pods: their labels and references alone would let in what never was a runner.
"""
MAX_TOKEN_LENGTH = 16 * 1024
_REMEMBERED = 10_000
_COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class StepPod:
    """A running pod of a step.

    Attributes:
        uid: the pod's; with the process's nonce it is the holder of the attempt.
        job: name of the Job that controls the pod.
        index: the pod's completion index, 0 in a Job that has none.
        task_uid: uid of the Task that controls the Job.
        stays: its runner stays with the task, and takes any attempt that is meant for such a runner.
    """

    namespace: str
    name: str
    uid: str
    job: str
    index: int
    task_uid: str
    stays: bool = False


@dataclass(frozen=True, slots=True)
class WarmPod:
    """A running pod of an agent's warm runners.

    Attributes:
        uid: the pod's; with a slot's nonce it is the holder of the attempt.
        pool: whose attempts it takes, in this namespace.
    """

    namespace: str
    name: str
    uid: str
    pool: str


@dataclass(frozen=True, slots=True)
class _Owned:
    """A pod's owner: a Job, where it has an index, or a ReplicaSet, whose pods have a pool."""

    kind: Kind
    name: str
    uid: str
    index: int = 0
    pool: str = ""


@dataclass(frozen=True, slots=True)
class _Owner:
    """Who owns a Job, and what it is for. Neither changes: labels of a Job could, but nobody has a reason to."""

    task_uid: str
    stays: bool


class Remembered(Generic[Key, Value]):
    """Answers that are good for some seconds, the newest ``most`` of them."""

    def __init__(self, seconds: float, clock: Callable[[], float], most: int = _REMEMBERED) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._entries: OrderedDict[Key, tuple[float, Value]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """The answer, if it is still good."""
        entry = self._entries.get(key)
        if entry is None or self._clock() >= entry[0]:
            return None
        return entry[1]

    def put(self, key: Key, value: Value) -> Value:
        """Keep an answer from now on; returns it."""
        now = self._clock()
        self._entries[key] = (now + self._seconds, value)
        self._entries.move_to_end(key)
        # The oldest comes first; the newest is still good, so there is always one.
        while len(self._entries) > self._most or next(iter(self._entries.values()))[0] <= now:
            self._entries.popitem(last=False)
        return value

    def forget(self, key: Key) -> None:
        """Ask again next time."""
        self._entries.pop(key, None)


class StepIdentities:
    """Tells which pod a request of a runner comes from.

    Args:
        kube: the API server.
        clock: monotonic seconds, for tests.
    """

    def __init__(self, kube: KubeApi, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._tokens: Remembered[bytes, TokenIdentity] = Remembered(TOKEN_SECONDS, clock)
        self._pods: Remembered[str, _Owned] = Remembered(POD_SECONDS, clock)
        self._owners: Remembered[str, _Owner] = Remembered(OWNER_SECONDS, clock)
        self._agents: Remembered[str, str] = Remembered(AGENT_SECONDS, clock)

    async def identify(self, authorization: str | None) -> StepPod | WarmPod:
        """Follow the chain from an ``Authorization`` header.

        Raises:
            NotAuthenticated: no bearer token, or not one for Parley.
            NotAStep: the token's pod is not, or no longer, a running pod of a Task's Job or of an agent's warm runners.
            KubeError: the API server does not answer.
        """
        identity = await self._review(_bearer(authorization))
        namespace, name, uid = identity.namespace, identity.pod_name, identity.pod_uid
        if not namespace or not name or not uid:
            raise NotAStep("the token is not bound to a pod")
        owned = await self._pod(namespace, name, uid)
        if owned.kind is REPLICA_SET:
            await self._agent_of(namespace, owned)
            return WarmPod(namespace, name, uid, owned.pool)
        owner = await self._task_of(namespace, owned)
        return StepPod(namespace, name, uid, owned.name, owned.index, owner.task_uid, owner.stays)

    async def _review(self, token: str) -> TokenIdentity:
        key = hashlib.sha256(token.encode()).digest()
        if known := self._tokens.get(key):
            return known
        identity = await self._kube.review_token(token, [TOKEN_AUDIENCE])
        if not identity.authenticated:
            raise NotAuthenticated("the API server does not know this token")
        if TOKEN_AUDIENCE not in identity.audiences:
            raise NotAuthenticated(f"the token is not for the audience {TOKEN_AUDIENCE}")
        return self._tokens.put(key, identity)

    async def _pod(self, namespace: str, name: str, uid: str) -> _Owned:
        if known := self._pods.get(uid):
            return known
        pod = await self._kube.get(POD, namespace, name)
        if pod is None or _metadata(pod).get("uid") != uid:
            raise NotAStep(f"pod {name} is gone")
        phase = cast("JsonObject", pod.get("status") or {}).get("phase")
        if phase in {"Succeeded", "Failed"}:
            raise NotAStep(f"pod {name} has ended")
        return self._pods.put(uid, _owned(name, pod))

    async def _task_of(self, namespace: str, owned: _Owned) -> _Owner:
        if known := self._owners.get(owned.uid):
            return known
        job = await self._owner(JOB, namespace, owned.name, owned.uid)
        task = _parley_owner(job, TASK)
        if task is None:
            raise NotAStep(f"Job {owned.name} belongs to no Task")
        labels = cast("JsonObject", _metadata(job).get("labels") or {})
        return self._owners.put(owned.uid, _Owner(task, labels.get(RUNTIME_LABEL) == TASK_RUNTIME))

    async def _agent_of(self, namespace: str, owned: _Owned) -> str:
        if known := self._agents.get(owned.uid):
            return self._agents.put(owned.uid, known)
        replica_set = await self._owner(REPLICA_SET, namespace, owned.name, owned.uid)
        owner = _controller(replica_set)
        if owner is None or not _is(owner, DEPLOYMENT):
            raise NotAStep(f"ReplicaSet {owned.name} belongs to no Deployment")
        deployment = await self._owner(DEPLOYMENT, namespace, str(owner["name"]), str(owner["uid"]))
        agent = _parley_owner(deployment, AGENT)
        if agent is None:
            raise NotAStep(f"Deployment {owner['name']} belongs to no Agent")
        return self._agents.put(owned.uid, agent)

    async def _owner(self, kind: Kind, namespace: str, name: str, uid: str) -> JsonObject:
        body = await self._kube.get(kind, namespace, name)
        if body is None or _metadata(body).get("uid") != uid:
            raise NotAStep(f"{kind.kind} {name} is gone")
        return body


def _owned(name: str, pod: JsonObject) -> _Owned:
    owner = _controller(pod)
    if owner is not None and _is(owner, JOB):
        annotations = cast("JsonObject", _metadata(pod).get("annotations") or {})
        index = str(annotations.get(_COMPLETION_INDEX, "0"))
        index_number = int(index) if index.isdecimal() else 0
        return _Owned(JOB, str(owner["name"]), str(owner["uid"]), index=index_number)
    if owner is not None and _is(owner, REPLICA_SET):
        labels = cast("JsonObject", _metadata(pod).get("labels") or {})
        pool = labels.get(POOL_LABEL)
        if not isinstance(pool, str) or not pool:
            raise NotAStep(f"pod {name} has no label {POOL_LABEL}: it is no warm runner")
        return _Owned(REPLICA_SET, str(owner["name"]), str(owner["uid"]), pool=pool)
    raise NotAStep(f"pod {name} belongs to no Job and to no Deployment")


def _is(owner: JsonObject, kind: Kind) -> bool:
    return owner.get("apiVersion") == kind.api_version and owner.get("kind") == kind.kind


def _parley_owner(body: JsonObject, kind: Kind) -> str | None:
    """The uid of the object of Parley's that owns another, whatever version it was written in."""
    owner = _controller(body)
    group = str(owner.get("apiVersion", "")).partition("/")[0] if owner else ""
    if owner is None or group != PARLEY_GROUP or owner.get("kind") != kind.kind:
        return None
    return str(owner["uid"])


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated("send the pod's token as a bearer token")
    if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
        raise NotAuthenticated("this is no token")
    return token


def _metadata(body: JsonObject) -> JsonObject:
    return cast("JsonObject", body.get("metadata") or {})


def _controller(body: JsonObject) -> JsonObject | None:
    owners = cast("list[JsonObject]", _metadata(body).get("ownerReferences") or [])
    return next((owner for owner in owners if owner.get("controller")), None)
