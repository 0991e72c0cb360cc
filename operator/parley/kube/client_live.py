"""The ``KubeApi`` against a real API server.

Kinds are known beforehand (``parley.kube.kinds``), so requests go by path: no discovery, no generated models.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

from parley.kube.answers import decode, read_page
from parley.kube.applied_body import APPLY
from parley.kube.client import (
    CHUNK_SIZE,
    FIELD_MANAGER,
    JsonObject,
    Listing,
    Page,
    Propagation,
    TokenIdentity,
    collect,
)
from parley.kube.errors import Invalid, KubeError, KubeUnavailable, NotFound
from parley.kube.kinds import POD, SUBJECT_ACCESS_REVIEW, TOKEN_REVIEW, Kind
from parley.kube.people import AccessQuestion, Person, is_allowed
from parley.kube.transport import JSON, KubeConfigError, Transport

__all__ = ["KubeConfigError", "LiveKube"]

LOG_TIMEOUT = 2.0
_MERGE = "application/merge-patch+json"
_RELISTS = 3
_LOG_BYTES_A_LINE = 4
_ERROR_BYTES = 4096


class LiveKube:
    """``KubeApi`` against a real API server. Make it with ``open``; close it before the event loop ends."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @classmethod
    async def open(cls) -> "LiveKube":
        """A client for the pod's service account, or for the kubeconfig that ``KUBECONFIG`` names.

        The service account's token is read again every minute, as the kubelet rotates it.

        Raises:
            KubeConfigError: Neither is there.
        """
        return cls(await Transport.open())

    async def __aenter__(self) -> "LiveKube":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> JsonObject | None:
        """See ``KubeApi.get``."""
        try:
            return await self._request("GET", kind.path(namespace, name))
        except NotFound:
            return None

    async def list(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Listing:
        """See ``KubeApi.list``."""
        return await collect(self.pages(kind, namespace=namespace, labels=labels, fields=fields))

    async def pages(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Page]:
        """See ``KubeApi.pages``."""
        query = [("limit", str(CHUNK_SIZE))]
        for parameter, wanted in (("labelSelector", labels), ("fieldSelector", fields)):
            if wanted:
                query.append((parameter, ",".join(f"{key}={value}" for key, value in wanted.items())))
        path = kind.path(namespace)
        for _ in range(_RELISTS):
            token = ""
            try:
                while True:
                    asked = [*query, ("continue", token)] if token else query
                    page, following = read_page(
                        await self._request("GET", path, query=asked), first=not token
                    )
                    yield page
                    # Or it would be held, together with the next one, until that has been read.
                    del page
                    if not following:
                        return
                    token = following
            except KubeError as error:
                # 410: the list's snapshot was compacted away between two chunks.
                if error.status != 410:
                    raise
        raise KubeUnavailable(
            410, "Expired", f"the list of {kind.plural} expired {_RELISTS} times while read"
        )

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
        query = [
            ("limit", str(limit)),
            ("labelSelector", selector),
            ("fieldSelector", fields),
            ("continue", token),
        ]
        asked = [(key, value) for key, value in query if value]
        page, following = read_page(
            await self._request("GET", kind.path(namespace), query=asked), first=not token
        )
        return page.items, following

    async def create(
        self, kind: Kind, namespace: str | None, body: JsonObject, *, as_user: Person | None = None
    ) -> JsonObject:
        """See ``KubeApi.create``."""
        full: JsonObject = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        # Strict: an older server must not silently drop a field, such as a Job's podReplacementPolicy.
        query = [("fieldManager", FIELD_MANAGER), ("fieldValidation", "Strict")]
        headers = [*as_user.impersonation()] if as_user is not None else []
        return await self._request("POST", kind.path(namespace), query=query, body=full, headers=headers)

    async def replace(self, kind: Kind, namespace: str | None, body: JsonObject) -> JsonObject:
        """See ``KubeApi.replace``."""
        metadata = cast("Mapping[str, str]", body.get("metadata") or {})
        name = metadata.get("name")
        if not name or not metadata.get("resourceVersion"):
            raise ValueError("replace needs metadata.name and metadata.resourceVersion")
        query = [("fieldManager", FIELD_MANAGER)]
        return await self._request("PUT", kind.path(namespace, name), query=query, body=body)

    async def merge_patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        body: JsonObject,
        *,
        resource_version: str | None = None,
    ) -> JsonObject:
        """See ``KubeApi.merge_patch``."""
        if resource_version is not None:
            metadata = cast("JsonObject", body.get("metadata") or {})
            body = {**body, "metadata": {**metadata, "resourceVersion": resource_version}}
        return await self._request(
            "PATCH",
            kind.path(namespace, name),
            query=[("fieldManager", FIELD_MANAGER), ("fieldValidation", "Strict")],
            body=body,
            content_type=_MERGE,
        )

    async def apply_status(
        self, kind: Kind, namespace: str, name: str, status: JsonObject, *, resource_version: str
    ) -> JsonObject:
        """See ``KubeApi.apply_status``."""
        body: JsonObject = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": name, "namespace": namespace, "resourceVersion": resource_version},
            "status": status,
        }
        return await self._request(
            "PATCH",
            kind.path(namespace, name, "status"),
            query=[("fieldManager", FIELD_MANAGER), ("force", "true")],
            body=body,
            content_type=APPLY,
        )

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
        """See ``KubeApi.apply``."""
        meant = {"uid": uid, "resourceVersion": resource_version}
        named: JsonObject = {
            **cast("JsonObject", body.get("metadata") or {}),
            "name": name,
            "namespace": namespace,
            **{field: value for field, value in meant.items() if value is not None},
        }
        full: JsonObject = {"apiVersion": kind.api_version, "kind": kind.kind, **body, "metadata": named}
        return await self._request(
            "PATCH",
            kind.path(namespace, name),
            query=[("fieldManager", FIELD_MANAGER), ("force", "true")],
            body=full,
            content_type=APPLY,
        )

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
        """See ``KubeApi.delete``."""
        options: JsonObject = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        meant: JsonObject = {}
        if uid is not None:
            meant["uid"] = uid
        if resource_version is not None:
            meant["resourceVersion"] = resource_version
        if meant:
            options["preconditions"] = meant
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            await self._request("DELETE", kind.path(namespace, name), body=options)
        except NotFound:
            return False
        return True

    async def read_log(self, namespace: str, pod: str, container: str, *, limit: int) -> str | None:
        """See ``KubeApi.read_log``."""
        # limitBytes would keep the beginning; the kubelet counts lines, which the runtime cuts at 16 KiB.
        lines = max(16, limit // _LOG_BYTES_A_LINE)
        query = [("container", container), ("tailLines", str(lines))]
        path = POD.path(namespace, pod, "log")
        answer, raw = await self._transport.send(
            "GET", path, query=query, timeout=LOG_TIMEOUT, accept="*/*", end=max(limit, _ERROR_BYTES)
        )
        if 200 <= answer.status < 300:
            return raw[-limit:].decode(errors="replace")
        try:
            decode(answer, raw, f"GET {path}")
        except (NotFound, Invalid):
            # The pod is gone, or its container never ran.
            return None
        return None

    async def review_token(self, token: str, audiences: Sequence[str]) -> TokenIdentity:
        """See ``KubeApi.review_token``."""
        if not token:
            # The API server calls an empty token a bad request.
            return TokenIdentity(authenticated=False, error="no token")
        body: JsonObject = {
            "apiVersion": TOKEN_REVIEW.api_version,
            "kind": TOKEN_REVIEW.kind,
            "spec": {"token": token, **({"audiences": [*audiences]} if audiences else {})},
        }
        answer = await self._request("POST", TOKEN_REVIEW.path(), body=body)
        status = cast("dict[str, Any]", answer.get("status") or {})
        user = cast("dict[str, Any]", status.get("user") or {})
        extra = cast("dict[str, list[str]]", user.get("extra") or {})
        granted = tuple(cast("list[str]", status.get("audiences") or []))
        return TokenIdentity(
            # Without an audience in the answer the API server did not check ours.
            authenticated=bool(status.get("authenticated"))
            and (not audiences or bool(set(granted) & set(audiences))),
            username=user.get("username") or "",
            audiences=granted,
            extra={key: tuple(values) for key, values in extra.items()},
            error=status.get("error") or "",
            uid=user.get("uid") or "",
            groups=tuple(cast("list[str]", user.get("groups") or [])),
        )

    async def review_access(self, question: AccessQuestion) -> bool:
        """See ``KubeApi.review_access``."""
        kind = SUBJECT_ACCESS_REVIEW
        body: JsonObject = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "spec": question.spec(),
        }
        return is_allowed(await self._request("POST", kind.path(), body=body))

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: JsonObject | None = None,
        content_type: str = JSON,
        headers: Sequence[tuple[str, str]] = (),
    ) -> JsonObject:
        answer, raw = await self._transport.send(
            method, path, query=query, body=body, content_type=content_type, headers=headers
        )
        return decode(answer, raw, f"{method} {path}")
