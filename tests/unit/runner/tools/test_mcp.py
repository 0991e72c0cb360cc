"""MCP tools against a real server: what is offered, what a call gives, and what happens when tools vanish."""

import base64
import sys
from typing import Any

import mcp_types as types
import pytest
from parley.runner.tools.errors import ToolProblem, ToolsUnavailable
from parley.runner.tools.mcp_listing import KEEP_SECONDS, Listings
from parley.runner.tools.network import Network

from tests.unit.runner.tools.boxes import SECRET, http, make_box, mcp, names, network, run, secrets
from tests.unit.runner.tools.mcp_servers import Tickets, said


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_all_pages_are_offered_with_description_and_parameters(tickets: Tickets) -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    tickets.has("create", schema=schema, description="Create a ticket.")
    tickets.has("search", page=1)
    tickets.has("close", page=2)
    box = make_box(mcp(tickets.url, description="The tickets of the shop."))

    offered = await box.offered()

    assert [tool.name for tool in offered] == ["tickets_create", "tickets_search", "tickets_close"]
    assert offered[0].description == "The tickets of the shop.\nCreate a ticket."
    assert offered[0].parameters == schema
    assert await box.check("tickets_create", {"title": "x"}) is None
    problem = await box.check("tickets_create", {"title": 7})
    assert problem == "tickets_create cannot be called like this: arguments.title: 7 is not of type 'string'"
    await box.close()


async def test_a_call_carries_its_key_and_the_headers(tickets: Tickets) -> None:
    tickets.has("create", reply="created 7")
    headers = [
        {"name": "Authorization", "valueFrom": SECRET},
        {"name": "X-Tenant", "value": "{{ inputs.tenant }}"},
    ]
    box = make_box(mcp(tickets.url, headers=headers), environment=secrets(token="Bearer s3cret-token"))

    await box.offered()
    assert await run(box, "tickets_create", {"title": "x"}, key="key-7") == "created 7"

    (call,) = tickets.calls
    assert (call.name, call.arguments) == ("create", {"title": "x"})
    assert (call.meta or {})["parley.dev/idempotency-key"] == "key-7"
    assert {got["authorization"] for got in tickets.requests} == {"Bearer s3cret-token"}
    assert {got["x-tenant"] for got in tickets.requests} == {"acme"}


async def test_several_calls_go_over_one_conversation(tickets: Tickets) -> None:
    tickets.has("create", reply="ok")
    box = make_box(mcp(tickets.url))
    await box.offered()

    for key in ("a", "b", "c"):
        assert await box.run("tickets_create", {}, key=key, timeout_seconds=20) == "ok"
    await box.close()

    assert [(call.meta or {})["parley.dev/idempotency-key"] for call in tickets.calls] == ["a", "b", "c"]
    assert len({got["mcp-session-id"] for got in tickets.requests if "mcp-session-id" in got}) <= 1


async def test_a_server_that_wants_arguments_in_headers_too_gets_them(plain: Tickets) -> None:
    """Given a list that another box has asked for: this one's conversation does not know which headers."""
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    plain.has("create", reply="ok", schema=schema)
    listings = Listings()
    await names(make_box(mcp(plain.url), listings=listings))

    assert await run(make_box(mcp(plain.url), listings=listings), "tickets_create", {"region": "eu"}) == "ok"

    assert plain.requests[-1]["mcp-param-region"] == "eu"
    assert len(plain.calls) == 1


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        (said("text", structured_content={"id": 7}), {"id": 7}),
        (said("", structured_content={}), {}),
        (
            types.CallToolResult(
                content=[types.TextContent(type="text", text="a"), types.TextContent(type="text", text="b")]
            ),
            "a\nb",
        ),
        (types.CallToolResult(content=[]), ""),
        (
            types.CallToolResult(
                content=[
                    types.ImageContent(
                        type="image", data=base64.b64encode(b"x").decode(), mime_type="image/png"
                    ),
                    types.EmbeddedResource(
                        type="resource", resource=types.TextResourceContents(uri="a://b", text="inside")
                    ),
                    types.ResourceLink(type="resource_link", name="n", uri="a://c"),
                ]
            ),
            "[image image/png left out: only text can be read]\ninside\n[a link: a://c]",
        ),
    ],
)
async def test_structured_content_is_the_result_else_the_texts(
    plain: Tickets, reply: Any, result: Any
) -> None:
    plain.has("create", reply=reply)

    assert await run(make_box(mcp(plain.url)), "tickets_create") == result


