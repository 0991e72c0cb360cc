"""MCP tools against a real server: one that is away, refuses, is slow, or is no MCP server."""

import asyncio
from functools import partial
from typing import Any

import mcp_types as types
import pytest
from mcp.client.client import Client
from parley.runner.tools.errors import ToolProblem, ToolsUnavailable

from tests.unit.runner.tools.answering import Server
from tests.unit.runner.tools.boxes import SECRET, make_box, mcp, names, run, secrets
from tests.unit.runner.tools.mcp_servers import Tickets, mcp_server


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
async def test_a_server_that_refuses_is_told_with_its_status(plain: Tickets, status: int) -> None:
    plain.status = status

    with pytest.raises(ToolsUnavailable, match=rf"^tool tickets: {plain.url} answered {status}"):
        await names(make_box(mcp(plain.url, timeout="2s")))


async def test_a_turn_waits_for_a_server_that_is_being_restarted(plain: Tickets) -> None:
    plain.has("create", reply="ok")
    plain.status = 503
    box = make_box(mcp(plain.url))

    offered = asyncio.create_task(names(box))
    while not plain.requests:
        assert not offered.done(), offered.result()
        await asyncio.sleep(0.01)
    plain.status = None

    assert await offered == ["tickets_create"]


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_a_turn_does_not_wait_for_a_server_that_means_what_it_says(plain: Tickets, status: int) -> None:
    plain.status = status

    with pytest.raises(ToolsUnavailable, match=rf"answered {status}$"):
        await names(make_box(mcp(plain.url, timeout="10m")))


async def test_a_call_goes_on_where_the_server_was_restarted_in_the_middle_of_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Only servers of before 2026 have sessions to forget.
    monkeypatch.setattr("mcp.client.client.Client", partial(Client, mode="legacy"))
    with mcp_server(stateless=False) as tickets:
        tickets.has("create", reply="ok")
        box = make_box(mcp(tickets.url))
        await box.offered()
        tickets.forgets = True

        assert await run(box, "tickets_create") == "ok"
        assert not tickets.forgets, "the client sent no session's id"
        assert len(tickets.calls) == 1


async def test_a_server_that_begins_to_refuse_fails_the_call_and_may_recover(plain: Tickets) -> None:
    plain.has("create", reply="ok")
    box = make_box(mcp(plain.url))
    await box.offered()

    plain.status = 503
    with pytest.raises(ToolProblem, match=r"tool tickets_create: .* answered 503"):
        await box.run("tickets_create", {}, key="k", timeout_seconds=20)

    plain.status = None
    assert await run(box, "tickets_create") == "ok"


async def test_nobody_there_is_told() -> None:
    with pytest.raises(
        ToolsUnavailable, match=r"tool tickets: http://127\.0\.0\.1:1/mcp cannot be reached: "
    ):
        await names(make_box(mcp("http://127.0.0.1:1/mcp", timeout="2s")))


@pytest.mark.parametrize(
    "said_by_server",
    [
        {"body": b"<html>", "content_type": "text/html"},
        {"body": b"{}", "content_type": "application/json"},
        {"body": b"not json", "content_type": "application/json"},
        {"body": b"data: {}\n\n", "content_type": "text/event-stream"},
        {"body": b"", "status": 202},
        {"body": b"", "status": 302, "headers": {"Location": "http://169.254.169.254/mcp"}},
        {"body": b"[" * 9_000_000},
    ],
)
async def test_what_is_no_mcp_server_is_told(server: Server, said_by_server: dict[str, Any]) -> None:
    server.says("/mcp", **said_by_server)

    with pytest.raises(ToolsUnavailable, match=rf"^tool tickets: {server.url}/mcp ") as caught:
        await names(make_box(mcp(server.url + "/mcp", timeout="20s")))

    assert len(str(caught.value).encode()) < 300


async def test_what_a_server_says_back_is_not_logged(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.says("/mcp", b'{"jsonrpc": "your token is s3cret-token"}')
    headers = [{"name": "Authorization", "valueFrom": SECRET}]

    with pytest.raises(ToolsUnavailable, match="is not of the protocol"):
        await names(
            make_box(
                mcp(server.url + "/mcp", headers=headers), environment=secrets(token="Bearer s3cret-token")
            )
        )

    assert "s3cret" not in caplog.text


async def test_a_list_without_end_is_cut_off(plain: Tickets) -> None:
    plain.has("create")
    plain.endless = True

    with pytest.raises(ToolsUnavailable, match="lists its tools on more than 50 pages"):
        await names(make_box(mcp(plain.url)))


async def test_a_slow_tool_ends_at_its_timeout_and_the_next_call_goes_through(tickets: Tickets) -> None:
    async def sleep(_: dict[str, Any]) -> types.CallToolResult:
        await asyncio.sleep(600)
        raise AssertionError

    tickets.has("slow", reply=sleep)
    tickets.has("quick", reply="ok")
    box = make_box(mcp(tickets.url))
    await box.offered()

    with pytest.raises(ToolProblem, match=r"tool tickets_slow: .* did not answer within 0\.2 s"):
        await box.run("tickets_slow", {}, key="k", timeout_seconds=0.2)

    assert await run(box, "tickets_quick") == "ok"


async def test_a_call_that_is_cancelled_is_cancelled(plain: Tickets) -> None:
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def sleep(_: dict[str, Any]) -> types.CallToolResult:
        loop.call_soon_threadsafe(started.set)
        await asyncio.sleep(600)
        raise AssertionError

    plain.has("slow", reply=sleep)
    box = make_box(mcp(plain.url))
    await box.offered()
    calling = asyncio.create_task(box.run("tickets_slow", {}, key="k", timeout_seconds=600))
    await started.wait()

    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await box.close()
