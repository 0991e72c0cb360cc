"""What Parley asks of an API server: the seam between its own code and whichever client package is used."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from pydantic import JsonValue

from parley.kube.kinds import Kind
from parley.kube.people import AccessQuestion, Person

JsonObject = dict[str, JsonValue]
"""A Kubernetes object or a part of one, as decoded JSON."""

Propagation = Literal["Background", "Foreground", "Orphan"]
FIELD_MANAGER = "parley-operator"
"""The field manager of every write; one name, so that server-side apply can drop what is no longer set."""


class Listing(NamedTuple):
    """A complete list and the resourceVersion it is true at."""

    items: list[JsonObject]
    resource_version: str


class Page(NamedTuple):
    """A part of a list.

    Attributes:
        items: At most ``CHUNK_SIZE`` objects.
        resource_version: What the whole list is true at.
        first: A list begins here. When one expires halfway another begins, and what the pages before said is void.
    """

    items: list[JsonObject]
    resource_version: str
    first: bool


CHUNK_SIZE = 500
"""Objects in a page: a page of pods takes some 13 MB while it is read."""


async def collect(pages: AsyncIterator[Page]) -> Listing:
    """Put pages together: only for lists that are known to be short."""
    items: list[JsonObject] = []
    version = ""
    async for page in pages:
        if page.first:
            items.clear()
        items += page.items
        version = page.resource_version
    return Listing(items, version)


@dataclass(frozen=True, slots=True)
class TokenIdentity:
    """Whom the API server takes the bearer of a token for; ``pod_*`` only for a pod-bound token.

    Attributes:
        authenticated: False for an expired, foreign or forged token, or one for another audience.
        username: Such as ``system:serviceaccount:<namespace>:<name>``.
        uid: The user's, where the authenticator knows one.
        error: Why it was not authenticated, where the API server says so.
    """

    authenticated: bool
    username: str = ""
    audiences: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    error: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()

    @property
    def person(self) -> Person:
        """Whom a SubjectAccessReview asks about."""
        return Person(self.username, self.uid, self.groups, self.extra)

    @property
    def namespace(self) -> str | None:
        """The namespace of a service account's token."""
        parts = self.username.split(":")
        return parts[2] if len(parts) == 4 and self.username.startswith("system:serviceaccount:") else None

    @property
    def pod_name(self) -> str | None:
        """The pod that the token is bound to."""
        return self._only("authentication.kubernetes.io/pod-name")

    @property
    def pod_uid(self) -> str | None:
        """The uid of the pod that the token is bound to."""
        return self._only("authentication.kubernetes.io/pod-uid")

    def _only(self, key: str) -> str | None:
        values = self.extra.get(key, ())
        return values[0] if len(values) == 1 else None


class KubeApi(Protocol):
    """The requests Parley makes. Each ends within its timeout; failures are ``parley.kube.errors``.

    ``namespace`` is None for cluster-wide kinds. Any method may raise ``Forbidden`` and ``KubeUnavailable``.
    """

    async def get(self, kind: Kind, namespace: str | None, name: str) -> JsonObject | None:
        """One object, or None if there is no such object."""
        ...

    async def list(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Listing:
        """All objects at once; of every namespace if none is given. For lists that are known to be short.

        ``labels`` and ``fields`` (such as ``regarding.kind``, where the kind lets one select by it) must all fit.
        """
        ...

    def pages(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Page]:
        """As ``list``, a page at a time: no more than a page need be held."""
        ...

    async def page(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        selector: str = "",
        fields: str = "",
        limit: int = CHUNK_SIZE,
        token: str = "",
    ) -> tuple[Sequence[JsonObject], str]:
        """At most ``limit`` objects of a list, and the token that continues it; an empty one at its end.

        Args:
            kind: What to list.
            namespace: Whose; of every namespace if none is given.
            selector: Labels as kubectl's ``-l`` takes them.
            fields: As ``--field-selector`` takes them.
            limit: At least 1.
            token: Of the page before.

        Raises:
            Invalid: The selector or the token is malformed.
            KubeError: With status 410: the token is too old; begin again.
        """
        ...

    async def create(
        self, kind: Kind, namespace: str | None, body: JsonObject, *, as_user: Person | None = None
    ) -> JsonObject:
        """Create an object; ``apiVersion`` and ``kind`` may be left out of ``body``.

        ``as_user``: in that person's name, with that person's rights.

        Raises:
            AlreadyExists: An object of that name exists.
            Invalid: The API server rejects the body.
            NotFound: The namespace does not exist.
        """
        ...

    async def replace(self, kind: Kind, namespace: str | None, body: JsonObject) -> JsonObject:
        """Replace a whole object as read before: ``body`` carries name and resourceVersion.

        Raises:
            Conflict: It was changed meanwhile.
            NotFound: It is gone.
            ValueError: ``metadata.resourceVersion`` is missing, so the write would overwrite blindly.
        """
        ...

    async def merge_patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        body: JsonObject,
        *,
        resource_version: str | None = None,
    ) -> JsonObject:
        """Lay ``body`` over an object (RFC 7386: null removes); returns the object as it is then.

        Raises:
            Conflict: It is no longer as of ``resource_version``, where one is given.
            NotFound: It is gone.
            Invalid: The schema or a rule rejects the change.
        """
        ...

    async def apply_status(
        self, kind: Kind, namespace: str, name: str, status: JsonObject, *, resource_version: str
    ) -> JsonObject:
        """Make ``status`` the whole of what this field manager says in the object's status.

        ``resource_version`` is that of the object the status was computed from: an object made again under
        the same name never gets a dead one's status (here the API server ignores a wrong uid).
        Returns the object as it is then.

        Raises:
            Conflict: The object changed since.
            NotFound: It is gone.
            Invalid: The schema rejects the status.
        """
        ...

    async def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: JsonObject,
        *,
        uid: str | None,
        resource_version: str | None,
    ) -> JsonObject:
        """Make ``body`` the whole of what this field manager says in the object, status apart.

        Uid and ``resource_version`` are those of the object as it was read: nothing is ever created (with the
        version alone the API server would), nor written over a change. Without both, the object is made if there is
        none. Returns the object as it is then.

        Raises:
            Conflict: The object changed since, or is gone.
            NotFound: It is gone.
            Invalid: The schema or a rule rejects the change.
        """
        ...

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Propagation = "Background",
        grace: int | None = None,
    ) -> bool:
        """Ask for an object's deletion; False if it was gone already. ``grace`` is in seconds.

        Raises:
            Conflict: The object of that name has another uid, or was changed since that ``resource_version``.
        """
        ...

    async def read_log(self, namespace: str, pod: str, container: str, *, limit: int) -> str | None:
        """Return the end of a container's log, at most ``limit`` bytes of it; None if there is no log to be had.

        Raises:
            KubeUnavailable: It did not come within two seconds.
        """
        ...

    async def review_token(self, token: str, audiences: Sequence[str]) -> TokenIdentity:
        """Ask the API server whose token this is, for these audiences; for none: for its own."""
        ...

    async def review_access(self, question: AccessQuestion) -> bool:
        """Ask the API server whether somebody may do something."""
        ...

    async def close(self) -> None:
        """Close all connections; the client is of no use afterwards."""
        ...
