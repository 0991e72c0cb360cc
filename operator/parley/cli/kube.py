"""What the CLI asks of an API server, under the caller's own identity; and the kinds that only it reads."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from parley.kube.client import JsonObject
from parley.kube.kinds import Kind

CRD = Kind(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
)
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
STATEFUL_SET = Kind("apps", "v1", "statefulsets", "StatefulSet")
SERVICE = Kind("", "v1", "services", "Service")
VALIDATING_POLICY = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "validatingadmissionpolicies",
    "ValidatingAdmissionPolicy",
    namespaced=False,
)
MUTATING_POLICY = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingadmissionpolicies",
    "MutatingAdmissionPolicy",
    namespaced=False,
)


@dataclass(frozen=True, slots=True)
class Right:
    """Something a caller may or may not do."""

    verb: str
    resource: str
    group: str = "parley.dev"
    subresource: str = ""

    def __str__(self) -> str:
        whole = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {whole}{'/' + self.subresource if self.subresource else ''}"


class Change(NamedTuple):
    """What a watch tells of an object."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    body: JsonObject


class LogLine(NamedTuple):
    """A line of a log, and when it was written: RFC 3339 with nanoseconds, so that texts sort as times do."""

    time: str
    text: str


class Listed(NamedTuple):
    """A complete list and the resourceVersion it is true at."""

    items: list[JsonObject]
    version: str


class Kube(Protocol):
    """Requests of the CLI. Failures are ``parley.kube.errors``, or a ``CliError`` that says what to do."""

    @property
    def namespace(self) -> str:
        """The context's namespace."""
        ...

    @property
    def server(self) -> str:
        """The API server's URL."""
        ...

    def version(self) -> str:
        """The API server's version, such as ``v1.37.2``."""
        ...

    def get(self, kind: Kind, namespace: str | None, name: str) -> JsonObject:
        """One object.

        Raises:
            NotFound: there is none.
        """
        ...

    def list(self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "") -> Listed:
        """All objects that fit the selectors; of every namespace if none is given."""
        ...

    def create(self, kind: Kind, namespace: str | None, body: JsonObject) -> JsonObject:
        """Make an object; returns it as it is then."""
        ...

    def patch(self, kind: Kind, namespace: str | None, name: str, change: JsonObject) -> JsonObject:
        """Lay a change over an object (JSON merge patch); returns it as it is then."""
        ...

    def watch(
        self,
        kind: Kind,
        namespace: str | None,
        version: str,
        *,
        labels: str = "",
        fields: str = "",
        seconds: int | None = None,
    ) -> Iterator[Change]:
        """What happens after a resourceVersion, for so many seconds or until the API server ends it.

        Raises:
            KubeError: 410, when that version is too old: list again.
        """
        ...

    def may(self, right: Right, namespace: str | None) -> bool:
        """Whether the caller may do something; in all namespaces if none is given."""
        ...

    def log(self, namespace: str, pod: str, container: str, *, tail: int | None) -> Iterator[str]:
        """The lines of a container's log; none if it never ran."""
        ...

    def follow_log(
        self, namespace: str, pod: str, container: str, *, tail: int | None, since: str = ""
    ) -> Iterator[LogLine]:
        """The lines of a container's log as they come, until it ends or the connection does.

        Args:
            namespace: of the pod.
            pod: its name.
            container: its name.
            tail: so many lines from the end to begin with; None: all.
            since: a line's time; then ``tail`` does not count, and lines of that second come once more.
        """
        ...

    def ask_pod(self, namespace: str, pod: str, port: int, path: str) -> tuple[int, str]:
        """GET a path of a pod by way of the API server; returns the pod's status and body.

        Raises:
            KubeError: the pod was not asked, or did not answer.
        """
        ...

    def token(self) -> str | None:
        """The bearer token of the kubeconfig's user; None where it has a certificate or nothing."""
        ...

    def service_account_token(self, namespace: str, name: str) -> str:
        """Ask for a token of a ServiceAccount, good for an hour."""
        ...

    def arguments(self) -> Mapping[str, str]:
        """What kubectl must be told to talk to the same API server: ``--context`` and the like."""
        ...