async def test_a_result_that_is_too_large_is_a_problem(plain: Tickets) -> None:
    plain.has("create", reply="x" * 300_000)

    with pytest.raises(
        ToolProblem, match="tool tickets_create: gave a result of more than 256 KiB: ask for less"
    ):
        await run(make_box(mcp(plain.url)), "tickets_create")


async def test_the_servers_own_error_is_told_without_secrets(tickets: Tickets) -> None:
    tickets.has("create", reply=said("no\nsuch   user s3cret-token", is_error=True))
    headers = [{"name": "Authorization", "valueFrom": SECRET}]

    with pytest.raises(ToolProblem) as caught:
        await run(
            make_box(mcp(tickets.url, headers=headers), environment=secrets(token="Bearer s3cret-token")),
            "tickets_create",
        )

    assert str(caught.value) == f"tool tickets_create: {tickets.url} says: no such user ***"


async def test_a_tool_that_has_vanished_is_told_with_what_there_is(tickets: Tickets) -> None:
    tickets.has("create", reply="ok")
    tickets.has("search")
    box = make_box(mcp(tickets.url))
    await box.offered()
    tickets.drop("create")

    with pytest.raises(ToolProblem) as caught:
        await box.run("tickets_create", {}, key="k", timeout_seconds=20)

    assert str(caught.value) == (
        f"tool tickets_create: {tickets.url} no longer has the tool create; it has search"
    )
    assert [tool.name for tool in await box.offered()] == ["tickets_search"]
    assert box.find("tickets_create") is None
    await box.close()


async def test_a_tool_that_the_agent_names_and_the_server_lacks_is_told(plain: Tickets) -> None:
    plain.has("search")
    plain.has("list")

    with pytest.raises(ToolsUnavailable) as caught:
        await names(make_box(mcp(plain.url, toolNames=["create", "search"])))

    assert str(caught.value) == (
        f"tool tickets: {plain.url} has no tool create, which toolNames has; it has list, search: "
        "correct the Agent or the server"
    )


async def test_only_the_named_tools_are_offered_and_found(plain: Tickets) -> None:
    plain.has("create")
    plain.has("delete")
    box = make_box(mcp(plain.url, toolNames=["create"], approval="Required"))

    before = box.find("tickets_delete")
    assert before is not None  # not asked yet
    assert [tool.name for tool in await box.offered()] == ["tickets_create"]

    found = box.find("tickets_create")
    assert found is not None
    assert (found.kind, found.needs_approval) == ("Mcp", True)
    assert box.find("tickets_delete") is None
    with pytest.raises(ToolProblem, match="has no such tool; the agent has create of it"):
        await run(box, "tickets_delete")
    assert plain.calls == []


async def test_a_list_is_kept_for_five_minutes_for_the_whole_process(plain: Tickets) -> None:
    clock = Clock()
    listings = Listings(clock)
    plain.has("create")
    for _ in range(3):
        assert await names(make_box(mcp(plain.url), listings=listings)) == ["tickets_create"]
    assert plain.lists == 1

    plain.has("search")
    clock.now += KEEP_SECONDS - 1
    assert await names(make_box(mcp(plain.url), listings=listings)) == ["tickets_create"]
    clock.now += 1
    assert await names(make_box(mcp(plain.url), listings=listings)) == ["tickets_create", "tickets_search"]


async def test_another_header_may_be_shown_another_list(plain: Tickets) -> None:
    listings = Listings()
    plain.has("create")
    for token in ("one-token", "two-token"):
        headers = [{"name": "Authorization", "valueFrom": SECRET}]
        box = make_box(mcp(plain.url, headers=headers), environment=secrets(token=token), listings=listings)
        await names(box)

    assert plain.lists == 2


async def test_names_that_models_cannot_say_are_replaced_and_still_mean_the_tool(plain: Tickets) -> None:
    long = "t" * 100
    for name in ("admin.create", "admin/create", long):
        plain.has(name, reply=name)
    box = make_box(mcp(plain.url))

    offered = [tool.name for tool in await box.offered()]

    assert len(set(offered)) == 3
    assert all(len(name) <= 64 and name.replace("_", "").isalnum() for name in offered)
    for name, own in zip(offered, ("admin.create", "admin/create", long), strict=True):
        assert await box.run(name, {}, key="k", timeout_seconds=20) == own
        assert await box.run(f"tickets_{own}", {}, key="k", timeout_seconds=20) == own
    await box.close()


