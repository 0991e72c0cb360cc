"""A real MCP server on 127.0.0.1, from the library's own server side; what it lists and says is the test's."""

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server import Server, ServerRequestContext
from mcp.server.transport_security import TransportSecuritySettings

Reply = Callable[[dict[str, Any]], Awaitable[types.CallToolResult]]


@dataclass
class Tickets:
    """What the server has: ``pages`` of tools by name, and how each replies."""

    url: str = ""
    pages: list[dict[str, types.Tool]] = field(default_factory=lambda: [{}])
    replies: dict[str, Reply] = field(default_factory=dict)
    calls: list[types.CallToolRequestParams] = field(default_factory=list)
    lists: int = 0
    requests: list[dict[str, str]] = field(default_factory=list)
    status: int | None = None
    endless: bool = False
    forgets: bool = False

    def has(self, name: str, reply: Any = None, page: int = 0, schema: Any = None, **more: Any) -> None:
        """Add a tool; ``reply`` is a result, or a text."""
        while len(self.pages) <= page:
            self.pages.append({})
        schema = schema or {"type": "object"}
        self.pages[page][name] = types.Tool(name=name, input_schema=schema, **more)
        result = reply if isinstance(reply, types.CallToolResult) else said(str(reply))

        async def answer(_: dict[str, Any]) -> types.CallToolResult:
            return result

        self.replies[name] = reply if callable(reply) else answer

    def drop(self, name: str) -> None:
        for page in self.pages:
            page.pop(name, None)
        self.replies.pop(name, None)


def said(text: str, **more: Any) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], **more)


class _Watched:
    """Notes every request's headers, refuses all if the test says so, and forgets a session, as a restart does."""

    def __init__(self, app: Any, tickets: Tickets) -> None:
        self._app, self._tickets = app, tickets

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        self._tickets.requests.append({name.decode(): value.decode() for name, value in scope["headers"]})
        if self._tickets.forgets and any(name == b"mcp-session-id" for name, _ in scope["headers"]):
            self._tickets.forgets = False
            headers = [
                (name, b"0" if name == b"mcp-session-id" else value) for name, value in scope["headers"]
            ]
            scope = {**scope, "headers": headers}
        if self._tickets.status is None:
            return await self._app(scope, receive, send)
        plain = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": self._tickets.status, "headers": plain})
        await send({"type": "http.response.body", "body": b"go away"})
        return None


@contextmanager
def mcp_server(*, stateless: bool = True, json: bool = True) -> Iterator[Tickets]:
    tickets = Tickets()

    async def on_list(_: ServerRequestContext[Any], params: Any) -> types.ListToolsResult:
        tickets.lists += 1
        page = int(params.cursor) if params and params.cursor else 0
        more = tickets.endless or page + 1 < len(tickets.pages)
        tools = tickets.pages[min(page, len(tickets.pages) - 1)].values()
        return types.ListToolsResult(tools=list(tools), next_cursor=str(page + 1) if more else None)

    async def on_call(
        _: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        tickets.calls.append(params)
        if params.name not in tickets.replies:
            return said(f"Unknown tool: {params.name}", is_error=True)
        return await tickets.replies[params.name](params.arguments or {})

    def schema_of(name: str) -> Any:
        return next((page[name].input_schema for page in tickets.pages if name in page), None)

    server = Server("tickets", on_list_tools=on_list, on_call_tool=on_call, get_tool_input_schema=schema_of)
    app = server.streamable_http_app(
        stateless_http=stateless,
        json_response=json,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    config = uvicorn.Config(
        _Watched(app, tickets), "127.0.0.1", 0, log_level="error", ws="none", timeout_graceful_shutdown=1
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive(), "the MCP server did not start"
            thread.join(0.01)
        port = running.servers[0].sockets[0].getsockname()[1]
        tickets.url = f"http://127.0.0.1:{port}/mcp"
        yield tickets
    finally:
        running.should_exit = True
        thread.join(20)
