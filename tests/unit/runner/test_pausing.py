"""Calls that wait for people, Jobs and Tasks, and changes of the session's context."""

from typing import Any

import pytest
from parley.protocol.messages import JournalEntry, ReplyEntry
from parley.runner.chat import Called, ModelCall, ModelReply, Said

from tests.unit.runner.fake_gateway import FakeGateway
from tests.unit.runner.fake_model import calls, reply
from tests.unit.runner.fake_tools import FakeTools, tool
from tests.unit.runner.round_story import Story, approved

PAY = tool("pay", approval=True)
BUILD = tool("build", "Container")
QUEUE = tool("queue", "Task")
RISKY = tool("risky", "Container", approval=True)
ALL = (tool("look"), PAY, BUILD, QUEUE, RISKY)


async def test_calls_that_wait_are_collected_after_the_others_have_run(gateway: FakeGateway) -> None:
    story = Story(gateway, calls("pay", "look", "build", "queue", "risky"), agent=ALL)

    assert await story.pause() == [
        (0, 0, "Approval", "pay"),
        (0, 2, "Container", "build"),
        (0, 3, "Task", "queue"),
        (0, 4, "Approval", "risky"),
    ]
    assert [run.name for run in story.tools.runs] == ["look"]
    assert story.events == [
        *(("toolCall", f"call/0/{place}") for place in range(5)),
        ("toolResult", "result/0/1"),
    ]


async def test_an_approved_call_runs_in_a_new_attempt_which_asks_for_nothing_again(
    gateway: FakeGateway,
) -> None:
    await Story(gateway, calls("pay", "look"), agent=ALL).pause()

    resumed = Story(gateway, reply("paid"), agent=ALL, replies=[approved()])
    assert await resumed.answer() == "paid"

    assert [run.name for run in resumed.tools.runs] == ["pay"]
    assert resumed.model.asked == [
        [Said("user", "hi"), Called("", calls("pay", "look").calls, ("pay done", "look done"))]
    ]
    assert [key for _, key in resumed.events] == ["call/0/0", "call/0/1", "result/0/0", "result/0/1"]


async def test_of_two_calls_each_has_its_own_decision(gateway: FakeGateway) -> None:
    await Story(gateway, calls("pay", "pay"), agent=ALL).pause()

    replies = [approved(1), approved(0, "reject", message="too much")]
    resumed = Story(gateway, reply("ok"), agent=ALL, replies=replies)
    await resumed.answer()

    called = resumed.model.asked[0][-1]
    assert isinstance(called, Called)
    assert called.results == ({"error": "rejected by alice: too much"}, "pay done")
    assert [run.arguments for run in resumed.tools.runs] == [{"n": 1}]


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        (approved(0, "reject"), "rejected by alice"),
        (approved(0, "reject", by=None), "rejected: nobody answered in time"),
        (
            approved(0, "reject", by=None, message="nobody answered by noon"),
            "rejected: nobody answered by noon",
        ),
        (approved(0, "maybe"), "rejected by alice"),
    ],
)
async def test_a_rejected_call_is_told_to_the_model(
    gateway: FakeGateway, decision: ReplyEntry, told: str
) -> None:
    await Story(gateway, calls("pay"), agent=ALL).pause()

    resumed = Story(gateway, reply("ok"), agent=ALL, replies=[decision])
    await resumed.answer()

    assert resumed.tools.runs == []
    assert resumed.results()[-1] == {"error": told}


async def test_the_default_may_be_to_approve(gateway: FakeGateway) -> None:
    await Story(gateway, calls("pay"), agent=ALL).pause()

    resumed = Story(gateway, reply("ok"), agent=ALL, replies=[approved(by=None)])
    await resumed.answer()

    assert [run.name for run in resumed.tools.runs] == ["pay"]


async def test_a_decision_is_for_its_own_call_and_round_only(gateway: FakeGateway) -> None:
    await Story(gateway, calls("pay"), agent=ALL).pause()

    elsewhere = [approved(1), ReplyEntry(round=1, call=0, choice="approve", by="alice")]
    resumed = Story(gateway, agent=ALL, replies=elsewhere)

    assert await resumed.pause() == [(0, 0, "Approval", "pay")]


async def test_an_approved_container_waits_for_its_job_and_then_for_nothing(gateway: FakeGateway) -> None:
    await Story(gateway, calls("risky"), agent=ALL).pause()

    second = Story(gateway, agent=ALL, replies=[approved()])
    assert await second.pause() == [(0, 0, "Container", "risky")]
    gateway.journal[0, 0] = JournalEntry(round=0, call=0, result={"built": 1}, done=True)
    third = Story(gateway, reply("built"), agent=ALL, replies=[approved()])

    assert await third.answer() == "built"
    assert third.model.asked[0][-1] == Called("", calls("risky").calls, ({"built": 1},))


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ({"built": "no"}, {"error": "at $.built: 'no' is no number"}),
        ({"error": "exit code 3"}, {"error": "exit code 3"}),
    ],
)
async def test_a_containers_result_is_checked_when_it_is_read(
    gateway: FakeGateway, result: Any, shown: Any
) -> None:
    await Story(gateway, calls("build"), agent=ALL).pause()
    gateway.journal[0, 0] = JournalEntry(round=0, call=0, result=result, done=True)
    tools = FakeTools(wrong_results={"build": "at $.built: 'no' is no number"})

    resumed = Story(gateway, reply("ok"), agent=ALL, tools=tools)
    await resumed.answer()

    assert resumed.model.asked[0][-1] == Called("", calls("build").calls, (shown,))
    assert resumed.transcript.events[-1].content == {
        "id": "reply/-1/0/0",
        "round": 0,
        "call": 0,
        "tool": "build",
        "result": shown,
    }


# --- the session's context


def change(**changes: Any) -> ModelReply:
    return reply(calls=(ModelCall("c", "update_context", {"changes": changes}),))


async def test_the_context_is_changed_from_what_the_model_was_told_last(gateway: FakeGateway) -> None:
    gateway.context_version = 4
    story = Story(gateway, change(a=1), change(b=2), reply("done"), version=4)

    await story.answer()

    sent = [body for body in gateway.bodies("journal") if "changes" in body]
    assert sent == [{"changes": {"a": 1}, "version": 4}, {"changes": {"b": 2}, "version": 5}]
    assert gateway.context == {"a": 1, "b": 2}
    called = story.model.asked[2][-1]
    assert isinstance(called, Called)
    assert called.results == ({"context": {"a": 1, "b": 2}, "version": 6},)


async def test_a_model_that_is_told_of_another_writer_may_change_it_then(gateway: FakeGateway) -> None:
    gateway.context, gateway.context_version = {"a": 0}, 7
    story = Story(gateway, change(a=1), change(a=1), reply("done"), version=4)

    await story.answer()

    called = story.model.asked[1][-1]
    assert isinstance(called, Called)
    assert called.results == ({"error": "changed meanwhile", "context": {"a": 0}, "version": 7},)
    assert gateway.context == {"a": 1}


async def test_a_resumed_attempt_goes_on_from_the_version_in_the_journal(gateway: FakeGateway) -> None:
    gateway.context_version = 4
    first = Story(gateway, change(a=1), RuntimeError("killed"), version=4)
    with pytest.raises(RuntimeError):
        await first.answer()
    gateway.requests.clear()

    second = Story(gateway, change(b=2), reply("done"), version=4)
    await second.answer()

    assert [body for body in gateway.bodies("journal") if "changes" in body] == [
        {"changes": {"b": 2}, "version": 5}
    ]
