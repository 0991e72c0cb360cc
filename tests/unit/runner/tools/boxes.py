"""Tool boxes for tests, whose network may reach this machine."""

from collections.abc import Mapping, Sequence
from typing import Any

from parley.protocol.model_keys import tool_secret_variable
from parley.protocol.request import AgentSnapshot
from parley.resources.common import SecretKeyRef
from parley.runner.tools.addresses import refusal
from parley.runner.tools.box import ToolBox
from parley.runner.tools.mcp_listing import Listings
from parley.runner.tools.network import Network, resolve

SCOPE = {
    "session": {"name": "alice", "context": {"order": "12345"}},
    "agent": {"name": "support"},
    "task": {"name": "t", "namespace": "shop"},
    "inputs": {"tenant": "acme"},
}
SECRET = {"secretKeyRef": {"name": "orders", "key": "token"}}
OPEN = {"type": "object"}


def loopback_too(address: str, *, allow_link_local: bool) -> str | None:
    """The policy as it is, but that the tests' own servers may be reached."""
    reason = refusal(address, allow_link_local=allow_link_local)
    return None if reason is not None and "loopback" in reason else reason


def network(names: Mapping[str, Sequence[str]] | None = None) -> Network:
    """A network with a name server of the test's own."""

    async def known(host: str, port: int) -> Sequence[str]:
        if names is None or host not in names:
            return await resolve(host, port)
        return names[host]

    return Network(check=loopback_too, resolve=known)


def secrets(**values: str) -> dict[str, str]:
    """An environment that has keys of the Secret ``orders``."""
    return {
        tool_secret_variable(SecretKeyRef(name="orders", key=key)): value for key, value in values.items()
    }


def agent(*tools: Mapping[str, Any], builtin: Sequence[str] = ()) -> AgentSnapshot:
    return AgentSnapshot.model_validate(
        {
            "name": "support",
            "model": {"provider": "OpenAI", "name": "m"},
            "tools": list(tools),
            "builtinTools": list(builtin),
        }
    )


def make_box(*tools: Mapping[str, Any], **more: Any) -> ToolBox:
    builtin = more.pop("builtin", ())
    environment = more.pop("environment", {})
    more = {"network": network(), "listings": Listings(), **more}
    return ToolBox(agent(*tools, builtin=builtin), environment, SCOPE, **more)


def http(url: str, name: str = "get_order", **more: Any) -> dict[str, Any]:
    """An http tool; what is not a field of ``http`` goes to the tool itself."""
    own = {key: more.pop(key) for key in list(more) if key in {"parameters", "resultSchema", "approval"}}
    return {"name": name, "parameters": OPEN, **own, "http": {"url": url, **more}}


async def run(box: ToolBox, name: str = "get_order", arguments: Any = None, **more: Any) -> Any:
    try:
        return await box.run(name, arguments or {}, **{"key": "key-1", "timeout_seconds": 20.0, **more})
    finally:
        await box.close()


def mcp(url: str, name: str = "tickets", **more: Any) -> dict[str, Any]:
    own = {key: more.pop(key) for key in list(more) if key in {"description", "resultSchema", "approval"}}
    return {"name": name, **own, "mcp": {"url": url, **more}}


async def names(box: ToolBox) -> list[str]:
    try:
        return [tool.name for tool in await box.offered()]
    finally:
        await box.close()
