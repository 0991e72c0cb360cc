"""The way to an API server: the official client's asyncio transport. The only module that imports ``kubernetes``."""

import asyncio
import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Protocol, cast
from urllib.request import getproxies

import aiohttp
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client import ApiClient, Configuration
from multidict import CIMultiDict

from parley.kube.answers import Answer
from parley.kube.applied_body import APPLY, applied_body
from parley.kube.client import JsonObject
from parley.kube.errors import KubeUnavailable

CONNECT_TIMEOUT = 5.0
REQUEST_TIMEOUT = 15.0
CONNECTIONS = 20
"""Requests at a time: enough for the reconcilers, without flooding an API server that is just back."""

JSON = "application/json"
_CHUNK_BYTES = 64 * 1024


class _Client(Protocol):
    """The package's ``ApiClient``, whose methods carry no types."""

    async def param_serialize(
        self,
        method: str,
        resource_path: str,
        *,
        query_params: list[tuple[str, str]],
        header_params: dict[str, str],
        body: JsonObject | str | None,
        auth_settings: list[str],
    ) -> tuple[str, str, dict[str, str], object, object]: ...
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
    # It would look for a .netrc and for proxies, in a thread of its own, before every request.
    configuration.client_session_kwargs = {"trust_env": bool(getproxies())}
    return configuration


class Transport:
    """Sends requests, each within its timeout."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    @classmethod
    async def open(cls) -> "Transport":
        """See ``LiveKube.open``."""
        configuration = await _load_configuration()
        client = ApiClient(configuration)
        client.user_agent = f"parley/{version('parley')}"
        return cls(cast("_Client", client))

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: JsonObject | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: float | None = None,  # noqa: ASYNC109 - it bounds the transport's parts too
        end: int | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> tuple[Answer, bytes]:
        """Send a request; return the answer and its body, or with ``end`` so many bytes of the body's end.

        One name may stand several times in ``headers``.

        Raises:
            KubeUnavailable: there was no answer, or not in time.
        """
        limit = REQUEST_TIMEOUT if timeout is None else timeout
        try:
            # The outer limit also covers reading a token or certificate from a stuck disk.
            async with asyncio.timeout(limit + 1):
                verb, url, usual, content, posted = await self._client.param_serialize(
                    method,
                    path,
                    query_params=list(query),
                    header_params={"Accept": accept, "Content-Type": content_type},
                    body=applied_body(body) if body is not None and content_type == APPLY else body,
                    auth_settings=["BearerToken"],
                )
                within = aiohttp.ClientTimeout(total=limit, sock_connect=min(limit, CONNECT_TIMEOUT))
                # The package knows headers as a dict only, which has each name once.
                sent = CIMultiDict([*usual.items(), *headers])
                answer = await self._client.call_api(
                    verb, url, sent, content, posted, _request_timeout=within
                )
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
