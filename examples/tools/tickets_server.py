"""A small ticket desk as an MCP server, for demos and tests of tools: streamable HTTP at /mcp.

It needs the package ``mcp``, which Parley's image has. Its tools: ``create`` and ``search`` tickets, ``close`` one, and
``fleeting``, which ``POST /forget`` takes away and ``POST /remember`` brings back, for tests.
``GET /calls?contains=TEXT`` lists what was called, oldest first: tool, arguments, and the call's ``_meta``.
"""

import json
import os
from collections import deque
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

server = MCPServer("tickets", instructions="Tickets of a shop's customers.", log_level="WARNING")
tickets: dict[str, dict[str, str]] = {}
calls: deque[dict[str, Any]] = deque(maxlen=2000)


def note(context: Context[Any, Any], tool: str, **arguments: object) -> None:
    """Keep what was called."""
    meta = context.request_context.meta
    calls.append({"tool": tool, "arguments": arguments, "meta": dict(meta or {})})


@server.tool()
def create(title: str, context: Context[Any, Any]) -> dict[str, str]:
    """Make a ticket."""
    note(context, "create", title=title)
    ticket = {"id": f"t-{len(tickets) + 1}", "title": title, "state": "open"}
    tickets[ticket["id"]] = ticket
    return ticket


@server.tool()
def search(text: str, context: Context[Any, Any]) -> list[dict[str, str]]:
    """Find the tickets whose title contains a text."""
    note(context, "search", text=text)
    return [ticket for ticket in tickets.values() if text in ticket["title"]]


@server.tool()
def close(id: str, context: Context[Any, Any]) -> str:  # noqa: A002 - the argument's name is part of the tool
    """Close a ticket."""
    note(context, "close", id=id)
    if id not in tickets:
        raise ToolError(f"there is no ticket {id}")
    tickets[id]["state"] = "closed"
    return f"{id} is closed"


def fleeting() -> str:
    """Be there for now."""
    return "still here"


server.add_tool(fleeting)


@server.custom_route("/healthz", methods=["GET"])
async def health(_request: Request) -> Response:
    """Say that it runs."""
    return JSONResponse({"status": "ok"})


@server.custom_route("/calls", methods=["GET"])
async def called(request: Request) -> Response:
    """List what was called."""
    contains = request.query_params.get("contains", "")
    return JSONResponse({"calls": [call for call in calls if contains in json.dumps(call, default=str)]})


@server.custom_route("/forget", methods=["POST"])
async def forget(_request: Request) -> Response:
    """Take a tool away."""
    server.remove_tool("fleeting")
    return JSONResponse({})


@server.custom_route("/remember", methods=["POST"])
async def remember(_request: Request) -> Response:
    """Bring it back."""
    server.add_tool(fleeting)
    return JSONResponse({})


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    uvicorn.run(server.streamable_http_app(host="0.0.0.0"), host="0.0.0.0", port=port, log_level="warning")
