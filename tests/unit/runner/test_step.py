"""One attempt of a prompt step: whatever happens, the store gets one outcome."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from parley.protocol.messages import MAX_OUTPUT_BYTES, InputMessage
from parley.protocol.model_keys import model_key_variable
from parley.resources.common import SecretKeyRef
from parley.runner.chat import ModelFailure, Said
from parley.runner.step import StepRun

from tests.unit.runner.fake_gateway import FakeGateway, prompt_request, stored_event
from tests.unit.runner.fake_model import calls, reply
from tests.unit.runner.step_story import outcome, run

KEY = SecretKeyRef(name="openai", key="k")
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"kind": {"enum": ["late"]}}, "required": ["kind"]}


async def test_a_turn_of_a_session(make_gateway: Callable[..., FakeGateway]) -> None:
    # Given a session in which something was said
    history = [stored_event(1, "user", "My name is Alice."), stored_event(2, "assistant", "Hello, Alice.")]
    gateway = make_gateway(prompt_request(prompt={"text": "What is my name?"}), history=history)

    # When the attempt runs
    model = await run(gateway, reply("Your name is Alice."))

    # Then the input was stored before the model was asked with all of it, and the outcome has the answer
    assert gateway.calls() == ["take", "input", "finish"]
    assert gateway.bodies("input") == [{"messages": [{"role": "user", "content": "What is my name?"}]}]
    assert model.asked == [
        [
            Said("system", "You are support."),
            Said("user", "My name is Alice."),
            Said("assistant", "Hello, Alice."),
            Said("user", "What is my name?"),
        ]
    ]
    assert outcome(gateway) == {
        "outcome": "Succeeded",
        "output": "Your name is Alice.",
        "events": [
            {
                "type": "message",
                "role": "assistant",
                "content": "Your name is Alice.",
                "speaker": "support",
            }
        ],
        "usage": {"inputTokens": 10, "outputTokens": 3},
        "reason": None,
        "message": None,
        "definite": False,
        "retryAfter": None,
    }
    assert model.closed


async def test_without_history_nothing_is_said_in_a_session(make_gateway: Callable[..., FakeGateway]) -> None:
    gateway = make_gateway(prompt_request(history="None"))

    await run(gateway, reply("hello"))

    assert gateway.calls() == ["take", "finish"]
    assert outcome(gateway)["events"] == []
    assert outcome(gateway)["output"] == "hello"


async def test_what_an_earlier_attempt_stored_is_what_the_model_sees(
    make_gateway: Callable[..., FakeGateway],
) -> None:
    gateway = make_gateway(input=[InputMessage(role="user", content="as first rendered")])

    model = await run(gateway, reply("hello"))

    assert gateway.calls() == ["take", "finish"]
    assert model.asked[0][-1] == Said("user", "as first rendered")


async def test_input_that_was_stored_meanwhile_wins_over_what_was_rendered(gateway: FakeGateway) -> None:
    gateway.input = [InputMessage(role="user", content="posted before")]

    model = await run(gateway, reply("hello"))

    assert model.asked[0][-1] == Said("user", "posted before")


async def test_outputs_of_earlier_steps_are_in_the_prompt(make_gateway: Callable[..., FakeGateway]) -> None:
    request = prompt_request(prompt={"text": "{{ steps.score.output.points }}"})
    gateway = make_gateway(request, outputs={"score": {"points": 7}})

    model = await run(gateway, reply("hello"))

    assert model.asked[0][-1] == Said("user", "7")


async def test_structured_output(make_gateway: Callable[..., FakeGateway]) -> None:
    gateway = make_gateway(prompt_request(prompt={"text": "kind?", "outputSchema": SCHEMA}))

    model = await run(gateway, reply('{ "kind": "late" }'))

    assert model.schemas == [SCHEMA]
    assert outcome(gateway)["output"] == {"kind": "late"}
    assert outcome(gateway)["events"][0]["content"] == '{"kind":"late"}'


async def test_a_model_may_mend_its_answer_twice_and_only_the_good_one_is_said(
    make_gateway: Callable[..., FakeGateway],
) -> None:
    gateway = make_gateway(prompt_request(prompt={"text": "kind?", "outputSchema": SCHEMA}))

    model = await run(gateway, reply("late"), reply('{"kind": "odd"}'), reply('{"kind": "late"}'))

    wrong, complaint = model.asked[1][-2:]
    assert wrong == Said("assistant", "late")
    assert isinstance(complaint, Said)
    assert "it is no JSON" in complaint.text
    assert outcome(gateway)["output"] == {"kind": "late"}
    assert len(outcome(gateway)["events"]) == 1
    assert outcome(gateway)["usage"] == {"inputTokens": 30, "outputTokens": 9}


async def test_a_model_that_does_not_mend_its_answer(make_gateway: Callable[..., FakeGateway]) -> None:
    gateway = make_gateway(prompt_request(prompt={"text": "kind?", "outputSchema": SCHEMA}))

    await run(gateway, *[reply('{"kind": "odd"}')] * 3)

    failed = outcome(gateway)
    assert failed["reason"] == "SchemaMismatch"
    assert not failed["definite"]
    assert failed["message"] == (
        "model scripted at api.openai.com gave 3 answers that do not fit spec.steps[0].prompt.outputSchema; "
        "the last one at $.kind: 'odd' is not one of ['late']"
    )
    assert failed["usage"] == {"inputTokens": 30, "outputTokens": 9}
    assert failed["events"] == []


async def test_calls_of_a_turn_are_part_of_its_events(gateway: FakeGateway) -> None:
    await run(gateway, calls("look"), reply("done"))

    assert [event["type"] for event in outcome(gateway)["events"]] == ["toolCall", "toolResult", "message"]
    # The first response's tokens are in the journal.
    assert outcome(gateway)["usage"] == {"inputTokens": 10, "outputTokens": 3}


MODEL_LABEL = "model scripted at api.openai.com"
FAILURES: list[tuple[Any, str, bool, str]] = [
    (
        ModelFailure("answered 401: bad key", status=401, retryable=False),
        "ModelError",
        True,
        f"{MODEL_LABEL} answered 401: bad key",
    ),
    (
        ModelFailure("answered 429: slow", status=429, retryable=True, rate_limited=True, retry_after=90),
        "ModelRateLimited",
        False,
        f"{MODEL_LABEL} answered 429: slow",
    ),
    (reply("No.", ending="refused"), "ModelError", True, f"{MODEL_LABEL} refused to answer: No."),
    (reply("", ending="refused"), "ModelError", True, f"{MODEL_LABEL} refused to answer without saying why"),
    (
        reply("half", ending="length"),
        "ModelError",
        False,
        f"the answer of {MODEL_LABEL} was cut off at its token limit; ask for less",
    ),
    (reply(" \n"), "ModelError", False, f"{MODEL_LABEL} gave an empty answer"),
    (
        reply("x" * MAX_OUTPUT_BYTES),
        "ResultTooLarge",
        True,
        f"the output of spec.steps[0].prompt has {MAX_OUTPUT_BYTES + 2} bytes as JSON, more than {MAX_OUTPUT_BYTES}",
    ),
    (
        RuntimeError("token sk-123"),
        "Error",
        False,
        "the runner failed: RuntimeError; its log has the details",
    ),
]


@pytest.mark.parametrize(("said", "reason", "definite", "message"), FAILURES)
async def test_each_way_to_fail_is_an_outcome(
    gateway: FakeGateway, said: Any, reason: str, definite: bool, message: str
) -> None:
    await run(gateway, said)

    failed = outcome(gateway)
    assert failed["outcome"] == "Failed"
    assert (failed["reason"], failed["definite"], failed["message"]) == (reason, definite, message)
    assert failed["events"] == []
    assert failed["output"] is None


async def test_a_cut_off_answer_names_the_agents_limit(make_gateway: Callable[..., FakeGateway]) -> None:
    agent = {"name": "support", "model": {"provider": "OpenAI", "name": "m", "maxOutputTokens": 5}}
    gateway = make_gateway(prompt_request(agent=agent))

    await run(gateway, reply("half", ending="length"))

    assert "agent support allows 5: raise spec.model.maxOutputTokens" in outcome(gateway)["message"]


async def test_the_servers_wish_to_wait_is_told_to_the_operator(gateway: FakeGateway) -> None:
    await run(
        gateway, ModelFailure("answered 429", status=429, retryable=True, rate_limited=True, retry_after=90)
    )

    assert outcome(gateway)["retryAfter"] == 90


async def test_a_template_error_is_an_outcome_and_no_model_is_asked(
    make_gateway: Callable[..., FakeGateway],
) -> None:
    gateway = make_gateway(prompt_request(prompt={"text": "{{ inputs.nope }}"}))

    model = await run(gateway)

    assert gateway.calls() == ["take", "finish"]
    assert outcome(gateway)["reason"] == "TemplateError"
    assert outcome(gateway)["definite"]
    assert outcome(gateway)["message"].startswith("spec.steps[0].prompt.text: inputs.nope is not defined")
    assert model.asked == []


async def test_a_template_that_takes_too_long(
    make_gateway: Callable[..., FakeGateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parley.runner.rendering.RENDER_SECONDS", 0.05)
    release = threading.Event()
    monkeypatch.setattr("parley.runner.rendering.render_text", lambda *_: release.wait(60))
    gateway = make_gateway()

    await run(gateway)
    release.set()

    assert outcome(gateway)["reason"] == "TemplateError"
    assert "took longer than" in outcome(gateway)["message"]


async def test_a_bad_schema_is_the_tasks_fault(make_gateway: Callable[..., FakeGateway]) -> None:
    gateway = make_gateway(prompt_request(prompt={"text": "kind?", "outputSchema": {"type": "objekt"}}))

    await run(gateway)

    assert outcome(gateway)["reason"] == "InvalidSpec"
    assert outcome(gateway)["definite"]
    assert outcome(gateway)["message"].startswith("spec.steps[0].prompt.outputSchema is no valid JSON Schema")


async def test_a_key_that_cannot_be_sent(make_gateway: Callable[..., FakeGateway]) -> None:
    model = {"provider": "OpenAI", "name": "m", "apiKeySecretRef": KEY.to_json()}
    gateway = make_gateway(prompt_request(agent={"name": "support", "model": model}))
    step = StepRun(gateway.client(), {model_key_variable(KEY): "bad\nkey"})

    await step.run()

    assert outcome(gateway)["reason"] == "ModelError"
    assert outcome(gateway)["definite"]
    assert "check key k of Secret openai, which its apiKeySecretRef names" in outcome(gateway)["message"]
