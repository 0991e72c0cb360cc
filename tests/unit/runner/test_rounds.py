"""Rounds: what a model calls is journaled before and after, and never asked for twice."""

from collections.abc import Sequence

import pytest
from parley.protocol.messages import MAX_TOKENS, JournalEntry, Usage
from parley.resources.reasons import Reason
from parley.runner.chat import Called, ChatMessage, ModelCall, ModelReply, Said, tokens
from parley.runner.failure import StepFailure
from parley.runner.rounds import MAX_ROUNDS_WITH_CALLS, Rounds, add

from tests.unit.runner.fake_gateway import ATTEMPT, FakeGateway
from tests.unit.runner.fake_model import FakeModel, calls, reply

UNKNOWN = {"error": "there is no tool called 'look'"}


def rounds_of(gateway: FakeGateway, model: FakeModel, journal: Sequence[JournalEntry] = ()) -> Rounds:
    async def ask(messages: Sequence[ChatMessage]) -> ModelReply:
        return await model.ask(messages, schema=None, timeout_seconds=1)

    return Rounds(gateway.client(), ATTEMPT, journal, ask)


async def test_an_answer_without_calls_is_not_journaled(gateway: FakeGateway) -> None:
    rounds = rounds_of(gateway, FakeModel(reply("done")))

    assert (await rounds.answer([Said("user", "hi")])).text == "done"
    assert gateway.calls() == []
    assert rounds.events == []
    assert rounds.spent == Usage(input_tokens=10, output_tokens=3)


async def test_whatever_a_server_counts_the_usage_can_be_stored(gateway: FakeGateway) -> None:
    much = ModelReply("", tokens(10**30, -5), calls=(ModelCall("c", "look", {}),))
    rounds = rounds_of(gateway, FakeModel(much, ModelReply("done", tokens(10**12, 10**12))))
    await rounds.answer([Said("user", "hi")])

    assert gateway.bodies("journal")[0]["usage"] == {"inputTokens": MAX_TOKENS, "outputTokens": 0}
    assert add(rounds.spent, rounds.spent) == Usage(input_tokens=MAX_TOKENS, output_tokens=MAX_TOKENS)


async def test_a_response_with_calls_is_journaled_before_they_run_and_its_tokens_with_it(
    gateway: FakeGateway,
) -> None:
    model = FakeModel(calls("look"), reply("done"))
    rounds = rounds_of(gateway, model)
    messages: list[ChatMessage] = [Said("user", "hi")]

    answer = await rounds.answer(messages)

    assert answer.text == "done"
    response, begun, result = gateway.bodies("journal")
    assert response["response"] == {
        "text": "",
        "calls": [{"id": "call_0", "name": "look", "arguments": {"n": 0}}],
        "model": "",
    }
    assert response["usage"] == {"inputTokens": 10, "outputTokens": 3}
    assert begun["begun"] == {"tool": "look"}
    assert result["result"] == UNKNOWN
    assert model.asked[1][-1] == Called("", (ModelCall("call_0", "look", {"n": 0}),), (UNKNOWN,))
    assert [(event.type, event.content) for event in rounds.events] == [
        ("toolCall", {"round": 0, "call": 0, "tool": "look", "arguments": {"n": 0}}),
        ("toolResult", {"round": 0, "call": 0, "tool": "look", "result": UNKNOWN}),
    ]
    assert rounds.spent == Usage(input_tokens=10, output_tokens=3)


async def test_a_later_attempt_continues_the_journal_and_asks_for_the_missing_round_only(
    gateway: FakeGateway,
) -> None:
    first = rounds_of(gateway, FakeModel(calls("look", "find"), RuntimeError("killed")))
    with pytest.raises(RuntimeError):
        await first.answer([Said("user", "hi")])
    journal = list(gateway.journal.values())
    # Killed before the second call's result was journaled.
    journal = [entry for entry in journal if entry.call != 1]
    gateway.requests.clear()
    model = FakeModel(reply("done"))

    second = rounds_of(gateway, model, journal)
    answer = await second.answer([Said("user", "hi")])

    assert answer.text == "done"
    assert len(model.asked) == 1
    assert [len(gateway.bodies("journal")), gateway.bodies("journal")[0]["begun"]] == [2, {"tool": "find"}]
    assert [event.type for event in second.events] == ["toolCall", "toolResult", "toolCall", "toolResult"]
    assert second.spent == Usage(input_tokens=10, output_tokens=3)


async def test_a_call_whose_result_was_null_is_not_run_again(gateway: FakeGateway) -> None:
    response = {"text": "", "calls": [{"id": "call_0", "name": "look", "arguments": {}}]}
    journal = [
        JournalEntry(round=0, result=response, done=True),
        JournalEntry(round=0, call=0, begun={"tool": "look"}, result=None, done=True),
    ]
    model = FakeModel(reply("done"))

    await rounds_of(gateway, model, journal).answer([Said("user", "hi")])

    assert gateway.calls() == []
    assert model.asked[0][-1] == Called("", (ModelCall("call_0", "look", {}),), (None,))


async def test_what_another_attempt_journaled_first_wins(gateway: FakeGateway) -> None:
    stored = {"text": "", "calls": [{"id": "call_x", "name": "other", "arguments": None}]}
    gateway.journal[0, -1] = JournalEntry(round=0, call=-1, result=stored)
    rounds = rounds_of(gateway, FakeModel(calls("look"), reply("done")))

    await rounds.answer([Said("user", "hi")])

    assert gateway.bodies("journal")[1]["begun"] == {"tool": "other"}


async def test_a_model_that_only_calls_is_stopped_for_good(gateway: FakeGateway) -> None:
    model = FakeModel(*[calls("look")] * (MAX_ROUNDS_WITH_CALLS + 1))

    with pytest.raises(StepFailure) as caught:
        await rounds_of(gateway, model).answer([Said("user", "hi")])

    assert caught.value.reason is Reason.MODEL_ERROR
    assert caught.value.definite
    assert len(model.asked) == MAX_ROUNDS_WITH_CALLS + 1
