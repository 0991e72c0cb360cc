"""Tools through runner, gateway and store: calls with their keys, approvals, Jobs, Tasks, and kills at every moment."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.gateway.running import Shop
from tests.integration.gateway.tool_turns import ToolTurn, agent_with, begin_turn, tool_step
from tests.integration.store import calling
from tests.unit.gateway.steps import add_step
from tests.unit.runner.scripted import ScriptedModel
from tests.unit.runner.tools.answering import Server, answering_server


@pytest.fixture
def orders() -> Iterator[Server]:
    with answering_server() as server:
        server.says("/orders/12", b'{"state": "late"}')
        server.says("/refunds", b'{"refund": "r-1"}')
        yield server


def tools(orders: Server) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]}
    return agent_with(
        {
            "name": "get_order",
            "parameters": schema,
            "http": {"url": f"{orders.url}/orders/{{{{ arguments.number }}}}"},
        },
        {
            "name": "refund",
            "approval": "Required",
            "http": {"method": "POST", "url": f"{orders.url}/refunds"},
        },
        {"name": "score", "container": {"image": "score"}},
        {"name": "report", "task": {"templateRef": {"name": "report"}}},
    )


LOOK: tuple[str, Any] = ("get_order", {"number": "12"})
REFUND: tuple[str, Any] = ("refund", {"order": "12"})


def keys(orders: Server) -> dict[str, set[str]]:
    """Idempotency keys by path and method."""
    found: dict[str, set[str]] = {}
    for got in orders.got:
        found.setdefault(f"{got.method} {got.path}", set()).add(got.headers["idempotency-key"])
    return found


async def test_a_turn_that_calls_pauses_and_goes_on(shop: Shop, orders: Server) -> None:
    # Given a model that asks for two rounds of calls
    turn = await begin_turn(shop, tools(orders), [[LOOK, REFUND, ("score", {})], [("report", {"of": "12"})]])

    # When the turn runs, a person approves, and the Job and the Task do what they are made for
    await turn.play()

    # Then everything was done once, and the session tells of all of it in order
    assert turn.waited == [("Approval", "refund"), ("Container", "score"), ("Task", "report")]
    assert len(turn.model.asked) == 3
    assert [(got.method, got.path) for got in orders.got] == [("GET", "/orders/12"), ("POST", "/refunds")]
    said = await turn.transcript()
    assert [kind for kind, *_ in said] == [
        "message",
        "toolCall",
        "toolCall",
        "toolCall",
        "toolResult",
        "reply",
        "toolResult",
        "toolResult",
        "toolCall",
        "toolResult",
        "message",
    ]
    results = [(content["tool"], content["result"]) for kind, _, content in said if kind == "toolResult"]
    assert results == [
        ("get_order", {"state": "late"}),
        ("refund", {"refund": "r-1"}),
        ("score", {"points": 7}),
        ("report", {"task": "report-1"}),
    ]
    assert said[-1] == ("message", "assistant", "done")
    assert (await shop.story.outputs(turn.task))["reply"] == "done"
    record = await shop.story.load(turn.task)
    assert [attempt.state for attempt in record.attempts if attempt.step == "reply"] == [
        "Paused",
        "Paused",
        "Succeeded",
    ]
    assert record.input_tokens == 30, "three answers of the model"


async def test_the_next_turn_knows_what_was_called(shop: Shop, orders: Server) -> None:
    turn = await begin_turn(shop, tools(orders), [[LOOK, REFUND]], choices={"refund": "reject"})
    await turn.play()

    task = await shop.story.task(turn.session)
    await shop.story.queue(turn.session, task)
    following = type(turn)(shop, turn.agent, type(turn.model)([]), turn.session, task)
    await following.play()

    called = following.model.asked[0][2]
    assert [(call.name, call.arguments) for call in called.calls] == [LOOK, REFUND]
    assert called.results == ({"state": "late"}, {"error": "rejected by ann: as I please"})
    assert [message.text for message in following.model.asked[0][3:]] == ["done", "go"]
    assert "POST /refunds" not in keys(orders)


async def test_mistakes_of_the_model_are_told_to_it(shop: Shop, orders: Server) -> None:
    wrong = [("get_order", {}), ("get_order", {"number": "404"}), ("odd", {})]
    orders.says("/orders/404", b"no such order", 404, content_type="text/plain")
    turn = await begin_turn(shop, tools(orders), [wrong])

    await turn.play()

    errors = [
        content["result"]["error"] for kind, _, content in await turn.transcript() if kind == "toolResult"
    ]
    assert "number" in errors[0]
    assert "404" in errors[1]
    assert "no such order" in errors[1]
    assert errors[2] == (
        "there is no tool called 'odd'; there are: get_order, refund, score, report, update_context"
    )
    assert (await shop.story.outputs(turn.task))["reply"] == "done"


async def test_the_context_is_the_sessions(shop: Shop, orders: Server) -> None:
    rounds = [
        [("update_context", {"changes": {"order": "12"}})],
        [("update_context", {"changes": {"order": None}})],
    ]
    turn = await begin_turn(shop, tools(orders), rounds)

    await turn.play()

    results = [content["result"] for kind, _, content in await turn.transcript() if kind == "toolResult"]
    assert [(each["context"], "error" in each) for each in results] == [({"order": "12"}, False), ({}, False)]
    assert results[1]["version"] == results[0]["version"] + 1


async def test_killed_at_any_moment_a_turn_ends_as_if_nothing_had_happened(
    shop: Shop, orders: Server
) -> None:
    rounds = [[LOOK, REFUND], [("update_context", {"changes": {"seen": True}}), ("score", {})]]
    undisturbed = await begin_turn(shop, tools(orders), rounds)
    await undisturbed.play()
    expected = await undisturbed.transcript()
    assert undisturbed.life.moments > 20

    for moment in range(1, undisturbed.life.moments + 1):
        orders.got.clear()
        turn = await begin_turn(shop, tools(orders), rounds, kill_at=moment)
        await turn.play()

        told = f"killed at moment {moment}"
        assert await turn.transcript() == expected, told
        assert turn.waited == undisturbed.waited, told
        assert (await shop.story.outputs(turn.task))["reply"] == "done", told
        assert {path: len(found) for path, found in keys(orders).items()} == {
            "GET /orders/12": 1,
            "POST /refunds": 1,
        }, told
        # An answer that was not journaled is asked for again; one of the three may be, by one kill.
        assert len(turn.model.asked) <= 4, told
        stored = await shop.story.sql("SELECT context FROM sessions WHERE uid = %s", turn.session)
        assert stored == [({"seen": True},)], told


async def test_a_summary_is_made_once_though_the_turn_pauses_and_is_shown_to_later_turns(
    shop: Shop, orders: Server
) -> None:
    # Given a session whose window is three messages
    limits = {"session": {"name": "alice", "contextWindow": 3, "contextOverflow": "Summarize"}}
    first = await begin_turn(shop, tools(orders), [], request=limits)
    await first.play()

    async def next_turn(*rounds: Any) -> ToolTurn:
        task = await shop.story.task(first.session)
        await shop.story.queue(first.session, task)
        turn = ToolTurn(shop, first.agent, type(first.model)(rounds), first.session, task, request=limits)
        await turn.play()
        return turn

    # When the second turn has more to show, and pauses
    second = await next_turn([REFUND])
    third = await next_turn()

    # Then it is summed up once for all attempts of the turn, and the summary stands for what was said
    assert second.waited == [("Approval", "refund")]
    assert second.model.summed_up == 0, "three messages have room"
    assert third.model.summed_up == 1
    fourth = await next_turn([REFUND], [LOOK])
    assert (fourth.model.summed_up, len(fourth.attempts)) == (1, 2)
    shown = [[message.text for message in asked] for asked in fourth.model.asked[1:]]
    summary = "[Note of the system: What was said before, summed up:\nIn short, 1.]"
    assert [texts[1] for texts in shown] == [summary] * 3
    assert all(texts[2:5] == ["done", "go", ""] or texts[2:4] == ["done", "go"] for texts in shown)
    stored = [content for kind, _, content in await fourth.transcript() if kind == "summary"]
    assert stored[0]["ranges"][0][0] == 1
    assert stored[1]["ranges"][0] == [1, stored[1]["ranges"][0][1]]
    assert len(await shop.story.events(first.session)) > stored[1]["ranges"][-1][1]


async def test_a_tool_step(shop: Shop, orders: Server) -> None:
    task = await shop.story.task()
    agent = tools(orders)
    request = tool_step(shop, task, "get_order", {"number": "1{{ 1 + 1 }}"}, agent)

    run = await begin_tool_step(shop, task, request)

    assert await shop.story.outputs(task) == {"reply": {"state": "late"}}
    assert [(got.method, got.path) for got in orders.got] == [("GET", "/orders/12")]
    assert run == "Succeeded"


async def test_a_tool_step_that_a_person_rejects(shop: Shop, orders: Server) -> None:
    task = await shop.story.task()
    request = tool_step(shop, task, "refund", {"order": "12"}, tools(orders))
    assert await begin_tool_step(shop, task, request) == "Paused"
    [wait] = (await shop.story.load(task)).waits
    assert (await calling.reply(shop.story, task, wait.id, "reject", message="no")).accepted

    assert await begin_tool_step(shop, task, request, number=2) == "Failed"

    attempt = (await shop.story.load(task)).attempts[-1]
    assert (attempt.reason, attempt.definite) == ("Rejected", True)
    assert attempt.message == "the call of tool refund was rejected by ann: no"
    assert orders.got == []


async def begin_tool_step(shop: Shop, task: str, request: Any, number: int = 1) -> str:
    cause = "First" if number == 1 else "Resume"
    attempt = await shop.story.start(task, number=number, cause=cause, request=request)
    turn = await begin_turn(shop, {}, [])
    turn.task = task
    await turn.attempt(await add_step(shop.kube, job=f"{task}-reply-{number}", task_uid=task))
    assert turn.model.asked == []
    return await shop.state_of(attempt)


# --- as processes


def scripted(model: ScriptedModel) -> dict[str, Any]:
    spec = {"provider": "OpenAI", "name": "scripted", "baseURL": model.base_url}
    pay = {"name": "pay", "approval": "Required", "container": {"image": "pay"}}
    return {"name": "support", "model": spec, "tools": [pay], "builtinTools": ["update_context"]}


async def test_a_runner_s_process_ends_when_its_turn_waits_and_another_goes_on(shop: Shop) -> None:
    session = await shop.story.session()
    text = '[saying Let me pay.] [call pay {"amount": 7}] [call update_context {"changes": {"paid": true}}]'
    task, _, step = await shop.start_turn(session, text, agent=scripted(shop.model))

    first = await shop.run(step)
    assert await first.exit_code() == 0, first.log.read_text()
    [approval] = (await shop.story.load(task)).waits
    assert approval.body["arguments"] == {"amount": 7}
    await calling.reply(shop.story, task, approval.id, "approve")

    _, step = await shop.start_step(
        task, text, number=2, cause="Resume", session=session, agent=scripted(shop.model)
    )
    assert await (await shop.run(step)).exit_code() == 0
    [job] = (await shop.story.load(task)).waits
    assert await calling.answer(shop.story, job.id, await calling.run_container(shop.story, task, job.id))

    _, step = await shop.start_step(
        task, text, number=3, cause="Resume", session=session, agent=scripted(shop.model)
    )
    last = await shop.run(step)
    assert await last.exit_code() == 0, last.log.read_text()

    output = (await shop.story.outputs(task))["reply"]
    assert isinstance(output, str)
    assert output.startswith("The tool says: ")
    assert '{"points":7}' in output
    assert len(shop.model.requests("Let me pay.")) == 2, "no round is asked for twice"
