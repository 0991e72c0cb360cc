"""The servers that tests' agents speak with: the scripted model, a shop's HTTP API, an MCP server; and what each was asked."""

import json
from typing import Any

from tests.cluster import SYSTEM_NAMESPACE, Cluster

SHOP_URL = f"http://shop.{SYSTEM_NAMESPACE}.svc"
TICKETS_URL = f"http://tickets.{SYSTEM_NAMESPACE}.svc/mcp"
_SERVICES = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/services"
NUMBER = {
    "type": "object",
    "properties": {"number": {"type": "string", "pattern": "^[0-9]+$"}},
    "required": ["number"],
}
PAYMENT = {
    "type": "object",
    "properties": {"order": {"type": "string"}, "amount": {"type": "number"}},
    "required": ["order", "amount"],
}


def ask(cluster: Cluster, service: str, path: str, method: str = "GET", **query: str) -> Any:
    """Ask one of the servers, through the API server."""
    answer = cluster.request(method, f"{_SERVICES}/{service}:http/proxy/{path}", params=query)
    return answer.raise_for_status().json()


def model_requests(cluster: Cluster, contains: str) -> list[dict[str, Any]]:
    """What the model was asked that contains a text, oldest first: each the request, and beside it path, status, reply."""
    return ask(cluster, "model", "requests", contains=contains, limit="2000")["requests"]


def texts_of(entry: dict[str, Any]) -> list[tuple[str, str]]:
    """Role and text of the messages of a request of OpenAI's API."""
    return [(message["role"], _text(message.get("content"))) for message in entry["request"]["messages"]]


def _text(content: object) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content if isinstance(content, str) else ""


def offered(entry: dict[str, Any]) -> list[str]:
    """Names of the tools that a request of OpenAI's API offers."""
    return [tool["function"]["name"] for tool in entry["request"].get("tools") or []]


def shop_calls(cluster: Cluster, contains: str) -> list[dict[str, Any]]:
    """What the shop was asked, oldest first: method, path, body, key."""
    return ask(cluster, "shop", "calls", contains=contains)["calls"]


def ticket_calls(cluster: Cluster, contains: str) -> list[dict[str, Any]]:
    """What the MCP server's tools were called with, oldest first: tool, arguments, meta."""
    return ask(cluster, "tickets", "calls", contains=contains)["calls"]


def call(tool: str, **arguments: object) -> str:
    """What makes the scripted model call a tool."""
    return f"[call {tool} {json.dumps(arguments)}]"


def get_order(of: str, **fields: object) -> dict[str, object]:
    """A tool that asks the shop for an order; the shop's list of calls shows whose it was."""
    url = f"{SHOP_URL}/orders/{{{{ arguments.number }}}}?of={of}"
    about = {"name": "get_order", "description": "Looks an order up.", "parameters": NUMBER}
    return {**about, "http": {"url": url}, **fields}


def refund(**fields: object) -> dict[str, object]:
    """A tool that has the shop pay."""
    http = {"method": "POST", "url": f"{SHOP_URL}/refunds"}
    return {"name": "refund", "description": "Pays.", "parameters": PAYMENT, "http": http, **fields}


def http_tool(name: str, path: str, **http: object) -> dict[str, object]:
    """A tool without arguments that gets something of the shop."""
    return {"name": name, "http": {"url": f"{SHOP_URL}/{path}", **http}}
