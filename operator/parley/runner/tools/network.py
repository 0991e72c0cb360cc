"""The connections of tools: every address checked, every answer bounded.

A name is resolved here, once for each request, and the connection goes to the address that was checked. So a name
server that answers differently the second time (DNS rebinding) changes nothing.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import httpx2

from parley.runner.daemon_thread import in_daemon_thread
from parley.runner.tools.addresses import refusal
from parley.runner.tools.bounded import BoundedStream, without_encoding

CONNECT_SECONDS = 5.0
_NO_CONNECTION = "All connection attempts failed"
"""What the library says when there is one address and nobody listens."""
MAX_ADDRESSES = 4
"""Of those that a name has: how many are tried."""
_PASSING = frozenset({429, 502, 503, 504})
"""What a server or what is before it answers while it is busy, or being restarted."""


class AddressCheck(Protocol):
    """Says why an address is refused, None if it is not; see ``addresses.refusal``."""

    def __call__(self, address: str, *, allow_link_local: bool) -> str | None:
        """Check one address."""
        ...


class AddressRefused(httpx2.ConnectError):
    """The host has only addresses that tools may not connect to."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return a host's addresses as the system knows them, each once.

    Raises:
        OSError: it has none.
    """
    found = await in_daemon_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(slots=True)
class Network:
    """How tools connect; tests put their own policy and name server in."""

    check: AddressCheck = refusal
    resolve: Callable[[str, int], Awaitable[Sequence[str]]] = resolve
    _tls: ssl.SSLContext | None = field(default=None, init=False)

    def client(
        self, headers: Mapping[str, str], *, allow_link_local: bool, max_bytes: int
    ) -> "tuple[httpx2.AsyncClient, GuardedTransport]":
        """Make a client for one conversation with one server; it keeps no cookies for the next one.

        Args:
            headers: sent with every request.
            allow_link_local: see ``addresses.refusal``.
            max_bytes: largest body of an answer, unpacked.
        """
        if self._tls is None:
            # Reads the system's certificates: once is enough.
            self._tls = httpx2.create_ssl_context()
        transport = GuardedTransport(self, self._tls, allow_link_local=allow_link_local, max_bytes=max_bytes)
        client = httpx2.AsyncClient(
            transport=transport,
            headers={"User-Agent": "parley", "Accept-Encoding": "identity", **headers},
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            follow_redirects=False,
        )
        return client, transport


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Connects to checked addresses only, and lets no answer grow without end.

    ``problem`` says what last went wrong on the way, for libraries that swallow it; ``passing`` whether that may be
    over in a moment; ``status`` is of the last answer.
    """

    def __init__(
        self, network: Network, tls: ssl.SSLContext, *, allow_link_local: bool, max_bytes: int
    ) -> None:
        self._network = network
        self._allow_link_local = allow_link_local
        self._max_bytes = max_bytes
        # A kept connection would be chosen by its address, so one host's could serve another's requests.
        self._inner = httpx2.AsyncHTTPTransport(verify=tls, limits=httpx2.Limits(max_keepalive_connections=0))
        self.problem: str | None = None
        self.passing = False
        self.status: int | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request to one of its host's addresses.

        Raises:
            AddressRefused: all of them are refused.
            httpx2.TransportError: there is no answer.
        """
        self.problem, self.passing, self.status = None, False, None
        try:
            response = await self._send(request)
        except httpx2.TransportError as error:
            self._noting(error)
            raise
        self.status = response.status_code
        if response.status_code >= 400:
            self.problem = f"answered {response.status_code}"
            self.passing = response.status_code in _PASSING
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.raw_host.decode("ascii")
        failed: httpx2.TransportError = AddressRefused("no address")
        for address in await self._addresses(host, request.url):
            pinned = httpx2.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # Host among them
                stream=request.stream,
                # The certificate is checked against the name, not against the address.
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                response = await self._inner.handle_async_request(pinned)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failed = error
            else:
                return self._bounded(response)
        raise failed

    async def _addresses(self, host: str, url: httpx2.URL) -> Sequence[str]:
        try:
            known = await self._network.resolve(host, url.port or (443 if url.scheme == "https" else 80))
        except (OSError, UnicodeError) as error:
            raise httpx2.ConnectError(f"the name {host} cannot be resolved: {error}") from None
        refused = {one: self._network.check(one, allow_link_local=self._allow_link_local) for one in known}
        allowed = [address for address, reason in refused.items() if reason is None]
        if not allowed:
            address, reason = next(iter(refused.items()), ("?", "is unknown"))
            named = "" if address == host else f" of {host}"
            raise AddressRefused(f"the address {address}{named} {reason}, and tools may not connect to such")
        return allowed[:MAX_ADDRESSES]

    def _bounded(self, response: httpx2.Response) -> httpx2.Response:
        if not isinstance(response.stream, httpx2.AsyncByteStream):
            raise TypeError("an asynchronous transport gives an asynchronous stream")
        encoding = response.headers.get("content-encoding", "")
        stream = BoundedStream(response.stream, encoding, self._max_bytes, self._noting)
        return httpx2.Response(
            response.status_code,
            headers=without_encoding(response.headers),
            stream=stream,
            extensions=response.extensions,
        )

    def _noting(self, error: httpx2.TransportError) -> None:
        self.problem = describe(error)
        self.passing = not isinstance(error, AddressRefused)


def describe(error: httpx2.TransportError) -> str:
    """Say in words what went wrong on the way to a server, after its name."""
    match error:
        case AddressRefused():
            return f"cannot be reached: {error}"
        case httpx2.ConnectTimeout():
            return f"cannot be reached: no connection within {CONNECT_SECONDS:g} s"
        case httpx2.ConnectError():
            return f"cannot be reached: {_root_cause(error)}"
        case httpx2.RemoteProtocolError() | httpx2.ReadError():
            return f"broke off: {_root_cause(error)}"
        case _:
            return f"failed: {_root_cause(error)}"


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error) or type(error).__name__
    return "nothing accepts connections there" if text == _NO_CONNECTION else text
