"""A gateway that answers what a test tells it to, for both clients alike."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2
from parley.client import AsyncParley, Parley, Retries

Answer = httpx2.Response | Exception
QUICK = Retries(attempts=4, seconds=5.0)


class ScriptedGateway:
    """Gives the answers in turn, the last one again and again; keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests]


class Both:
    """One of the clients; what it is asked is answered as if it were synchronous."""

    def __init__(self, kind: str, gateway: ScriptedGateway, **options: Any) -> None:
        self.gateway = gateway
        made: dict[str, Any] = {"namespace": "shop", "retries": QUICK, "token": "secret", **options}
        self._sync = lambda: Parley("http://gateway", transport=httpx2.MockTransport(gateway.answer), **made)
        self._async = lambda: AsyncParley(
            "http://gateway", transport=httpx2.MockTransport(gateway.answer), **made
        )
        self._is_sync = kind == "sync"

    def ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method and return its answer."""
        if self._is_sync:
            with self._sync() as client:
                return getattr(client, method)(*arguments, **options)

        async def ask() -> Any:
            async with self._async() as client:
                return await getattr(client, method)(*arguments, **options)

        return asyncio.run(ask())

    def read(self, method: str, *arguments: Any, **options: Any) -> list[Any]:
        """Call a method that iterates, and return all it yields."""
        if self._is_sync:
            with self._sync() as client:
                return list(getattr(client, method)(*arguments, **options))

        async def read() -> list[Any]:
            async with self._async() as client:
                return [item async for item in getattr(client, method)(*arguments, **options)]

        return asyncio.run(read())


class Stream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The body of an answer that comes in pieces, and breaks where an error is among them."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def frame(event: str, data: dict[str, Any], number: int | None = None) -> bytes:
    """A server-sent event, as the gateway writes it."""
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {event}\ndata: {json.dumps(data)}\n\n".encode()


def event(sequence: int, content: str = "hello", **more: Any) -> bytes:
    """The frame of a committed event."""
    data = {
        "sequence": sequence,
        "id": f"00000000-0000-0000-0000-{sequence:012}",
        "time": "2026-11-23T10:00:00Z",
        "type": "message",
        "role": "assistant",
        "content": content,
        **more,
    }
    return frame("event", data, sequence)


def streaming(*pieces: bytes | Exception) -> httpx2.Response:
    """An answer that streams."""
    return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Stream(*pieces))


def problem(
    status: int, detail: str = "", headers: dict[str, str] | None = None, **more: Any
) -> httpx2.Response:
    """A refusal."""
    body = {"type": "about:blank", "title": "Refused", "status": status, "detail": detail, **more}
    return httpx2.Response(status, json=body, headers=headers)


Make = Callable[..., Both]
