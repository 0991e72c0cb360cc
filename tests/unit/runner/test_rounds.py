"""Rounds: what a model calls is journaled before and after it runs, and never done twice."""

import pytest
from parley.protocol.messages import MAX_TOKENS, JournalEntry, Usage
from parley.resources.reasons import Reason
from parley.runner.calls import MAX_RESULT_BYTES
from parley.runner.chat import Called, ModelCall, ModelReply, tokens
from parley.runner.failure import StepFailure
from parley.runner.rounds import MAX_CALLS, add

from tests.unit.runner.fake_gateway import FakeGateway
from tests.unit.runner.fake_model import calls, reply
from tests.unit.runner.fake_tools import FakeTools, problem
from tests.unit.runner.round_story import Story

UNKNOWN = {"error": "there is no tool called 'odd'; there are: look, find"}


async def test_an_answer_without_calls_is_not_journaled(gateway: FakeGateway) -> None:
    story = Story(gateway, reply("done"))

    assert await story.answer() == "done"
    assert gateway.calls() == []
    assert story.events == []
    assert story.spent == Usage(input_tokens=10, output_tokens=3)


async def test_whatever_a_server_counts_the_usage_can_be_stored(gateway: FakeGateway) -> None:
    much = ModelReply("", tokens(10**30, -5), calls=(ModelCall("c", "look", {}),))
    story = Story(gateway, much, ModelReply("done", tokens(10**12, 10**12)))
    await story.answer()

    assert gateway.bodies("journal")[0]["usage"] == {"inputTokens": MAX_TOKENS, "outputTokens": 0}
    assert add(story.spent, story.spent) == Usage(input_tokens=MAX_TOKENS, output_tokens=MAX_TOKENS)


async def test_a_response_is_journaled_before_its_calls_run_each_call_before_and_each_result_after(
    gateway: FakeGateway,
) -> None:
    seen: list[int] = []
    tools = FakeTools({"look": lambda: seen.append(len(gateway.requests)) or {"found": 1}})
    story = Story(gateway, reply("Let me look.", calls=calls("look").calls), reply("done"), tools=tools)

    assert await story.answer() == "done"

    response, begun, result = gateway.bodies("journal")
    assert response["response"] == {
        "text": "Let me look.",
        "calls": [{"id": "call_0", "name": "look", "arguments": {"n": 0}}],
        "model": "",
    }
    assert response["usage"] == {"inputTokens": 10, "outputTokens": 3}
    assert begun == {"begun": {"tool": "look"}}
    assert result == {"result": {"found": 1}}
    assert seen == [2], "the call ran between the two"
    assert [(run.arguments, run.key) for run in tools.runs] == [({"n": 0}, "key-(0, 0)")]
    assert story.model.asked[1][-1] == Called("Let me look.", calls("look").calls, ({"found": 1},))
    assert [(event.type, event.content, event.speaker) for event in story.transcript.events] == [
        (
            "toolCall",
            {
                "id": "reply/-1/0/0",
                "round": 0,
                "call": 0,
                "tool": "look",
                "arguments": {"n": 0},
                "text": "Let me look.",
            },
            "support",
        ),
        (
            "toolResult",
            {"id": "reply/-1/0/0", "round": 0, "call": 0, "tool": "look", "result": {"found": 1}},
            "support",
        ),
    ]
    assert story.spent == Usage(input_tokens=10, output_tokens=3)


async def test_errors_go_back_to_the_model_and_nothing_runs_for_them(gateway: FakeGateway) -> None:
    tools = FakeTools({"find": problem("tool find answered 404: gone")}, {"look": "number is missing"})
    story = Story(gateway, calls("odd", "look", "find"), reply("done"), tools=tools)

    await story.answer()

    assert story.results() == [
        UNKNOWN,
        {"error": "number is missing"},
        {"error": "tool find answered 404: gone"},
    ]
    assert [run.name for run in tools.runs] == ["find"]
    assert [body["begun"] for body in gateway.bodies("journal") if "begun" in body] == [{"tool": "find"}]


async def test_a_result_that_is_too_large_is_an_error_for_the_model(gateway: FakeGateway) -> None:
    tools = FakeTools({"look": "x" * (MAX_RESULT_BYTES + 1), "find": "x" * (MAX_RESULT_BYTES - 2)})
    story = Story(gateway, calls("look", "find"), reply("done"), tools=tools)

    await story.answer()

    first, second = story.results()
    assert first == {
        "error": f"the result has {MAX_RESULT_BYTES + 3} bytes as JSON, more than the 262144 it may have"
    }
    assert len(second) == MAX_RESULT_BYTES - 2


