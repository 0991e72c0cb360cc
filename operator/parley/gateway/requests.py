"""What is done to every request before any route: how much of a body is taken, and its id."""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parley.api.common import REQUEST_ID_HEADER
from parley.gateway.access.refusal import Refusal
from parley.gateway.problems import PEOPLE_PREFIX, problem_response
from parley.gateway.settings import GatewaySettings

_IMPORT = re.compile(rf"{PEOPLE_PREFIX}namespaces/[^/]+/sessions/[^/]+/import")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class BodyLimits:
    """Refuses bodies that are too large: a runner's may hold a container's output, a person's holds words.

    A person's whose length is announced is refused before anything of it, or of the caller, is looked at.
    """

    def __init__(self, app: ASGIApp, settings: GatewaySettings) -> None:
        self._app = app
        self._settings = settings
        self._runners = RequestBodyLimitMiddleware(app, settings.max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(PEOPLE_PREFIX):
            await self._runners(scope, receive, send)
            return
        imports = scope["method"] == "POST" and _IMPORT.fullmatch(scope["path"]) is not None
        limit = self._settings.max_import_bytes if imports else self._settings.max_people_body_bytes
        announced = Headers(scope=scope).get("Content-Length", "")
        if announced.isdecimal() and int(announced) > limit:
            refusal = _too_large(limit)
            await problem_response(refusal.problem, refusal.headers)(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > limit:
                    raise _too_large(limit)
            return message

        await self._app(scope, counted, send)


class RequestIds:
    """Gives each answer the id of its request: the caller's own, or a new one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        await self._app(scope, receive, named)


def _too_large(limit: int) -> Refusal:
    detail = f"the body is larger than {limit:,} bytes: send less"
    return Refusal(413, detail, reason="TooLarge", headers={"Connection": "close"})
