"""The asynchronous client."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from types import TracebackType
from typing import Self, cast

import httpx2
from httpx2 import EventSource

from parley.api.common import ApiModel
from parley.api.transfer import ImportResult
from parley.client.base import SILENCE, TIMEOUT, Base, Token, content_of, new_key
from parley.client.errors import ParleyError, Unreachable
from parley.client.operation import Endpoint, Request
from parley.client.operations import CHAT, EXPORT, IMPORT, STREAM, message
from parley.client.patience import Retries
from parley.client.streams import ChatItem, Following, StreamItem
from parley.client.transfer import LastLine
from parley.resources.runtime import RuntimeMode


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
        url = self.url_of(endpoint, request)
        content = content_of(request) or cast("bytes | AsyncIterable[bytes] | None", request.content)
        headers = self.headers(endpoint, request)
        patience = self.patience(endpoint, request)
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

    async def stream(self, name: str, *, after: int | None = None) -> AsyncIterator[StreamItem]:
        """What happens in a session until it is deleted: all after a sequence, or from now on.

        A connection that breaks is made again; no event is missed or told twice.

        Raises:
            ParleyError: it was refused; Unreachable: nobody answers for longer than ``retries`` allows.
        """
        async for item in self._follow(
            STREAM, Request({"name": name}), Following(self.url, self.retries, after)
        ):
            yield cast("StreamItem", item)

    async def chat(
        self,
        name: str,
        content: str,
        *,
        user: str | None = None,
        agent: str | None = None,
        runtime: RuntimeMode | None = None,
        key: str | None = None,
    ) -> AsyncIterator[ChatItem]:
        """Say something in a session, and follow its turn to the end.

        The message is said once, however often the connection has to be made anew.

        Raises:
            ParleyError: it was refused; Unreachable: nobody answers for longer than ``retries`` allows.
        """
        request = message(
            name, content, turn=True, user=user, agent=agent, runtime=runtime, key=key or new_key()
        )
        async for item in self._follow(CHAT, request, Following(self.url, self.retries)):
            yield cast("ChatItem", item)

    async def export_session(self, name: str) -> AsyncIterator[bytes]:
        """A session as JSON lines, each with its end of line; the format is ``parley.api.transfer``.

        Raises:
            ParleyError: it was refused; Unreachable: it broke off, and what came is not the whole.
        """
        request, last = Request({"name": name}), LastLine()
        url, headers = self.url_of(EXPORT, request), self.headers(EXPORT, request)
        try:
            async with self._http.stream("GET", url, headers=headers) as response:
                if not response.is_success:
                    await response.aread()
                    raise ParleyError.of(response)
                async for chunk in response.aiter_bytes():
                    last.add(chunk)
                    yield chunk
        except httpx2.TransportError as error:
            raise Unreachable(self.url, f"the export broke off: {error}") from error
        last.check(self.url)

    async def import_session(self, name: str, content: bytes | AsyncIterable[bytes]) -> ImportResult:
        """Bring exported events into a session; those that are there already are left as they are.

        Raises:
            ParleyError: it was refused.
        """
        request = Request({"name": name}, content=content)
        return cast("ImportResult", await self.send_async(IMPORT, request))

    async def _follow(
        self, endpoint: Endpoint, request: Request, following: Following
    ) -> AsyncIterator[ApiModel]:
        url, content = self.url_of(endpoint, request), content_of(request)
        while True:
            headers = self.headers(endpoint, request, following.headers())
            broken: Exception | None = None
            try:
                async with self._http.stream(
                    endpoint.method, url, headers=headers, content=content, timeout=SILENCE
                ) as response:
                    if not response.is_success:
                        await response.aread()
                        following.refused(response)
                    else:
                        async for told in EventSource(response):
                            item = following.take(told)
                            if item is not None:
                                yield item
                            if following.over:
                                return
            except (httpx2.TransportError, httpx2.SSEError) as error:
                broken = error
            await asyncio.sleep(following.pause(broken))
