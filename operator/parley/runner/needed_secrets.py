"""Which secrets an attempt needs in the pod's environment."""

from collections.abc import Iterator, Mapping

from parley.protocol.model_keys import model_key_variable, tool_secret_variable
from parley.protocol.request import PromptRequest, ToolRequest
from parley.resources.common import SecretKeyRef
from parley.resources.tools import ToolSpec, tool_called


def missing_secret(request: PromptRequest | ToolRequest, secrets: Mapping[str, str]) -> SecretKeyRef | None:
    """Return a secret that an attempt needs and this pod was started without; None if it has all."""
    agent = request.agent
    if isinstance(request, ToolRequest):
        called = tool_called(agent.tools, request.tool.name)
        needed = {tool_secret_variable(ref): ref for ref in header_secrets(called)} if called else {}
    else:
        keys = [model.api_key_secret_ref for model in agent.model.in_order]
        needed = {model_key_variable(ref): ref for ref in keys if ref is not None}
        needed |= {tool_secret_variable(ref): ref for tool in agent.tools for ref in header_secrets(tool)}
    return next((ref for variable, ref in needed.items() if variable not in secrets), None)


def header_secrets(tool: ToolSpec) -> Iterator[SecretKeyRef]:
    """The secrets of a tool's headers."""
    for header in tool.headers:
        if header.value_from is not None:
            yield header.value_from.secret_key_ref
