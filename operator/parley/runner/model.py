"""The seam to the agent library: one request to one model, whichever provider's API it speaks.

Importing this module takes about a second, so it is done while the gateway's first answer is on its way.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, cast

import httpx2
from pydantic_ai.direct import model_request, model_request_stream
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
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.tools import ToolDefinition as LibraryTool

from parley.resources.agent import ModelEndpoint
from parley.resources.common import shorten
from parley.runner.chat import ChatMessage, JsonSchema, ModelFailure, ModelReply, Said, ToolDefinition
from parley.runner.providers import connect, settings_of
from parley.runner.text import storable_text
from parley.runner.translation import from_library, to_library

CONNECT_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 120.0
"""How long an idle connection is kept, where the model is: people take their time to answer."""
WHOLE_SECONDS = 300.0
"""How long a server that does not stream is asked for whole answers only."""
BROKEN_SECONDS = 10.0
"""How long one is whose stream broke: long enough for the answer that is asked for again. It is twice as long each time
that streams break one after the other: of a model that many conversations share, one may have a bad day."""
MAX_SERVER_MESSAGE_BYTES = 512
_RETRYABLE_STATUS = frozenset({408, 409, 425, 429})
_REFUSES_STREAM = frozenset({400, 404, 405, 406, 415, 422, 501})


class LibraryModel:
    """``ChatModel`` for all providers. Imports the provider's SDK, so it is not made in the event loop's thread.

    Raises:
        ModelFailure: the key cannot be sent.
    """

    def __init__(self, spec: ModelEndpoint, api_key: str | None) -> None:
        self._key = (api_key or "").strip()
        if not self._key.isascii() or not self._key.isprintable():
            # Such a key would fail as a connection error, which hides the cause.
            reference = spec.api_key_secret_ref
            where = f"key {reference.key} of Secret {reference.name}" if reference else "the Secret"
            raise ModelFailure(
                f"has an API key with characters that cannot be sent: check {where}, which its apiKeySecretRef names",
                retryable=False,
            )
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(
                max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEP_ALIVE_SECONDS
            ),
            # A server's cookies would tie the conversations together that are held over this client.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        self._whole_until = 0.0
        self._broken = 0
        self._provider = spec.provider
        self._model = connect(spec, self._key, self._http)
        self._settings = settings_of(spec)

    async def ask(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: JsonSchema | None,
        tools: Sequence[ToolDefinition] = (),
        timeout_seconds: float,
        on_text: Callable[[str], None] | None = None,
    ) -> ModelReply:
        """See ``ChatModel``."""
        parameters = ModelRequestParameters(function_tools=[_to_library(tool) for tool in tools])
        if schema is not None and self._takes_schema(tools):
            wanted = OutputObjectDefinition(json_schema=cast("dict[str, Any]", schema), name="output")
            parameters = replace(parameters, output_mode="native", output_object=wanted)
        elif schema is not None:
            messages = [_in_words(schema), *messages]
        try:
            async with asyncio.timeout(timeout_seconds):
                response = await self._response(to_library(messages), parameters, on_text)
        except TimeoutError:
            raise ModelFailure(f"did not answer within {timeout_seconds:.0f} s", retryable=True) from None
        except (ModelAPIError, UnexpectedModelBehavior, UserError) as error:
            raise self._failure(error) from error
        return from_library(response)

    async def _response(
        self,
        messages: list[ModelMessage],
        parameters: ModelRequestParameters,
        on_text: Callable[[str], None] | None,
    ) -> ModelResponse:
        clock = asyncio.get_running_loop().time
        if on_text is not None and clock() >= self._whole_until:
            try:
                return await self._streamed(messages, parameters, on_text)
            except ModelHTTPError as error:
                if error.status_code not in _REFUSES_STREAM or "stream" not in _server_message(error).lower():
                    raise
                self._whole_until = clock() + WHOLE_SECONDS
            except (ModelConnectionError, UserError):
                raise
            except (ModelAPIError, UnexpectedModelBehavior):
                # Whether it does not stream as it should, or has a bad day: it may do better in one piece.
                # Streams of other conversations that began before and break with it are the same bad day.
                if clock() >= self._whole_until:
                    self._whole_until = clock() + whole_seconds(self._broken)
                    self._broken += 1
                raise
        return await model_request(
            self._model, messages, model_settings=self._settings, model_request_parameters=parameters
        )

    async def _streamed(
        self,
        messages: list[ModelMessage],
        parameters: ModelRequestParameters,
        on_text: Callable[[str], None],
    ) -> ModelResponse:
        """Make the request, telling the answer's text as it comes; the result is the same as in one piece."""
        try:
            async with model_request_stream(
                self._model, messages, model_settings=self._settings, model_request_parameters=parameters
            ) as stream:
                async for event in stream:
                    if text := _text_of(event):
                        on_text(text)
                response = stream.get()
        except httpx2.TransportError as error:
            # Once the answer has begun, not all SDKs put what breaks it off in errors of their own.
            raise ModelConnectionError(self._model.model_name, str(error) or type(error).__name__) from error
        details = response.provider_details or {}
        if response.finish_reason is None and not details.get("finish_reason"):
            raise UnexpectedModelBehavior("the stream ended before the answer did")
        self._broken = 0
        return response

    async def close(self) -> None:
        """Close the connections to the model's server."""
        await self._http.aclose()

    def _takes_schema(self, tools: Sequence[ToolDefinition]) -> bool:
        """Whether the model's API can be told a schema; Google's older models cannot beside tools."""
        profile = self._model.profile
        if (
            tools
            and self._provider == "Google"
            and not profile.get("google_supports_tool_combination", False)
        ):
            return False
        return bool(profile.get("supports_json_schema_output", True))

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


def whole_seconds(broken: int) -> float:
    """Return how long to ask for whole answers after so many broken streams in a row before this one."""
    return min(BROKEN_SECONDS * 2 ** min(broken, 10), WHOLE_SECONDS)


def _text_of(event: ModelResponseStreamEvent) -> str:
    """The text that an event of a streamed answer adds."""
    match event:
        case PartStartEvent(part=TextPart(content=text)):
            return text
        case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
            return text
        case _:
            return ""


def _to_library(tool: ToolDefinition) -> LibraryTool:
    # Not strict: a provider's strict mode takes only some schemas, and we check the arguments ourselves.
    return LibraryTool(
        name=tool.name,
        description=tool.description or None,
        parameters_json_schema=cast("dict[str, Any]", tool.parameters),
        strict=False,
    )


def _in_words(schema: JsonSchema) -> Said:
    """Ask for structured output of a model whose API cannot be told the schema; the answer is checked all the same."""
    text = json.dumps(schema, ensure_ascii=False)
    return Said("system", f"Answer with JSON and nothing else. It must fit this JSON Schema:\n{text}")


def _server_message(error: ModelHTTPError) -> str:
    told = _within(error.body, "error") or error.body
    message = _within(told, "message")
    if isinstance(message, str) and message:
        return message
    return str(told) if told else "no explanation"


def _within(value: object, name: str) -> object:
    return cast("dict[str, object]", value).get(name) if isinstance(value, dict) else None


def _root_cause(error: BaseException) -> str:
    """Say what the innermost error says: the outer ones only say that there was a connection error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
