"""Which fields of an agent's tools are templates."""

from collections.abc import Sequence

from parley.resources.tools import HttpHeader, HttpTool, McpTool, TaskTool, ToolSpec
from parley.templates.fields import Field, TextField, ValueField, container_fields, input_file_fields


def tool_fields(tool: ToolSpec, path: str) -> dict[str, Field]:
    """All templates of a tool, by the path of their field.

    Args:
        tool: as it stands in the spec.
        path: of the tool, such as ``spec.tools[0]``.
    """
    fields: dict[str, Field] = {}
    if tool.http is not None:
        fields |= http_fields(tool.http, path)
    if tool.mcp is not None:
        fields |= mcp_fields(tool.mcp, path)
    if tool.container is not None:
        fields |= container_fields(tool.container, path) | input_file_fields(tool.container, path)
    if tool.task is not None:
        fields |= queued_fields(tool.task, path)
    return fields


def http_fields(http: HttpTool, path: str) -> dict[str, Field]:
    """The templates of an HTTP request: its url (which ``render_url`` renders), headers and body."""
    path = f"{path}.http"
    fields: dict[str, Field] = {f"{path}.url": TextField(http.url), **_header_fields(http.headers, path)}
    if http.body is not None:
        fields[f"{path}.body"] = ValueField(http.body)
    return fields


def mcp_fields(mcp: McpTool, path: str) -> dict[str, Field]:
    """The templates of the headers that every request to an MCP server has."""
    return _header_fields(mcp.headers, f"{path}.mcp")


def queued_fields(task: TaskTool, path: str) -> dict[str, Field]:
    """The templates of the inputs of the Task that a tool queues; none where they are the arguments."""
    return {} if task.inputs is None else {f"{path}.task.inputs": ValueField(dict(task.inputs))}


def _header_fields(headers: Sequence[HttpHeader], path: str) -> dict[str, Field]:
    return {
        f"{path}.headers[{index}].value": TextField(header.value)
        for index, header in enumerate(headers)
        if header.value is not None
    }
