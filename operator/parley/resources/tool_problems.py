"""What can be wrong in an agent's tools, by themselves and beside each other."""

from collections.abc import Iterator, Sequence

from parley.resources.agent import NAMED_LIKE_BUILTIN, AgentSpec
from parley.resources.output_schema import Schema, schema_problems
from parley.resources.problems import Problem, free_value_problems
from parley.resources.step_problems import env_problems
from parley.resources.tool_requests import ONE_HEADER_VALUE, OWN_HEADER, OWN_HEADERS, HttpHeader, HttpTool
from parley.resources.tools import (
    DEFAULT_OF_NOTHING,
    ONE_KIND,
    PARAMETERS_OF_SERVER,
    RESULT_OF_TASK,
    TIMEOUT_OF_NOTHING,
    ToolSpec,
)

_WITHOUT_BODY = ("GET", "HEAD")


def tools_problems(spec: AgentSpec) -> Iterator[Problem]:
    """What is wrong in an agent's tools, in the order of its fields."""
    for index, tool in enumerate(spec.tools):
        path = f"spec.tools[{index}]"
        yield from _tool_problems(tool, path)
        yield from _name_problems(spec, index, path)


def _tool_problems(tool: ToolSpec, path: str) -> Iterator[Problem]:
    # Much of it is a CEL rule too; but an object may be older than the rule.
    if len(tool.kinds) != 1:
        yield Problem(path, ONE_KIND)
    if tool.parameters is not None:
        if tool.mcp is not None:
            yield Problem(f"{path}.parameters", PARAMETERS_OF_SERVER)
        yield from _parameters_problems(tool.parameters, f"{path}.parameters")
    if tool.result_schema is not None:
        if tool.task is not None:
            yield Problem(f"{path}.resultSchema", RESULT_OF_TASK)
        yield from schema_problems(tool.result_schema, f"{path}.resultSchema")
    if tool.approval_timeout is not None and not tool.needs_approval:
        yield Problem(f"{path}.approvalTimeout", TIMEOUT_OF_NOTHING)
    if tool.on_approval_timeout != "Reject" and tool.approval_timeout is None:
        yield Problem(f"{path}.onApprovalTimeout", DEFAULT_OF_NOTHING)
    if tool.http is not None:
        yield from _http_problems(tool.http, f"{path}.http")
    if tool.mcp is not None:
        yield from _header_problems(tool.mcp.headers, f"{path}.mcp.headers")
    if tool.container is not None:
        yield from env_problems(tool.container.env, f"{path}.container.env")
        yield from free_value_problems(tool.container.input_file, f"{path}.container.inputFile")
    if tool.task is not None and tool.task.inputs is not None:
        yield from free_value_problems(tool.task.inputs, f"{path}.task.inputs")


def _parameters_problems(schema: Schema, path: str) -> Iterator[Problem]:
    problems = schema_problems(schema, path)
    yield from problems
    if not problems and schema.get("type") != "object":
        where = f"{path}.type" if "type" in schema else path
        yield Problem(where, "must say type: object, for the arguments of a call are a JSON object")


def _http_problems(http: HttpTool, path: str) -> Iterator[Problem]:
    yield from _header_problems(http.headers, f"{path}.headers")
    if http.body is None:
        return
    yield from free_value_problems(http.body, f"{path}.body")
    if http.method in _WITHOUT_BODY:
        yield Problem(f"{path}.body", f"{http.method} sends no body: use the url, or another method")


def _header_problems(headers: Sequence[HttpHeader], path: str) -> Iterator[Problem]:
    names: set[str] = set()
    for index, header in enumerate(headers):
        where, name = f"{path}[{index}]", header.name.lower()
        if name in names:
            yield Problem(
                f"{where}.name",
                f"another header is called {header.name}, in whatever case; names must differ",
            )
        names.add(name)
        if name in OWN_HEADERS:
            yield Problem(f"{where}.name", OWN_HEADER)
        if (header.value is None) == (header.value_from is None):
            yield Problem(where, ONE_HEADER_VALUE)


def _name_problems(spec: AgentSpec, index: int, path: str) -> Iterator[Problem]:
    """By its name the model, the runner and the store must tell which tool is called."""
    tool = spec.tools[index]
    if tool.name in (other.name for other in spec.tools[:index]):
        yield Problem(f"{path}.name", f"another tool is called {tool.name}; names must differ")
    if tool.name in spec.builtin_tools:
        yield Problem(f"{path}.name", NAMED_LIKE_BUILTIN)
    if tool.mcp is None:
        return
    others = [(other.name, f"spec.tools[{position}]") for position, other in enumerate(spec.tools)]
    others += [(name, "spec.builtinTools") for name in spec.builtin_tools]
    for name, where in others:
        if name.startswith(f"{tool.name}_"):
            yield Problem(
                f"{path}.name",
                f"the server's tools are called {tool.name}_…, and {name} of {where} begins like that: rename one",
            )