async def test_a_result_that_the_store_refuses_is_an_error_for_the_model(gateway: FakeGateway) -> None:
    def too_large() -> str:
        gateway.fail("journal", 413, reason="ResultTooLarge", detail="much too large")
        return "x"

    story = Story(gateway, calls("look"), reply("done"), tools=FakeTools({"look": too_large}))

    await story.answer()

    assert story.results()[-1] == {
        "error": "the result is too large to be stored: ResultTooLarge: much too large"
    }


async def test_what_postgres_cannot_hold_is_replaced_in_results(gateway: FakeGateway) -> None:
    story = Story(gateway, calls("look"), reply("done"), tools=FakeTools({"look": {"a\0": "b\0"}}))

    await story.answer()

    assert story.results() == [{"a\ufffd": "b\ufffd"}]


async def test_a_later_attempt_continues_the_journal_and_asks_for_the_missing_round_only(
    gateway: FakeGateway,
) -> None:
    first = Story(gateway, calls("look", "find"), RuntimeError("killed"))
    with pytest.raises(RuntimeError):
        await first.answer()
    # Killed before the second call's result was journaled.
    left = [entry for entry in gateway.journal.values() if entry.call != 1]
    gateway.requests.clear()

    second = Story(gateway, reply("done"), journal=left)
    assert await second.answer() == "done"

    assert len(second.model.asked) == 1
    assert [(run.name, run.key) for run in second.tools.runs] == [("find", first.tools.runs[1].key)]
    assert [body.get("begun") for body in gateway.bodies("journal")] == [{"tool": "find"}, None]
    assert second.events == first.events
    assert second.spent == Usage(input_tokens=10, output_tokens=3)


async def test_a_call_whose_result_was_null_is_not_run_again(gateway: FakeGateway) -> None:
    response = {"text": "", "calls": [{"id": "call_0", "name": "look", "arguments": {}}]}
    journal = [
        JournalEntry(round=0, result=response, done=True),
        JournalEntry(round=0, call=0, begun={"tool": "look"}, result=None, done=True),
    ]
    story = Story(gateway, reply("done"), journal=journal)

    await story.answer()

    assert gateway.calls() == []
    assert story.tools.runs == []
    assert story.model.asked[0][-1] == Called("", (ModelCall("call_0", "look", {}),), (None,))


async def test_what_another_attempt_journaled_first_wins(gateway: FakeGateway) -> None:
    stored = {"text": "", "calls": [{"id": "call_x", "name": "find", "arguments": {}}]}
    gateway.journal[0, -1] = JournalEntry(round=0, call=-1, result=stored, done=True)
    story = Story(gateway, calls("look"), reply("done"), journal=[])

    await story.answer()

    assert [run.name for run in story.tools.runs] == ["find"]


async def test_ids_that_do_not_tell_calls_apart_are_replaced(gateway: FakeGateway) -> None:
    same = (ModelCall("x", "look", {}), ModelCall("x", "find", {}))
    story = Story(gateway, reply(calls=same), reply("done"))

    await story.answer()

    called = story.model.asked[1][-1]
    assert isinstance(called, Called)
    assert [call.id for call in called.calls] == ["call_0", "call_1"]


async def test_a_model_that_only_calls_is_stopped_for_good(gateway: FakeGateway) -> None:
    story = Story(gateway, *[calls("look")] * 4, limit=3)

    with pytest.raises(StepFailure, match=r"limits\.maxToolRounds is 3") as caught:
        await story.answer()

    assert caught.value.reason is Reason.MODEL_ERROR
    assert caught.value.definite
    assert len(story.model.asked) == 4
    assert len(story.tools.runs) == 3


async def test_a_model_that_asks_for_too_much_at_once_is_not_journaled(gateway: FakeGateway) -> None:
    story = Story(gateway, calls(*["look"] * (MAX_CALLS + 1)))

    with pytest.raises(StepFailure, match="65 calls at once"):
        await story.answer()

    assert gateway.calls() == []
    assert story.spent == Usage(input_tokens=10, output_tokens=3)


async def test_where_calls_are_not_run_they_are_the_answer(gateway: FakeGateway) -> None:
    story = Story(gateway, calls("look", "find"), runs_calls=False)

    answer = await story.rounds.answer(story.messages)

    assert [call.name for call in answer.calls] == ["look", "find"]
    assert gateway.calls() == []
    assert story.tools.runs == []
    assert story.spent == Usage(input_tokens=10, output_tokens=3)
