"""What an agent's model is offered, what a name stands for, and whether arguments fit."""

from typing import Any

import pytest
from parley.resources.tools import ToolSpec, tool_called
from parley.runner.chat import ToolDefinition
from parley.runner.tools.box import MAX_OFFERED, Found
from parley.runner.tools.builtin import UPDATE_CONTEXT
from parley.runner.tools.errors import ToolProblem, ToolsUnavailable
from parley.runner.tools.naming import model_name
from parley.runner.tools.secrets import ToolSecrets
from parley.templates.evaluator import EvaluatorUnavailableError

from tests.unit.runner.tools.answering import Server
from tests.unit.runner.tools.boxes import OPEN, SECRET, agent, http, make_box, run, secrets

NUMBER = {
    "type": "object",
    "properties": {"number": {"type": "string", "maxLength": 8}},
    "required": ["number"],
    "additionalProperties": False,
}
CONTAINER = {
    "name": "scan",
    "description": "Scan it.",
    "container": {"image": "scan:1"},
    "approval": "Required",
}
TASK = {"name": "report", "task": {"templateRef": {"name": "report"}}}


async def test_each_kind_is_offered_and_found() -> None:
    box = make_box(
        {**http("http://orders/", parameters=NUMBER), "description": "Look it up."},
        CONTAINER,
        TASK,
        builtin=["update_context", "of a newer version"],
    )

    assert await box.offered() == [
        ToolDefinition("get_order", "Look it up.", NUMBER),
        ToolDefinition("scan", "Scan it.", OPEN),
        ToolDefinition("report", "", OPEN),
        UPDATE_CONTEXT,
    ]
    found = {name: box.find(name) for name in ("get_order", "scan", "report", "update_context", "made_up")}
    kinds = {name: one and (one.kind, one.needs_approval) for name, one in found.items()}
    assert kinds == {
        "get_order": ("Http", False),
        "scan": ("Container", True),
        "report": ("Task", False),
        "update_context": ("Builtin", False),
        "made_up": None,
    }
    assert found["update_context"] == Found(None, "Builtin", needs_approval=False)
    await box.close()


async def test_builtin_tools_are_there_only_where_the_agent_has_them() -> None:
    box = make_box(http("http://orders/"))

    assert box.find("update_context") is None
    assert UPDATE_CONTEXT not in await box.offered()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"number": "12345"}, None),
        ({}, "get_order cannot be called like this: arguments: 'number' is a required property"),
        ({"number": 5}, "get_order cannot be called like this: arguments.number: 5 is not of type 'string'"),
        (
            {"number": "123456789"},
            "get_order cannot be called like this: arguments.number: '123456789' is too long",
        ),
        ({"number": "1", "x": 1}, "get_order cannot be called like this: arguments: Additional properties"),
        ([], "the arguments of get_order must be an object: call it again with one"),
        (None, "the arguments of get_order must be an object: call it again with one"),
        ("{}", "the arguments of get_order must be an object: call it again with one"),
    ],
)
async def test_arguments_are_held_against_the_schema(arguments: Any, problem: str | None) -> None:
    said = await make_box(http("http://orders/", parameters=NUMBER)).check("get_order", arguments)

    assert said == problem if problem is None else (said or "").startswith(problem)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"changes": {"order": "7", "note": None}}, None),
        ({"changes": {}}, "arguments.changes: {} should be non-empty"),
        ({"order": "7"}, "arguments"),
        ({"changes": "order=7"}, "arguments.changes: 'order=7' is not of type 'object'"),
    ],
)
async def test_the_arguments_of_update_context_are_checked_too(arguments: Any, problem: str | None) -> None:
    said = await make_box(builtin=["update_context"]).check("update_context", arguments)

    assert (said is None) == (problem is None)
    assert (problem or "") in (said or "")


async def test_a_pattern_that_takes_for_ever_is_ended_and_the_next_check_works() -> None:
    schema = {"type": "object", "properties": {"id": {"pattern": "^(a|a)*$"}}}
    box = make_box(http("http://orders/", parameters=schema))

    problem = await box.check("get_order", {"id": "a" * 40 + "!"})
    assert problem is not None
    assert "takes more than 1 s of CPU time" in problem
    assert await box.check("get_order", {"id": "aa"}) is None
    assert "does not match" in (await box.check("get_order", {"id": "b"}) or "")
    await box.close()


async def test_a_schema_that_cannot_be_followed_or_checked_in_time_is_a_problem_not_a_crash() -> None:
    loop: dict[str, Any] = {"type": "object", "$ref": "#"}
    nowhere: dict[str, Any] = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/schema"}}}

    for schema, words in ((loop, "nested too deeply"), (nowhere, "leads nowhere")):
        said = await make_box(http("http://orders/", parameters=schema)).check("get_order", {"a": 1})
        assert words in (said or "")


