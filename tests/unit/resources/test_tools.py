"""An agent's tools: what they are when little is said, what their urls may be, and what is found wrong in them."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from parley.resources.agent import AgentSpec
from parley.resources.tools import TOOL_KINDS, HttpTool, McpTool, ToolSpec, tool_called
from parley.resources.validation import read_spec, spec_problems
from pydantic import ValidationError

from tests.crd_tool_rules import BAD_SERVERS, BAD_URLS, GOOD_URLS

KINDS: dict[str, Any] = {
    "http": {"url": "http://orders/"},
    "mcp": {"url": "http://tickets/mcp"},
    "container": {"image": "i"},
    "task": {"templateRef": {"name": "t"}},
}
SECRET = {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}


def tool(kind: str = "http", name: str = "get_order", **fields: Any) -> ToolSpec:
    return ToolSpec.model_validate({"name": name, kind: KINDS[kind], **fields})


def agent(*tools: dict[str, Any], **spec: Any) -> AgentSpec:
    model = {"provider": "OpenAI", "name": "m"}
    return AgentSpec.model_validate({"model": model, "tools": list(tools), **spec})


def found(*tools: dict[str, Any], **spec: Any) -> list[str]:
    return [problem.path for problem in spec_problems(agent(*tools, **spec))]


@pytest.mark.parametrize("kind", TOOL_KINDS)
def test_a_tool_is_of_the_kind_it_has_a_field_for_and_can_be_read_again(kind: str) -> None:
    spec = tool(kind)
    assert (spec.kind, spec.kinds) == (kind, [kind])
    assert ToolSpec.model_validate(spec.to_json()) == spec
    assert spec_problems(agent(spec.to_json())) == []


@pytest.mark.parametrize(("kind", "timeout"), [("http", 10), ("mcp", 30), ("container", 600), ("task", None)])
def test_a_tool_of_which_little_is_said_runs_at_once_and_takes_any_arguments(
    kind: str, timeout: int | None
) -> None:
    spec = tool(kind)
    assert not spec.needs_approval
    assert spec.approval_timeout_or_none() is None
    assert spec.on_approval_timeout == "Reject"
    assert spec.parameters_or_default == {"type": "object"}
    assert spec.timeout_or_none() == (None if timeout is None else timedelta(seconds=timeout))
    assert agent().max_tool_rounds == 8


def test_the_secrets_of_an_agents_tools_are_each_named_once() -> None:
    headers = [{"name": "A", **SECRET}, {"name": "B", "value": "b"}]
    other = {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "other"}}}
    spec = agent(
        {"name": "a", "http": {"url": "http://h/", "headers": headers}},
        {"name": "b", "container": {"image": "i"}},
        {"name": "c", "mcp": {"url": "http://h/", "headers": [other, *headers]}},
    )
    assert [(ref.name, ref.key) for ref in spec.tool_secrets] == [("s", "k"), ("s", "other")]


@pytest.mark.parametrize("url", GOOD_URLS)
def test_a_url_whose_host_is_written_out_is_taken(url: str) -> None:
    assert HttpTool(url=url).url == url


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_whose_host_the_model_could_choose_is_not_even_read(url: str) -> None:
    with pytest.raises(ValidationError, match="must begin with http:// or https:// and a host"):
        HttpTool(url=url)


@pytest.mark.parametrize("url", BAD_SERVERS)
def test_the_url_of_a_server_is_no_template(url: str) -> None:
    with pytest.raises(ValidationError, match="it is no template"):
        McpTool(url=url)


@given(st.text(alphabet="htps:/?#@{}\\ a.%[]1\n\r\t-_é", max_size=24).map("http://".__add__))
@example("http://a\\@b/{{ x }}")
@example("http://a?@b")
def test_no_url_that_is_taken_leaves_its_host_open(url: str) -> None:
    try:
        HttpTool(url=url)
    except ValidationError:
        return
    # What comes before the path is one host and port, and no template reaches into it.
    authority = re.split(r"[/?]", url.removeprefix("http://"))[0]
    assert authority
    assert not set("{}@\\# \t\r\n") & set(authority)
    if not set("[]") & set(authority):
        assert urlsplit(url).netloc == authority


@pytest.mark.parametrize(("timeout", "good"), [("10m", True), ("600s", True), ("601s", False), ("0s", False)])
@pytest.mark.parametrize("kind", [HttpTool, McpTool])
def test_a_request_takes_ten_minutes_at_most(
    kind: type[HttpTool | McpTool], timeout: str, good: bool
) -> None:
    value = {"url": "http://h/", "timeout": timeout}
    if good:
        assert kind.model_validate(value).timeout == timeout
    else:
        with pytest.raises(ValidationError, match=r"at most 10m|longer than zero"):
            kind.model_validate(value)


def test_what_is_wrong_in_a_tools_url_is_said_with_the_path_of_its_field() -> None:
    spec = {
        "model": {"provider": "OpenAI", "name": "m"},
        "tools": [{"name": "a", "http": {"url": "{{ x }}"}}],
    }
    read = read_spec(AgentSpec, spec)
    assert isinstance(read, list)
    assert [problem.path for problem in read] == ["spec.tools[0].http.url"]
    assert read[0].message.startswith("must begin with http://")


NAMED = (
    tool("http", "search"),
    tool("mcp", "tickets"),
    tool("mcp", "tick"),
    tool("task", "tickets_create"),
    tool("container", "x_y"),
)


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("search", "search"),
        ("tickets_search", "tickets"),
        ("tick_et", "tick"),
        # No valid Agent has both, and were there one, what is written out would win.
        ("tickets_create", "tickets_create"),
        ("x_y", "x_y"),
        ("tickets", None),
        ("x", None),
        ("search_", None),
        ("Search", None),
        ("", None),
    ],
)
def test_a_called_name_means_one_tool(called: str, name: str | None) -> None:
    meant = tool_called(NAMED, called)
    assert (meant.name if meant else None) == name


@given(st.permutations(NAMED), st.sampled_from(["tickets_create", "tickets_x", "tick_x", "search", "nobody"]))
def test_the_order_of_the_tools_does_not_change_what_a_name_means(tools: list[ToolSpec], called: str) -> None:
    assert tool_called(tools, called) == tool_called(NAMED, called)


NAMES = st.lists(
    st.tuples(st.sampled_from(["http", "mcp"]), st.text(alphabet="ab_", min_size=1, max_size=4)), max_size=4
)


@given(NAMES, st.text(alphabet="ab_", min_size=1, max_size=6))
def test_in_an_agent_without_problems_no_name_could_mean_two_tools(
    named: list[tuple[str, str]], called: str
) -> None:
    tools = [{"name": f"a{name}", kind: KINDS[kind]} for kind, name in named]
    if found(*tools):
        return
    could_mean = [
        spec
        for spec in agent(*tools).tools
        if (called.startswith(f"{spec.name}_") if spec.mcp else called == spec.name)
    ]
    assert len(could_mean) <= 1


def test_rules_that_an_older_api_server_did_not_know_are_checked_again() -> None:
    http, mcp = KINDS["http"], KINDS["mcp"]
    both = {"name": "Host", "value": "a", **SECRET}
    assert found({"name": "a"}, {"name": "b", "http": http, "mcp": mcp}) == ["spec.tools[0]", "spec.tools[1]"]
    assert found({"name": "a", "http": http}, {"name": "a", "http": http}) == ["spec.tools[1].name"]
    assert found({"name": "a", "mcp": mcp}, {"name": "a_b", "http": http}) == ["spec.tools[0].name"]
    assert found({"name": "a", "mcp": mcp, "parameters": {"type": "object"}}) == ["spec.tools[0].parameters"]
    assert found({"name": "a", "task": KINDS["task"], "resultSchema": {}}) == ["spec.tools[0].resultSchema"]
    assert found({"name": "a", "http": http, "approvalTimeout": "1h"}) == ["spec.tools[0].approvalTimeout"]
    assert found({"name": "a", "http": http, "approval": "Required", "onApprovalTimeout": "Approve"}) == [
        "spec.tools[0].onApprovalTimeout"
    ]
    assert found({"name": "a", "mcp": {**mcp, "headers": [both]}}) == [
        "spec.tools[0].mcp.headers[0].name",
        "spec.tools[0].mcp.headers[0]",
    ]
    assert found({"name": "update", "mcp": mcp}, builtinTools=["update_context"]) == ["spec.tools[0].name"]
    assert found({"name": "update_context", "http": http}, builtinTools=["update_context"]) == [
        "spec.tools[0].name"
    ]


def test_what_hangs_on_a_default_is_no_problem_when_it_is_read_again() -> None:
    # Given what the operator itself wrote out, every default with it
    specs = [tool(kind, f"t{index}").to_json() for index, kind in enumerate(TOOL_KINDS)]
    # Then nothing is wrong that was right before
    assert found(*specs) == []
