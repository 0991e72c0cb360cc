"""The synchronous client."""

import time
from types import TracebackType
from typing import Self

import httpx2

from parley.api.common import ApiModel
from parley.client.base import TIMEOUT, Base, Token, content_of
from parley.client.errors import Unreachable
from parley.client.operation import Endpoint, Request
from parley.client.patience import Retries


class Parley(Base):
    """A client of the gateway, for one namespace.

    Args:
        url: of the gateway, such as ``http://127.0.0.1:8080``.
        token: a Kubernetes bearer token, or a function that gives one; None: a gateway in between adds it.
        namespace: whose sessions and tasks.
        user: whom the caller acts for; needs the right ``act-for`` on ``users.parley.dev``.
        retries: how patient it is with a gateway that is busy or away.
        transport: for tests, or a proxy.
    """

    def __init__(
        self,
        url: str,
        token: Token | None = None,
        *,
        namespace: str,
        user: str | None = None,
        retries: Retries | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        super().__init__(url, token, namespace=namespace, user=user, retries=retries)
        self._http = httpx2.Client(timeout=TIMEOUT, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def send(self, endpoint: Endpoint, request: Request) -> ApiModel | None:
        """Send a request, again where that may help; return its answer.

        Raises:
            ParleyError: it was refused; Unreachable: nobody answered.
        """
        url, content = self.url_of(endpoint, request), content_of(request)
        headers = self.headers(endpoint, request)
        patience = self.patience(endpoint)
        while True:
            try:
                response = self._http.request(
                    endpoint.method, url, params=request.parameters(), headers=headers, content=content
                )
            except httpx2.TransportError as error:
                pause = patience.after_error(error)
                if pause is None:
                    raise Unreachable(self.url, str(error) or type(error).__name__) from error
            else:
                pause = patience.after_answer(response)
                if pause is None:
                    return self.answer(endpoint, response)
            time.sleep(pause)