async def test_arguments_that_could_not_be_checked_are_not_called_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def starved(*_: Any) -> None:
        raise EvaluatorUnavailableError("no child")

    monkeypatch.setattr("parley.templates.evaluator.Evaluator.check", starved)
    schema = {"type": "object", "properties": {"id": {"pattern": "^a"}}}

    said = await make_box(http("http://orders/", parameters=schema)).check("get_order", {"id": "b"})

    assert "arguments: cannot be checked against the schema: try again later" in (said or "")


async def test_a_containers_result_can_be_checked() -> None:
    box = make_box({**CONTAINER, "resultSchema": {"type": "object"}})

    assert await box.check_result("scan", {}) is None
    assert await box.check_result("made_up", 1) is None
    assert await box.check_result("scan", "text") == (
        "tool scan was called, and its result does not fit its schema: result: 'text' is not of type 'object'"
    )


@pytest.mark.parametrize("name", ["scan", "report", "update_context", "made_up"])
async def test_only_http_and_mcp_tools_run_in_a_runner(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is no tool that runs in a runner"):
        await run(make_box(CONTAINER, TASK, builtin=["update_context"]), name)


async def test_more_tools_than_models_take_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley.runner.tools.box.MAX_OFFERED", 1)

    with pytest.raises(
        ToolsUnavailable, match=r"the agent's tools are 2, and models take at most 1: say with mcp\.toolN"
    ):
        await make_box(CONTAINER, TASK).offered()

    assert MAX_OFFERED == 128


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "key token of Secret orders is not there: create it"),
        (" \n", "is empty or has characters that no header can hold"),
        ("a\r\nX: 1", "is empty or has characters that no header can hold"),
        ("ä", "is empty or has characters that no header can hold"),
    ],
)
async def test_a_secret_that_cannot_be_sent_is_told_without_it(
    server: Server, value: str | None, words: str
) -> None:
    tool = http(server.url + "/", headers=[{"name": "Authorization", "valueFrom": SECRET}])
    environment = {} if value is None else secrets(token=value)

    with pytest.raises(ToolsUnavailable) as offered:
        await make_box(tool, environment=environment).offered()
    with pytest.raises(ToolProblem) as called:
        await run(make_box(tool, environment=environment))

    assert str(offered.value).startswith(
        "tool get_order: its header Authorization: key token of Secret orders is "
    )
    assert words in str(offered.value)
    assert words in str(called.value)
    assert server.got == []


@pytest.mark.parametrize(
    ("sent", "said", "told"),
    [
        ("Bearer abcdefgh", "token abcdefgh or Bearer abcdefgh", "token *** or ***"),
        ("Basic YWxpY2U6cGEkJHcwcmQ=", "YWxpY2U6cGEkJHcwcmQ= is alice:pa$$w0rd: pa$$w0rd", "*** is ***: ***"),
        ("Basic not-base64!", "Basic not-base64!", "***"),
        ("abc", "abc", "abc"),  # too short to be told from any text
        ("abcd", "xabcdx", "x***x"),
    ],
)
def test_secrets_are_hidden_in_the_forms_that_servers_say_them(sent: str, said: str, told: str) -> None:
    tools = agent(http("http://o/", headers=[{"name": "A", "valueFrom": SECRET}])).tools
    hidden = ToolSecrets(tools, secrets(token=sent))

    assert hidden.hide(said) == told
    assert hidden.hide_in({said: [said, 1, None]}) == {told: [told, 1, None]}


class TestNames:
    def spec(self, name: str, **more: Any) -> ToolSpec:
        kind = more or {"http": {"url": "http://x/"}}
        return ToolSpec.model_validate({"name": name, **kind})

    def test_the_store_and_the_runner_read_a_name_alike(self) -> None:
        url = {"mcp": {"url": "http://x/mcp"}}
        tools = [self.spec("a", **url), self.spec("a_b", **url), self.spec("a_b_c"), self.spec("d")]

        meant = {
            name: (tool := tool_called(tools, name)) and tool.name
            for name in ("a_x", "a_b_x", "a_b_c", "a_b_cd", "a", "a_", "d", "d_x", "e")
        }

        assert meant == {
            "a_x": "a",
            "a_b_x": "a_b",
            "a_b_c": "a_b_c",
            "a_b_cd": "a_b",
            "a": None,
            "a_": "a",
            "d": "d",
            "d_x": None,
            "e": None,
        }

    def test_a_models_name_is_the_same_each_time_and_fits(self) -> None:
        assert model_name("tickets", "create") == "tickets_create"
        assert model_name("t", "a.b") == model_name("t", "a.b") != model_name("t", "a/b")
        assert len(model_name("t" * 48, "u" * 128)) == 64
        assert model_name("t" * 48, "u" * 128).startswith("t" * 48 + "_")
