"""Answers in parts, for as long as somebody takes them; server-sent events are such."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Send

from parley.api.common import ApiModel

SEND_SECONDS = 60.0
"""A reader that takes nothing for so long is gone, or might as well be."""

EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "server-sent events until the end",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}

HEARTBEAT = format_sse_event(comment="still here")


def frame(event: str, data: ApiModel, sequence: int | None = None) -> bytes:
    """Write one event; ``sequence`` is where a reader who has it goes on."""
    text = data.model_dump_json(by_alias=True, exclude_none=True)
    return format_sse_event(data_str=text, event=event, id=None if sequence is None else str(sequence))


class PatientResponse(StreamingResponse):
    """Sends parts as they come, and lets go of a reader who takes none.

    Args:
        parts: closed when the reader leaves.
        headers: of the answer.
    """

    def __init__(self, parts: AsyncGenerator[bytes], headers: dict[str, str]) -> None:
        super().__init__(parts, headers=headers)
        self._parts = parts

    async def stream_response(self, send: Send) -> None:
        """Send it all."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._parts) as parts:
            async for body in parts:
                try:
                    async with asyncio.timeout(SEND_SECONDS):
                        await send({"type": "http.response.body", "body": body, "more_body": True})
                except TimeoutError:
                    return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class EventStream(PatientResponse):
    """Sends frames."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncGenerator[bytes]) -> None:
        # Proxies are to pass each frame on at once, and nobody is to keep it.
        super().__init__(frames, {"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
