"""The stand-in for a model calls tools as it is told to, through each API that it speaks."""

import json
from typing import Any

import httpx2
import pytest
from parley.resources.agent import ModelSpec
from parley.runner.providers import connect
from pydantic_ai.direct import model_request
from pydantic_ai.messages import (
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

from tests.unit.runner.scripted import ScriptedModel
from tests.unit.runner.test_scripted_model import post, say

LOOK = ToolDefinition(name="look", parameters_json_schema={"type": "object"}, description="Looks.")
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("a", "b")
]


def spec(provider: str, model: ScriptedModel) -> ModelSpec:
    url = model.base_url if provider == "OpenAI" else model.url
    return ModelSpec.model_validate(
        {"provider": provider, "name": f"scripted-{provider.lower()}", "baseURL": url}
    )


@pytest.mark.parametrize("provider", ["OpenAI", "Anthropic", "Google"])
async def test_a_call_and_its_result_in_each_api(model: ScriptedModel, provider: str) -> None:
    text = f'[saying Wait.] [call look {{"a": 1}}] [call look {{"a": 2}}] [then] [call look {{"a": 3}}] {provider}'
    messages: list[ModelRequest | ModelResponse] = [ModelRequest(parts=[UserPromptPart(text)])]
    asked: list[list[Any]] = []
    async with httpx2.AsyncClient(timeout=30) as http:
        library = connect(spec(provider, model), "", http)
        for _ in range(3):
            response = await model_request(
                library,
                messages,
                model_request_parameters=ModelRequestParameters(function_tools=[LOOK]),
                model_settings={"max_tokens": 100},
            )
            calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
            asked.append([call.args_as_dict() for call in calls])
            results = [
                ToolReturnPart("look", {"found": call.args_as_dict()["a"]}, tool_call_id=call.tool_call_id)
                for call in calls
            ]
            messages += [response, ModelRequest(parts=results or [UserPromptPart("end")])]

    assert asked == [[{"a": 1}, {"a": 2}], [{"a": 3}], []]
    said = "".join(part.content for part in response.parts if isinstance(part, TextPart))
    assert said.startswith("The tool says: ")
    assert json.loads(said.removeprefix("The tool says: ")) == {"found": 3}
    assert response.usage.output_tokens > 0
    first, *_ = model.requests(provider)
    assert "look" in json.dumps(first["request"]["tools"])
    assert first["calls"] == ["look", "look"]


def test_what_is_always_called_is_called_in_every_round(model: ScriptedModel) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "[call a {}] [always b {}]"}]
    rounds: list[list[str]] = []
    for _ in range(3):
        message = post(model, {"model": "m", "messages": messages, "tools": TOOLS})["choices"][0]["message"]
        calls = message["tool_calls"]
        rounds.append([call["function"]["name"] for call in calls])
        messages += [message, *({"role": "tool", "tool_call_id": c["id"], "content": "x"} for c in calls)]
    assert rounds == [["a", "b"], ["b"], ["b"]]


@pytest.mark.parametrize(
    ("texts", "more", "reply"),
    [
        (["What tools do you have?"], {"tools": TOOLS}, "My tools: a, b."),
        (["What tools do you have?"], {}, "My tools: none."),
        (["Task ship-1 has ended: Succeeded.", "ok", "Which tasks have ended?"], {}, "ship-1 ended: Succeeded."),
        (["Which tasks have ended?"], {}, "No task has ended."),
        (["a word", "a word", "find: word"], {}, "I can see it in 2 messages."),
        (["Alice: echo: hi"], {}, "hi"),
        (["Alice: My name is Alice.", "x", "Summarize this."], {}, "In short: my name is Alice."),
        (["Summarize: My name is Bo. [long 900] [fail 503] [call a {}]"], {"tools": TOOLS}, "In short: my name is Bo."),
    ],
)  # fmt: skip
def test_it_tells_what_it_was_given(model: ScriptedModel, texts: list[str], more: Any, reply: str) -> None:
    assert say(model, *texts, **more)["message"]["content"] == reply


def test_it_knows_what_a_summary_says(model: ScriptedModel) -> None:
    system = "Be brief. What was said before: In short: my name is Alice. I ask about order 12."
    assert say(model, "What is my name?", system=system)["message"]["content"] == "Your name is Alice."
    assert say(model, "Which order is mine?", system=system)["message"]["content"] == "Your order is 12."
