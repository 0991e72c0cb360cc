"""The CEL rules of an agent's tools, each with a manifest that it lets in and one that it refuses."""

from typing import Any

from tests.crd_rules import Rule

HTTP: dict[str, Any] = {"http": {"url": "http://h/"}}
MCP: dict[str, Any] = {"mcp": {"url": "http://h/mcp"}}
CONTAINER: dict[str, Any] = {"container": {"image": "i"}}
TASK: dict[str, Any] = {"task": {"templateRef": {"name": "t"}}}
SCHEMA = {"type": "object"}


def tools(*tools: dict[str, Any], **spec: Any) -> dict[str, Any]:
    named = [{"name": f"tool{index}", **tool} for index, tool in enumerate(tools)]
    spec = {"model": {"provider": "OpenAI", "name": "m"}, "tools": named, **spec}
    return {"kind": "Agent", "metadata": {"name": "a"}, "spec": spec}


def http(url: str = "http://h/", **fields: Any) -> dict[str, Any]:
    return tools({"http": {"url": url, **fields}})


def mcp(url: str = "http://h/mcp", **fields: Any) -> dict[str, Any]:
    return tools({"mcp": {"url": url, **fields}})


def header(**fields: Any) -> dict[str, Any]:
    return http(headers=[{"name": "A", **fields}])


_FROM = {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
_KIND = "a tool has exactly one of http, mcp, container, task"
_TOOL = "spec.tools[0]"
_ASKED = {**HTTP, "approval": "Required"}
GOOD_URLS = (
    *(
        "http://h",
        "https://orders.shop:8080/a/{{ arguments.a }}?b={{ arguments.b }}",
        "http://h?{{ arguments.q }}",
    ),
    *("http://[fd00::1]:80/", "http://10.0.0.1/{% if arguments.a %}a b{% endif %}"),
)
BAD_URLS = (
    *(
        "orders/{{ arguments.a }}",
        "{{ arguments.url }}",
        "http://{{ arguments.host }}/a",
        "http://h{{ arguments.a }}",
    ),
    *(
        "ftp://h/",
        "http:///a",
        "http://alice:secret@h/",
        "http://h\\@evil/",
        "http://h#a",
        "http://h /",
        "//h/",
    ),
    *("http://h:{{ arguments.port }}/", "http://h/a\nb", "javascript:alert(1)"),
)
BAD_SERVERS = (
    "http://h/{{ arguments.a }}",
    "http://h/{a}",
    "http://alice@h/mcp",
    "h/mcp",
    "http://h/a b",
    "ws://h/",
)

TOOL_RULES = [
    *(
        Rule(_KIND, tools(kind), tools({**kind, **other}), _TOOL)
        for kind, other in ((HTTP, MCP), (MCP, CONTAINER), (CONTAINER, TASK), (TASK, HTTP))
    ),
    Rule(_KIND, tools(HTTP, MCP, CONTAINER, TASK), tools(HTTP, {}), "spec.tools[1]"),
    Rule("an MCP server says its tools' parameters", tools({**HTTP, "parameters": SCHEMA}),
         tools({**MCP, "parameters": SCHEMA}), f"{_TOOL}.parameters"),
    Rule("the result of a task tool is the Task's name", tools({**MCP, "resultSchema": SCHEMA}),
         tools({**TASK, "resultSchema": SCHEMA}), f"{_TOOL}.resultSchema"),
    Rule("approvalTimeout needs approval: Required", tools({**_ASKED, "approvalTimeout": "24h"}),
         tools({**HTTP, "approvalTimeout": "24h"}), f"{_TOOL}.approvalTimeout"),
    Rule("approvalTimeout needs approval: Required", tools({**_ASKED, "approvalTimeout": "1ms"}),
         tools({**HTTP, "approval": "Never", "approvalTimeout": "24h"}), f"{_TOOL}.approvalTimeout"),
    Rule("onApprovalTimeout needs approvalTimeout",
         tools({**_ASKED, "approvalTimeout": "24h", "onApprovalTimeout": "Approve"}),
         tools({**_ASKED, "onApprovalTimeout": "Approve"}), f"{_TOOL}.onApprovalTimeout"),
    Rule("a header has exactly one of value and valueFrom", header(value=""), header(value="", **_FROM),
         f"{_TOOL}.http.headers[0]"),
    Rule("a header has exactly one of value and valueFrom", header(**_FROM), header(), f"{_TOOL}.http.headers[0]"),
    Rule("a header has exactly one of value and valueFrom", mcp(headers=[{"name": "A", **_FROM}]),
         mcp(headers=[{"name": "A"}]), f"{_TOOL}.mcp.headers[0]"),
    *(
        Rule("Parley sets the headers", header(name=f"X-{name}", value="v"), header(name=name, value="v"),
             f"{_TOOL}.http.headers[0].name")
        for name in ("Host", "content-length", "Transfer-Encoding", "CONNECTION", "Idempotency-Key")
    ),
    *(
        Rule("must begin with http:// or https:// and a host", http(GOOD_URLS[index % len(GOOD_URLS)]), http(url),
             f"{_TOOL}.http.url")
        for index, url in enumerate(BAD_URLS)
    ),
    *(
        Rule("must be http:// or https://, a host and a path", mcp("https://h:8443/mcp?team=a"), mcp(url),
             f"{_TOOL}.mcp.url")
        for url in BAD_SERVERS
    ),
    Rule("must be longer than zero and at most 10m", http(timeout="10m"), http(timeout="10m1s"),
         f"{_TOOL}.http.timeout"),
    Rule("must be longer than zero and at most 10m", mcp(timeout="1ms"), mcp(timeout="0s"), f"{_TOOL}.mcp.timeout"),
    Rule("must be longer than zero", tools({"container": {"image": "i", "timeout": "2h"}}),
         tools({"container": {"image": "i", "timeout": "0m"}}), f"{_TOOL}.container.timeout"),
    Rule("a tool is called like one of builtinTools", tools({**HTTP, "name": "update_context"}),
         tools({**HTTP, "name": "update_context"}, builtinTools=["update_context"]), "spec.tools"),
    Rule("a tool's name begins with that of an mcp tool", tools({**MCP, "name": "tickets"}, {**HTTP, "name": "ticket_a"}),
         tools({**HTTP, "name": "tickets_create"}, {**MCP, "name": "tickets"}), "spec.tools"),
    Rule("a tool's name begins with that of an mcp tool", tools({**HTTP, "name": "a"}, {**HTTP, "name": "a_b"}),
         tools({**MCP, "name": "a_b"}, {**MCP, "name": "a"}), "spec.tools"),
    Rule("a tool's name begins with that of an mcp tool",
         tools({**MCP, "name": "update"}), tools({**MCP, "name": "update"}, builtinTools=["update_context"]),
         "spec.tools"),
]  # fmt: skip
