"""What is said to a model and what it answers, in words of our own: no library's types leave ``model``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import JsonValue

from parley.protocol.messages import MAX_TOKENS, Usage

JsonSchema = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the system, the user or the assistant."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A call that the model asks for; ``id`` is the model's own name for it."""

    id: str
    name: str
    arguments: JsonValue


@dataclass(frozen=True, slots=True)
class Called:
    """An assistant's message that asks for calls, and what they gave, in the order of the calls."""

    text: str
    calls: tuple[ModelCall, ...]
    results: tuple[JsonValue, ...]


ChatMessage = Said | Called


def tokens(input_tokens: int, output_tokens: int) -> Usage:
    """Count tokens as a server says, within what the store can hold: a server may say anything."""
    return Usage(
        input_tokens=min(max(input_tokens, 0), MAX_TOKENS),
        output_tokens=min(max(output_tokens, 0), MAX_TOKENS),
    )


@dataclass(frozen=True, slots=True)
class ModelReply:
    """What a model answered.

    ``ending`` is ``complete``, ``length`` (cut off at the token limit) or ``refused``; ``text`` is then the
    refusal's, if it gave one. ``model`` names the model that answered, once that is known: agents have fallbacks.
    """

    text: str
    usage: Usage
    ending: Literal["complete", "length", "refused"] = "complete"
    calls: tuple[ModelCall, ...] = ()
    model: str = ""


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool as a model is offered it; ``parameters`` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: JsonSchema


class ModelFailure(Exception):
    """The model's server did not answer the request.

    Attributes:
        message: what happened, without naming model or server; free of secrets.
        status: HTTP status, None when no answer came.
        retryable: the same request may succeed later.
        rate_limited: the server asked to slow down.
        retry_after: seconds the server asked to wait.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retryable: bool,
        rate_limited: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.retryable = retryable
        self.rate_limited = rate_limited
        self.retry_after = retry_after


class ChatModel(Protocol):
    """A model one can ask."""

    async def ask(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: JsonSchema | None,
        tools: Sequence[ToolDefinition] = (),
        timeout_seconds: float,
        on_text: Callable[[str], None] | None = None,
    ) -> ModelReply:
        """Send the whole conversation, get the next message; with ``schema``, one that should fit it.

        With ``tools`` that message may ask for calls instead. ``on_text`` is told its text piece by piece as it comes,
        as far as the server sends it so.

        Raises:
            ModelFailure: there is no answer.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...
