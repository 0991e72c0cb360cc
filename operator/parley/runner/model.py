"""The one place that knows the agent library: from our messages to the model's server and back.

Importing this module takes about a second, so it is done while the gateway's first answer is on its way.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

import httpx2
from pydantic import JsonValue
from pydantic_ai.direct import model_request
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelConnectionError,
    ModelHTTPError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    UnexpectedModelBehavior,
    UserError,
)
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from parley.resources.agent import ModelSpec
from parley.resources.common import shorten
from parley.runner.chat import Called, ChatMessage, JsonSchema, ModelCall, ModelFailure, ModelReply, tokens
from parley.runner.failure import OPENAI_URL
from parley.runner.text import storable, storable_text

NO_KEY = "none"
"""Sent where a model needs no key: the API's clients insist on one."""
CONNECT_SECONDS = 10.0
MAX_SERVER_MESSAGE_BYTES = 512
_RETRYABLE_STATUS = frozenset({408, 409, 425, 429})


class OpenAIModel:
    """``ChatModel`` for anything that speaks OpenAI's chat completions API."""

    def __init__(self, spec: ModelSpec, api_key: str | None) -> None:
        self._key = (api_key or "").strip()
        if not self._key.isascii() or not self._key.isprintable():
            # Such a key would fail as a connection error, which hides the cause.
            raise ModelFailure(
                "the API key holds characters that cannot be sent: check the Secret that "
                "spec.model.apiKeySecretRef names",
                retryable=False,
            )
        self._http = httpx2.AsyncClient(timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS))
        provider = OpenAIProvider(
            base_url=spec.base_url or OPENAI_URL, api_key=self._key or NO_KEY, http_client=self._http
        )
        self._model = OpenAIChatModel(spec.name, provider=provider)
        # Our own retries honour the attempt's deadline; the SDK's must not multiply them.
        self._settings = ModelSettings(max_retries=0)
        if spec.temperature is not None:
            self._settings["temperature"] = float(spec.temperature)
        if spec.max_output_tokens is not None:
            self._settings["max_tokens"] = spec.max_output_tokens

    async def ask(
        self, messages: Sequence[ChatMessage], *, schema: JsonSchema | None, timeout_seconds: float
    ) -> ModelReply:
        """See ``ChatModel``."""
        parameters = ModelRequestParameters()
        if schema is not None:
            wanted = OutputObjectDefinition(json_schema=cast("dict[str, Any]", schema), name="output")
            parameters = ModelRequestParameters(output_mode="native", output_object=wanted)
        try:
            async with asyncio.timeout(timeout_seconds):
                response = await model_request(
                    self._model,
                    _to_library(messages),
                    model_settings=self._settings,
                    model_request_parameters=parameters,
                )
        except TimeoutError:
            raise ModelFailure(f"did not answer within {timeout_seconds:.0f} s", retryable=True) from None
        except (ModelAPIError, UnexpectedModelBehavior, UserError) as error:
            raise self._failure(error) from error
        return _from_library(response)

    async def close(self) -> None:
        """Close the connections to the model's server."""
        await self._http.aclose()

    def _failure(self, error: ModelAPIError | UnexpectedModelBehavior | UserError) -> ModelFailure:
        if isinstance(error, ModelHTTPError):
            status = error.status_code
            quota = isinstance(error, ModelQuotaExceededError)
            return ModelFailure(
                f"answered {status}: {self._clean(_server_message(error))}",
                status=status,
                retryable=not quota and (status in _RETRYABLE_STATUS or status >= 500),
                rate_limited=isinstance(error, ModelRateLimitError) or status == 429,
                retry_after=error.retry_after,
            )
        if isinstance(error, ModelConnectionError):
            return ModelFailure(f"cannot be reached: {self._clean(_root_cause(error))}", retryable=True)
        if isinstance(error, UserError):
            return ModelFailure(f"cannot be asked this: {self._clean(str(error))}", retryable=False)
        return ModelFailure(f"answered something unusable: {self._clean(str(error))}", retryable=True)

    def _clean(self, text: str) -> str:
        """Bound a server's text, and take the key out of it: some servers send back what they refuse."""
        if len(self._key) >= 4:
            text = text.replace(self._key, "***")
        return shorten(" ".join(storable_text(text).split()), MAX_SERVER_MESSAGE_BYTES)


def _to_library(messages: Sequence[ChatMessage]) -> list[ModelMessage]:
    """Translate; neighbouring messages of one side share a request or response, as the library wants."""
    translated: list[ModelMessage] = []
    for message in messages:
        if isinstance(message, Called):
            text: list[ModelResponsePart] = [TextPart(message.text)] if message.text else []
            calls = [ToolCallPart(c.name, json.dumps(c.arguments), c.id) for c in message.calls]
            translated.append(ModelResponse(parts=[*text, *calls]))
            results = zip(message.calls, message.results, strict=True)
            translated.append(
                ModelRequest(parts=[ToolReturnPart(c.name, result, c.id) for c, result in results])
            )
        elif message.role == "assistant":
            translated.append(ModelResponse(parts=[TextPart(message.text)]))
        else:
            part: ModelRequestPart = (
                SystemPromptPart(message.text) if message.role == "system" else UserPromptPart(message.text)
            )
            translated.append(ModelRequest(parts=[part]))
    return translated


def _from_library(response: ModelResponse) -> ModelReply:
    usage = tokens(response.usage.input_tokens, response.usage.output_tokens)
    text = storable_text("".join(part.content for part in response.parts if isinstance(part, TextPart)))
    calls = tuple(
        ModelCall(part.tool_call_id, storable_text(part.tool_name), _arguments(part))
        for part in response.parts
        if isinstance(part, ToolCallPart)
    )
    if response.finish_reason == "content_filter":
        refusal = (response.provider_details or {}).get("refusal")
        return ModelReply(storable_text(str(refusal or text)), usage, "refused")
    if response.finish_reason == "length":
        return ModelReply(text, usage, "length")
    return ModelReply(text, usage, calls=calls)


def _arguments(part: ToolCallPart) -> JsonValue:
    """A call's arguments as JSON; what is no JSON stays the string it is, for the model to be told so."""
    if not isinstance(part.args, str):
        return storable(cast("JsonValue", part.args or {}))
    try:
        return storable(json.loads(part.args or "{}"))
    except ValueError:
        return storable_text(part.args)


def _server_message(error: ModelHTTPError) -> str:
    body = error.body
    if isinstance(body, dict):
        message = cast("dict[str, object]", body).get("message")
        if isinstance(message, str) and message:
            return message
    return str(cast("object", body)) if body else "no explanation"


def _root_cause(error: BaseException) -> str:
    """Say what the innermost error says: the outer ones only say that there was a connection error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
