"""A step's pod, its Job and its token, as the API server would show them."""

from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

from parley.kube.client import TokenIdentity
from parley.kube.kinds import JOB, POD

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


def metadata(kube: FakeKube, kind: str, name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
    return cast("dict[str, Any]", kube.objects[kind, namespace, name]["metadata"])
