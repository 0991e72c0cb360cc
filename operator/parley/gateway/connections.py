"""Connections of the gateway's server: none is kept open for a request that does not come."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 15.0
"""How long a request's first line and headers may take to arrive, from the connection's beginning or the first byte."""


class PromptHeaders(H11Protocol):
    """Closes a connection whose request does not begin in time, which uvicorn waits for without an end.

    Between two requests uvicorn's own time for idle connections counts, until the next one's first byte. Bodies have
    limits of their own, until the answer is given: what comes of one after that has as long as headers have.
    """

    header_seconds = HEADER_SECONDS
    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See ``asyncio.Protocol``."""
        super().connection_made(transport)
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        super().data_received(data)
        if self.timeout_keep_alive_task is None and (
            self.conn.their_state is h11.IDLE or self._has_unread_body()
        ):
            self._expect_headers()
        else:
            self._have_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._have_headers()
        super().connection_lost(exc)

    def _has_unread_body(self) -> bool:
        """Tell whether a body still comes of a request that has its answer: uvicorn's own time ends with a byte."""
        return self.conn.their_state is h11.SEND_BODY and bool(self.cycle) and self.cycle.response_complete

    def _expect_headers(self) -> None:
        # Not from each byte on: those who send one now and then would never be late.
        if self._overdue is None:
            self._overdue = self.loop.call_later(self.header_seconds, self.transport.close)

    def _have_headers(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
