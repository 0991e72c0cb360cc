"""The names by which a model calls the tools of MCP servers."""

import hashlib
import re

MAX_MODEL_NAME = 64
"""Longest name of a tool that all model providers take."""
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_HASH_LETTERS = 8


def model_name(server: str, tool: str) -> str:
    """How a model calls a tool of an MCP server: ``<server>_<tool>``, as far as providers take such a name.

    What they do not take is replaced, and a hash tells apart what would then be the same.
    """
    full = f"{server}_{tool}"
    if len(full) <= MAX_MODEL_NAME and not _FOREIGN.search(full):
        return full
    digest = hashlib.sha256(tool.encode()).hexdigest()[:_HASH_LETTERS]
    return f"{_FOREIGN.sub('_', full)[: MAX_MODEL_NAME - _HASH_LETTERS - 1]}_{digest}"
