"""The asynchronous client."""

import asyncio
from types import TracebackType
from typing import Self

import httpx2

from parley.api.common import ApiModel
from parley.client.base import TIMEOUT, Base, Token, content_of
from parley.client.errors import Unreachable
from parley.client.operation import Endpoint, Request
from parley.client.patience import Retries


class AsyncParley(Base):
    """As ``Parley``, for asyncio: every operation is awaited."""

    def __init__(
        self,
        url: str,
        token: Token | None = None,
        *,
        namespace: str,
        user: str | None = None,
        retries: Retries | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(url, token, namespace=namespace, user=user, retries=retries)
        self._http = httpx2.AsyncClient(timeout=TIMEOUT, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def send_async(self, endpoint: Endpoint, request: Request) -> ApiModel | None:
        """Send a request, again where that may help; return its answer.

        Raises:
            ParleyError: it was refused; Unreachable: nobody answered.
        """
        url, content = self.url_of(endpoint, request), content_of(request)
        headers = self.headers(endpoint, request)
        patience = self.patience(endpoint)
        while True:
            try:
                response = await self._http.request(
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
            await asyncio.sleep(pause)
