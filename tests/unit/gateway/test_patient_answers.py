"""Answers in parts: a reader who takes nothing is let go of."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from parley.gateway.api import sse
from parley.gateway.api.transfer import TranscriptResponse
from starlette.types import Message


@pytest.mark.parametrize("kind", [sse.EventStream, lambda parts: TranscriptResponse(parts, {})])
async def test_a_reader_who_takes_nothing_is_let_go_of(
    kind: type[sse.EventStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "SEND_SECONDS", 0.01)
    closed = asyncio.Event()

    async def parts() -> AsyncGenerator[bytes]:
        try:
            while True:
                yield b"more"
        finally:
            closed.set()

    async def send(message: Message) -> None:
        if message.get("body"):
            await asyncio.Event().wait()

    async with asyncio.timeout(60):
        await kind(parts()).stream_response(send)

    assert closed.is_set()
