"""A ``KubeApi`` that only a fresh leader can write through, and that counts what it writes."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from parley.kube.client import CHUNK_SIZE, JsonObject, KubeApi, Listing, Page, Propagation, TokenIdentity
from parley.kube.kinds import Kind
from parley.kube.people import AccessQuestion, Person


class FencedKube:
    """Calls ``guard`` before each write, then ``count``; reads pass freely.

    Args:
        kube: The client that does the work; closing it stays its owner's business.
        guard: Raises when this process may not write (``LeaseElector.assert_fresh``).
        count: Told the verb as RBAC names it and the kind of every write sent, for metrics.
    """

    def __init__(self, kube: KubeApi, guard: Callable[[], None], count: Callable[[str, str], None]) -> None:
        self._kube = kube
        self._guard = guard
        self._count = count

    async def get(self, kind: Kind, namespace: str | None, name: str) -> JsonObject | None:
        """See ``KubeApi.get``."""
        return await self._kube.get(kind, namespace, name)

    async def list(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Listing:
        """See ``KubeApi.list``."""
        return await self._kube.list(kind, namespace=namespace, labels=labels, fields=fields)

    def pages(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Page]:
        """See ``KubeApi.pages``."""
        return self._kube.pages(kind, namespace=namespace, labels=labels, fields=fields)

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
        """See ``KubeApi.page``."""
        return await self._kube.page(
            kind, namespace=namespace, selector=selector, fields=fields, limit=limit, token=token
        )

    async def create(
        self, kind: Kind, namespace: str | None, body: JsonObject, *, as_user: Person | None = None
    ) -> JsonObject:
        """See ``KubeApi.create``; raises what the guard raises."""
        self._admit("create", kind)
        return await self._kube.create(kind, namespace, body, as_user=as_user)

    async def replace(self, kind: Kind, namespace: str | None, body: JsonObject) -> JsonObject:
        """See ``KubeApi.replace``; raises what the guard raises."""
        self._admit("update", kind)
        return await self._kube.replace(kind, namespace, body)

    async def merge_patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        body: JsonObject,
        *,
        resource_version: str | None = None,
    ) -> JsonObject:
        """See ``KubeApi.merge_patch``; raises what the guard raises."""
        self._admit("patch", kind)
        return await self._kube.merge_patch(kind, namespace, name, body, resource_version=resource_version)

    async def apply_status(
        self, kind: Kind, namespace: str, name: str, status: JsonObject, *, resource_version: str
    ) -> JsonObject:
        """See ``KubeApi.apply_status``; raises what the guard raises."""
        self._admit("patch", kind)
        return await self._kube.apply_status(kind, namespace, name, status, resource_version=resource_version)

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
        """See ``KubeApi.apply``; raises what the guard raises."""
        self._admit("patch", kind)
        return await self._kube.apply(kind, namespace, name, body, uid=uid, resource_version=resource_version)

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
        """See ``KubeApi.delete``; raises what the guard raises."""
        self._admit("delete", kind)
        return await self._kube.delete(
            kind,
            namespace,
            name,
            uid=uid,
            resource_version=resource_version,
            propagation=propagation,
            grace=grace,
        )

    async def read_log(self, namespace: str, pod: str, container: str, *, limit: int) -> str | None:
        """See ``KubeApi.read_log``."""
        return await self._kube.read_log(namespace, pod, container, limit=limit)

    async def review_token(self, token: str, audiences: Sequence[str]) -> TokenIdentity:
        """See ``KubeApi.review_token``: a question, not a write."""
        return await self._kube.review_token(token, audiences)

    async def review_access(self, question: AccessQuestion) -> bool:
        """See ``KubeApi.review_access``: a question, not a write."""
        return await self._kube.review_access(question)

    async def close(self) -> None:
        """Nothing: the wrapped client is closed by its owner."""

    def _admit(self, verb: str, kind: Kind) -> None:
        self._guard()
        self._count(verb, kind.kind)
