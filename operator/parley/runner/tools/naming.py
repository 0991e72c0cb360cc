"""The names by which a model calls tools, and which tool each one means."""

import hashlib
import re
from collections.abc import Sequence

from parley.resources.tools import ToolSpec

MAX_MODEL_NAME = 64
"""Longest name of a tool that all model providers take."""
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_HASH_LETTERS = 8


def spec_called(tools: Sequence[ToolSpec], name: str) -> ToolSpec | None:
    """Return the tool of the Agent that a called name means, None if there is none.

    A tool's own name means it; else the name begins with that of an mcp tool and ``_``, the longest there is. The store
    goes by the same rule when it asks whether a call was approved.
    """
    for tool in tools:
        if tool.mcp is None and tool.name == name:
            return tool
    servers = [tool for tool in tools if tool.mcp is not None and name.startswith(f"{tool.name}_")]
    return max(servers, key=lambda tool: len(tool.name), default=None)


def model_name(server: str, tool: str) -> str:
    """How a model calls a tool of an MCP server: ``<server>_<tool>``, as far as providers take such a name.

    What they do not take is replaced, and a hash tells apart what would then be the same.
    """
    full = f"{server}_{tool}"
    if len(full) <= MAX_MODEL_NAME and not _FOREIGN.search(full):
        return full
    digest = hashlib.sha256(tool.encode()).hexdigest()[:_HASH_LETTERS]
    return f"{_FOREIGN.sub('_', full)[: MAX_MODEL_NAME - _HASH_LETTERS - 1]}_{digest}"
