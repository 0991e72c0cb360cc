"""Find what is wrong in the templates of an agent's tools."""

from collections.abc import Collection, Iterator, Mapping

from jinja2 import TemplateSyntaxError
from pydantic import JsonValue

from parley.resources.agent import AgentSpec
from parley.resources.problems import Problem
from parley.resources.tools import ToolSpec
from parley.templates.compile import in_line, parse, percent_encoded
from parley.templates.errors import TemplateError
from parley.templates.field_check import Known, field_problems
from parley.templates.scope import ITEM_NAMES, TOOL_NAMES
from parley.templates.tool_fields import tool_fields

_ABSENT = {
    "steps": "a tool is the agent's and knows no task's steps: give it values as arguments",
    **dict.fromkeys(
        ITEM_NAMES, "a tool is the agent's and knows no task's items: give it values as arguments"
    ),
}
_NO_ARGUMENTS = "the headers of an MCP server go with every request, also where there is no call"
# Keywords of a schema beside which its properties are not all the names that arguments may have.
_OPEN = frozenset(
    {
        *("patternProperties", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$ref", "$dynamicRef"),
        *("dependentSchemas", "propertyNames"),
    }
)


def tool_template_problems(spec: AgentSpec) -> Iterator[Problem]:
    """All that is wrong in the templates of an agent's tools, in the order of its fields."""
    for index, tool in enumerate(spec.tools):
        path = f"spec.tools[{index}]"
        yield from field_problems(tool_fields(tool, path), _known(tool, path))
        if tool.http is not None:
            yield from _url_problems(tool.http.url, f"{path}.http.url")


def _known(tool: ToolSpec, path: str) -> Known:
    if tool.mcp is not None:
        names = tuple(name for name in TOOL_NAMES if name != "arguments")
        return Known(names, {**_ABSENT, "arguments": _NO_ARGUMENTS})
    return Known(
        TOOL_NAMES, _ABSENT, arguments=argument_names(tool), arguments_from=f"{path}.parameters.properties"
    )


def argument_names(tool: ToolSpec) -> Collection[str] | None:
    """Names of the arguments that a tool's templates may use; None where its parameters leave them open."""
    if tool.parameters is None:
        # A task tool has its template's.
        return None if tool.task is not None else ()
    schema: Mapping[str, JsonValue] = tool.parameters
    properties = schema.get("properties", {})
    if _OPEN & schema.keys() or not isinstance(properties, dict):
        return None
    return properties if schema.get("additionalProperties", False) is False else None


def _url_problems(url: str, path: str) -> Iterator[Problem]:
    try:
        percent_encoded(parse(url, path))
    except TemplateSyntaxError as error:
        yield Problem(path, in_line(url, error.lineno, f"{error.message}"))
    except TemplateError:
        return  # said already
