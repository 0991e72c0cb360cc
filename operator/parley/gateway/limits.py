"""Bounds on what a request may send, before anything of it is read into a model."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parley.gateway.problems import problem_response
from parley.protocol.messages import Problem


class _TooLong(Exception):
    """The body went over the limit."""


class BodyLimit:
    """Refuses bodies over a limit with 413, whether they say their length or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        left = self._max

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
                if left < 0:
                    raise _TooLong
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        declared = dict(scope["headers"]).get(b"content-length", b"0")
        fits = declared.isdigit() and int(declared) <= self._max
        try:
            if fits:
                await self._app(scope, bounded, watched)
        except _TooLong:
            if started:
                raise
            fits = False
        if not fits:
            detail = f"a request may have at most {self._max} bytes"
            problem = Problem(title="Too large", status=413, detail=detail, reason="ResultTooLarge")
            # What is still on its way is not read: the connection cannot be used again.
            response = problem_response(problem, {"Connection": "close"})
            await response(scope, receive, send)
