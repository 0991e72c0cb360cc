"""A step's pod, its Job and its token, as the API server would show them."""

from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

from parley.kube.client import TokenIdentity
from parley.kube.kinds import DEPLOYMENT, JOB, POD, REPLICA_SET

from tests.fake_kube import FakeKube

NAMESPACE = "default"


@dataclass
class StepInCluster:
    """``token`` is what the pod sends; the names are those of the objects."""

    token: str
    pod: str
    pod_uid: str
    job: str
    job_uid: str
    task_uid: str

    @property
    def authorization(self) -> str:
        return f"Bearer {self.token}"


def identity(pod: str, pod_uid: str, **changes: Any) -> TokenIdentity:
    given: dict[str, Any] = {
        "authenticated": True,
        "username": f"system:serviceaccount:{NAMESPACE}:default",
        "audiences": ("parley",),
        "extra": {
            "authentication.kubernetes.io/pod-name": (pod,),
            "authentication.kubernetes.io/pod-uid": (pod_uid,),
        },
    }
    return TokenIdentity(**(given | changes))


async def add_step(
    kube: FakeKube,
    *,
    job: str = "hello-reply-1",
    task_uid: str = "task-uid",
    namespace: str = NAMESPACE,
    stays: bool = False,
) -> StepInCluster:
    """Add a Task's Job and its running pod, and let the API server know the pod's token.

    ``stays`` makes it the Job of a runner that stays with its task.
    """
    owner = {
        "apiVersion": "parley.dev/v1alpha1",
        "kind": "Task",
        "name": "hello",
        "uid": task_uid,
        "controller": True,
    }
    if (JOB.kind, namespace, job) not in kube.objects:
        labels = {"parley.dev/runtime": "task"} if stays else {}
        made = {"metadata": {"name": job, "ownerReferences": [owner], "labels": labels}}
        await kube.create(JOB, namespace, cast("Any", made))
    job_uid = str(metadata(kube, JOB.kind, job, namespace)["uid"])
    pod = f"{job}-{uuid4().hex[:5]}"
    of_job = {"apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": job_uid, "controller": True}
    body = {"metadata": {"name": pod, "ownerReferences": [of_job]}, "status": {"phase": "Running"}}
    await kube.create(POD, namespace, cast("Any", body))
    pod_uid = str(metadata(kube, POD.kind, pod, namespace)["uid"])
    token = f"token-of-{pod}"
    kube.identities[token] = identity(pod, pod_uid, username=f"system:serviceaccount:{namespace}:default")
    return StepInCluster(token, pod, pod_uid, job, job_uid, task_uid)


async def add_warm(
    kube: FakeKube, pool: str = "warm-support-1", *, namespace: str = NAMESPACE, agent: str = "support"
) -> StepInCluster:
    """Add a running pod of an agent's warm runners, with the Deployment and the ReplicaSet before it."""

    def owned_by(api_version: str, kind: str, name: str, uid: str) -> dict[str, Any]:
        owner = {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": True}
        return {"ownerReferences": [owner]}

    name = f"parley-{pool}"
    if (DEPLOYMENT.kind, namespace, name) not in kube.objects:
        made = {
            "metadata": {"name": name, **owned_by("parley.dev/v1alpha1", "Agent", agent, f"uid-of-{agent}")}
        }
        await kube.create(DEPLOYMENT, namespace, cast("Any", made))
        uid = str(metadata(kube, DEPLOYMENT.kind, name, namespace)["uid"])
        made = {"metadata": {"name": name, **owned_by("apps/v1", "Deployment", name, uid)}}
        await kube.create(REPLICA_SET, namespace, cast("Any", made))
    uid = str(metadata(kube, REPLICA_SET.kind, name, namespace)["uid"])
    pod = f"{name}-{uuid4().hex[:5]}"
    labels = {"labels": {"parley.dev/pool": pool}}
    body = {"metadata": {"name": pod, **labels, **owned_by("apps/v1", "ReplicaSet", name, uid)}}
    await kube.create(POD, namespace, cast("Any", {**body, "status": {"phase": "Running"}}))
    pod_uid = str(metadata(kube, POD.kind, pod, namespace)["uid"])
    token = f"token-of-{pod}"
    kube.identities[token] = identity(pod, pod_uid, username=f"system:serviceaccount:{namespace}:default")
    return StepInCluster(token, pod, pod_uid, name, uid, "")


def metadata(kube: FakeKube, kind: str, name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
    return cast("dict[str, Any]", kube.objects[kind, namespace, name]["metadata"])
