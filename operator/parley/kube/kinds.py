"""The kinds of Kubernetes objects that Parley reads or writes, and their API paths."""

import re
from dataclasses import dataclass

PARLEY_GROUP = "parley.dev"
PARLEY_VERSION = "v1alpha1"
# Every kind below has DNS names; a name that is none must not be able to reach another path.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind as the API server serves it.

    Attributes:
        group: API group, empty for the core group.
        version: Served version, such as ``v1``.
        plural: Lower-case plural as in URLs and RBAC rules.
        kind: The ``kind`` in manifests.
        namespaced: Whether objects live in a namespace.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The ``apiVersion`` in manifests."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """The URL path of a collection, an object or its subresource; no namespace means all of them.

        Raises:
            ValueError: A namespace was given for a cluster-wide kind, or left out for one namespaced object,
                or a name is no DNS name.
        """
        if namespace and not self.namespaced:
            raise ValueError(f"{self.kind} is not namespaced, but namespace {namespace!r} was given")
        if name and self.namespaced and not namespace:
            raise ValueError(f"{self.kind} {name!r} needs a namespace")
        for value in (namespace, name):
            if value and not _NAME.fullmatch(value):
                raise ValueError(f"{value!r} cannot be the name of a {self.kind} or of a namespace")
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/" + "/".join(parts)


AGENT = Kind(PARLEY_GROUP, PARLEY_VERSION, "agents", "Agent")
SESSION = Kind(PARLEY_GROUP, PARLEY_VERSION, "sessions", "Session")
TASK = Kind(PARLEY_GROUP, PARLEY_VERSION, "tasks", "Task")
TASK_TEMPLATE = Kind(PARLEY_GROUP, PARLEY_VERSION, "tasktemplates", "TaskTemplate")
SCHEDULE = Kind(PARLEY_GROUP, PARLEY_VERSION, "schedules", "Schedule")
REPLY = Kind(PARLEY_GROUP, PARLEY_VERSION, "replies", "Reply")
JOB = Kind("batch", "v1", "jobs", "Job")
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
REPLICA_SET = Kind("apps", "v1", "replicasets", "ReplicaSet")
POD = Kind("", "v1", "pods", "Pod")
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
NAMESPACE = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
NODE = Kind("", "v1", "nodes", "Node", namespaced=False)
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")
EVENT = Kind("events.k8s.io", "v1", "events", "Event")
TOKEN_REVIEW = Kind("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
)
