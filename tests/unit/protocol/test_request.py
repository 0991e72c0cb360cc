"""A request is read by neighbouring versions: unknown fields are ignored, a missing kind is a prompt's."""

from typing import Any

import pytest
from parley.protocol.messages import TakeAnswer
from parley.protocol.model_keys import model_key_variable, tool_secret_variable
from parley.protocol.request import AgentSnapshot, PromptRequest, ToolRequest, runner_request
from parley.resources.common import SecretKeyRef
from pydantic import ValidationError

AGENT: dict[str, Any] = {
    "name": "support",
    "model": {
        "provider": "OpenAI",
        "name": "m",
        "thinking": "hard",
        "fallbacks": [{"provider": "Google", "name": "g"}],
    },
    "tools": [
        {
            "name": "get_order",
            "parameters": {"type": "object", "properties": {"number": {"type": "string", "x-ours": None}}},
            "cost": 3,
            "http": {
                "url": "http://orders/orders/{{ arguments.number }}",
                "method": "POST",
                "body": {"keep": None},
                "http2": True,
                "headers": [
                    {
                        "name": "A",
                        "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}, "x": 1},
                    },
                ],
            },
        }
    ],
    "someday": {"more": 1},
}
PROMPT: dict[str, Any] = {
    "task": {"name": "hello", "namespace": "shop"},
    "step": "reply",
    "path": "spec.steps[0].prompt",
    "prompt": {"text": "hello", "voice": "low"},
    "literal": False,
    "history": "Session",
    "agent": AGENT,
    "session": {"name": "alice", "user": {"id": "a", "mood": "good"}, "users": [{"id": "a", "mood": "good"}]},
}
TOOL: dict[str, Any] = {
    "kind": "Tool",
    "task": {"name": "hello", "namespace": "shop"},
    "step": "lookup",
    "path": "spec.steps[0].tool",
    "tool": {"name": "get_order", "arguments": {"number": "{{ inputs.number }}"}, "newer": 1},
    "agent": AGENT,
}


def test_what_a_newer_version_wrote_is_read_without_what_it_added_at_any_depth() -> None:
    request = runner_request(PROMPT)
    assert isinstance(request, PromptRequest)
    [tool] = request.agent.tools
    assert tool.http is not None
    assert tool.http.headers[0].value_from is not None
    assert tool.http.headers[0].value_from.secret_key_ref.key == "k"
    assert request.session is not None
    assert [user.id for user in request.session.users] == ["a"]


def test_free_objects_keep_every_key_and_every_null() -> None:
    written = AgentSnapshot.model_validate(AGENT).model_dump(mode="json", by_alias=True)
    [tool] = written["tools"]
    assert tool["parameters"] == AGENT["tools"][0]["parameters"]
    assert tool["http"]["body"] == {"keep": None}
    assert "mcp" not in tool, "what is unset is left out: an older version need not know of it"


def test_a_request_without_a_kind_is_a_prompt_s() -> None:
    assert isinstance(runner_request(PROMPT), PromptRequest)
    assert isinstance(runner_request(PROMPT | {"kind": "Prompt"}), PromptRequest)


def test_a_tool_s_request_is_told_by_its_kind_also_in_the_answer_to_take() -> None:
    taken = TakeAnswer.model_validate(
        {"attempt": 1, "number": 1, "deadline": "2026-01-01T00:00:00Z", "nextPosition": 0, "request": TOOL}
    )
    assert isinstance(taken.request, ToolRequest)
    assert taken.request.tool.name == "get_order"
    again = TakeAnswer.model_validate_json(taken.model_dump_json(by_alias=True))
    assert again == taken


@pytest.mark.parametrize("kind", ["Container", "Task", "Dance"])
def test_requests_that_are_not_for_runners_are_refused(kind: str) -> None:
    with pytest.raises(ValidationError):
        runner_request(PROMPT | {"kind": kind})


def test_an_older_version_s_request_has_defaults_for_all_that_is_new() -> None:
    old = {**PROMPT, "agent": {"name": "support", "model": {"provider": "OpenAI", "name": "m"}}}
    request = runner_request(old)
    assert isinstance(request, PromptRequest)
    assert (request.auto_run_tools, request.several, request.speaker) == (True, False, None)
    assert (request.agent.tools, request.agent.max_tool_rounds) == ([], 8)
    assert request.session is not None
    assert request.session.context_overflow == "Truncate"


def test_the_same_secret_has_another_variable_as_a_tool_s_than_as_a_model_s() -> None:
    reference = SecretKeyRef(name="orders", key="token")
    assert tool_secret_variable(reference) != model_key_variable(reference)
    assert tool_secret_variable(reference) == tool_secret_variable(SecretKeyRef(name="orders", key="token"))
    assert tool_secret_variable(reference) != tool_secret_variable(SecretKeyRef(name="orders", key="other"))