async def test_two_tools_of_one_name_are_a_clash(plain: Tickets) -> None:
    plain.has("b_c")
    listed = [mcp(plain.url, name="a"), http("http://x/", name="a_b_c")]

    with pytest.raises(
        ToolsUnavailable, match="two of the agent's tools would be called a_b_c: rename one of them"
    ):
        await names(make_box(*listed))
    with pytest.raises(ToolsUnavailable, match="would be called a_b_c"):
        await names(make_box(mcp(plain.url, name="a"), mcp(plain.url, name="a_b", toolNames=["b_c"])))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:9/mcp", "is a loopback address"),
        ("http://169.254.169.254/mcp", "is a link-local address"),
        ("http://[::ffff:169.254.169.254]/mcp", "is a link-local address"),
        ("http://2130706433/mcp", "is a loopback address"),
    ],
)
async def test_addresses_are_checked_as_for_http(url: str, words: str) -> None:
    with pytest.raises(ToolsUnavailable, match=words):
        await names(make_box(mcp(url), network=Network()))


async def test_the_connection_goes_to_the_checked_address(plain: Tickets) -> None:
    plain.has("create", reply="ok")
    url = plain.url.replace("127.0.0.1", "tickets.test")

    box = make_box(mcp(url), network=network({"tickets.test": ["127.0.0.1"]}))

    assert await run(box, "tickets_create") == "ok"
    assert all(got["host"].startswith("tickets.test:") for got in plain.requests)


async def test_results_are_checked_by_the_agents_schema_else_the_servers(plain: Tickets) -> None:
    served = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
    plain.has("create", reply=said("x", structured_content={"id": "7"}), output_schema=served)
    words = r"tool tickets_create was called, and its result does not fit its schema: result"

    with pytest.raises(ToolProblem, match=words + r"\.id: '7' is not of type 'integer'"):
        await run(make_box(mcp(plain.url)), "tickets_create")
    with pytest.raises(ToolProblem, match=words + r": \{'id': '7'\} is not of type 'array'"):
        await run(make_box(mcp(plain.url, resultSchema={"type": "array"})), "tickets_create")
    assert await run(make_box(mcp(plain.url, resultSchema={"type": "object"})), "tickets_create") == {
        "id": "7"
    }


async def test_a_servers_pattern_cannot_stop_the_runner(plain: Tickets) -> None:
    schema = {"type": "object", "properties": {"id": {"type": "string", "pattern": "^(a+)+$"}}}
    plain.has(
        "create",
        schema=schema,
        reply=said("x", structured_content={"id": "a" * 40 + "!"}),
        output_schema=schema,
    )
    box = make_box(mcp(plain.url))

    problem = await box.check("tickets_create", {"id": "a" * 40 + "!"})
    assert problem is not None
    assert "takes more than 1 s of CPU time" in problem
    with pytest.raises(ToolProblem, match="takes more than 1 s of CPU time"):
        await run(box, "tickets_create")


async def test_a_servers_schema_of_a_wrong_shape_leaves_the_check_to_the_server(plain: Tickets) -> None:
    plain.has("create", schema={"type": "object", "properties": {"id": {"type": 7}}}, reply="ok")
    box = make_box(mcp(plain.url))

    assert await box.check("tickets_create", {"id": 1}) is None
    assert await run(box, "tickets_create", {"id": 1}) == "ok"


async def test_a_missing_secret_is_told_before_anything_is_sent(plain: Tickets) -> None:
    headers = [{"name": "Authorization", "valueFrom": SECRET}]

    with pytest.raises(ToolsUnavailable) as caught:
        await names(make_box(mcp(plain.url, headers=headers)))
    with pytest.raises(ToolProblem, match="key token of Secret orders is not there"):
        await run(make_box(mcp(plain.url, headers=headers)), "tickets_create")

    assert str(caught.value) == (
        "tool tickets: its header Authorization: key token of Secret orders is not there: create it"
    )
    assert plain.requests == []


def test_the_library_is_not_imported_for_agents_without_mcp_tools() -> None:
    import subprocess

    code = (
        "import sys; import parley.runner.tools.box; "
        "print(sorted({'mcp', 'mcp_types', 'jsonschema'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
