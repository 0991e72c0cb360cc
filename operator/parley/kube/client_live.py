"""The ``KubeApi`` on the official client's asyncio transport. The only module that imports ``kubernetes``.

Kinds are known beforehand (``parley.kube.kinds``), so requests go by path: no discovery, no generated models.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Protocol, cast

import aiohttp
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client import ApiClient, Configuration

from parley.kube.answers import Answer, decode, read_page
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
from parley.kube.kinds import POD, TOKEN_REVIEW, Kind

CONNECT_TIMEOUT = 5.0
REQUEST_TIMEOUT = 15.0
LOG_TIMEOUT = 2.0
CONNECTIONS = 20
"""Requests at a time: enough for the reconcilers, without flooding an API server that is just back."""

_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_RELISTS = 3
_LOG_BYTES_A_LINE = 4
_ERROR_BYTES = 4096
_CHUNK_BYTES = 64 * 1024


class _Transport(Protocol):
    """The package's ``ApiClient``, whose methods carry no types."""

    async def param_serialize(
        self,
        method: str,
        resource_path: str,
        *,
        query_params: list[tuple[str, str]],
        header_params: dict[str, str],
        body: JsonObject | None,
        auth_settings: list[str],
    ) -> tuple[object, ...]: ...
    async def call_api(self, *request: object, _request_timeout: aiohttp.ClientTimeout) -> Answer: ...
    async def close(self) -> None: ...


class KubeConfigError(Exception):
    """There is no way to the API server: neither a pod's service account nor a kubeconfig."""


async def _load_configuration() -> Configuration:
    configuration = Configuration()
    # The package's functions are untyped.
    load = cast("Any", kubernetes_config)
    try:
        if "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ:
            load.load_incluster_config(client_configuration=configuration)
        else:
            path = os.environ.get("KUBECONFIG")
            await load.load_kube_config(
                config_file=path, client_configuration=configuration, persist_config=False
            )
    except Exception as error:  # the package lets a malformed file raise whatever its code trips over
        raise KubeConfigError(
            f"no Kubernetes API server to talk to: {error}. Run in a pod with a service account token "
            "mounted, or set KUBECONFIG to a kubeconfig file"
        ) from error
    configuration.connection_pool_maxsize = CONNECTIONS
    return configuration


class LiveKube:
    """``KubeApi`` against a real API server. Make it with ``open``; close it before the event loop ends."""

    def __init__(self, transport: _Transport) -> None:
        self._transport = transport

    @classmethod
    async def open(cls) -> "LiveKube":
        """A client for the pod's service account, or for the kubeconfig that ``KUBECONFIG`` names.

        The service account's token is read again every minute, as the kubelet rotates it.

        Raises:
            KubeConfigError: Neither is there.
        """
        configuration = await _load_configuration()
        transport = ApiClient(configuration)
        transport.user_agent = f"parley/{version('parley')}"
        return cls(cast("_Transport", transport))

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

    async def create(self, kind: Kind, namespace: str | None, body: JsonObject) -> JsonObject:
        """See ``KubeApi.create``."""
        full: JsonObject = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        # Strict: an older server must not silently drop a field, such as a Job's podReplacementPolicy.
        query = [("fieldManager", FIELD_MANAGER), ("fieldValidation", "Strict")]
        return await self._request("POST", kind.path(namespace), query=query, body=full)

    async def replace(self, kind: Kind, namespace: str | None, body: JsonObject) -> JsonObject:
        """See ``KubeApi.replace``."""
        metadata = cast("Mapping[str, str]", body.get("metadata") or {})
        name = metadata.get("name")
        if not name or not metadata.get("resourceVersion"):
            raise ValueError("replace needs metadata.name and metadata.resourceVersion")
        query = [("fieldManager", FIELD_MANAGER)]
        return await self._request("PUT", kind.path(namespace, name), query=query, body=body)

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
            content_type=_APPLY,
        )

    async def apply(
        self, kind: Kind, namespace: str, name: str, body: JsonObject, *, uid: str, resource_version: str
    ) -> JsonObject:
        """See ``KubeApi.apply``."""
        metadata = cast("JsonObject", body.get("metadata") or {})
        named: JsonObject = {
            **metadata,
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "resourceVersion": resource_version,
        }
        full: JsonObject = {"apiVersion": kind.api_version, "kind": kind.kind, **body, "metadata": named}
        return await self._request(
            "PATCH",
            kind.path(namespace, name),
            query=[("fieldManager", FIELD_MANAGER), ("force", "true")],
            body=full,
            content_type=_APPLY,
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
        answer, raw = await self._send(
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
            "spec": {"token": token, "audiences": [*audiences]},
        }
        answer = await self._request("POST", TOKEN_REVIEW.path(), body=body)
        status = cast("dict[str, Any]", answer.get("status") or {})
        user = cast("dict[str, Any]", status.get("user") or {})
        extra = cast("dict[str, list[str]]", user.get("extra") or {})
        granted = tuple(cast("list[str]", status.get("audiences") or []))
        return TokenIdentity(
            # Without an audience in the answer the API server did not check ours.
            authenticated=bool(status.get("authenticated")) and bool(set(granted) & set(audiences)),
            username=user.get("username") or "",
            audiences=granted,
            extra={key: tuple(values) for key, values in extra.items()},
            error=status.get("error") or "",
        )

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: JsonObject | None = None,
        content_type: str = _JSON,
    ) -> JsonObject:
        answer, raw = await self._send(method, path, query=query, body=body, content_type=content_type)
        return decode(answer, raw, f"{method} {path}")

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]],
        body: JsonObject | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        timeout: float | None = None,  # noqa: ASYNC109 - it bounds the transport's parts too
        end: int | None = None,
    ) -> tuple[Answer, bytes]:
        limit = REQUEST_TIMEOUT if timeout is None else timeout
        try:
            # The outer limit also covers reading a token or certificate from a stuck disk.
            async with asyncio.timeout(limit + 1):
                request = await self._transport.param_serialize(
                    method,
                    path,
                    query_params=list(query),
                    header_params={"Accept": accept, "Content-Type": content_type},
                    body=body,
                    auth_settings=["BearerToken"],
                )
                within = aiohttp.ClientTimeout(total=limit, sock_connect=min(limit, CONNECT_TIMEOUT))
                answer = await self._transport.call_api(*request, _request_timeout=within)
                return answer, await (answer.read() if end is None else _end_of(answer, end))
        except TimeoutError as error:
            message = f"the API server did not answer {method} {path} within {limit:.0f} s"
            raise KubeUnavailable(0, "Timeout", message) from error
        except (aiohttp.ClientError, OSError, kubernetes_config.ConfigException) as error:
            message = f"cannot reach the API server for {method} {path}: {error}"
            raise KubeUnavailable(0, "Unreachable", message) from error


async def _end_of(answer: Answer, limit: int) -> bytes:
    """Read an answer of any length, and keep its end."""
    kept = b""
    async for chunk in answer.response.content.iter_chunked(_CHUNK_BYTES):
        kept = (kept + chunk)[-limit:]
    return kept
