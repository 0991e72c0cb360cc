"""A step's journal: what its attempts have asked for and got, so that none of it is done again.

Each response that contains calls is journaled before its calls run, each call before and each result after it runs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field, JsonValue

from parley.protocol.messages import CallBody, ContextBody, JournalEntry, ReplyEntry, ResponseBody
from parley.protocol.request import ProtocolModel
from parley.runner.chat import ModelCall, ModelReply
from parley.runner.gateway_client import GatewayClient, TooLarge

RESPONSE = -1
"""Where a round's response stands among its calls."""


class JournaledCall(ProtocolModel):
    """A call within a journaled response."""

    id: str
    name: str
    arguments: JsonValue = None


class JournaledResponse(ProtocolModel):
    """A model's response as the journal keeps it: in words of our own, whichever library read it."""

    text: str = ""
    calls: list[JournaledCall] = Field(default_factory=list[JournaledCall])
    model: str = Field(default="", description="name and server of the model that gave it")

    @classmethod
    def of(cls, reply: ModelReply) -> "JournaledResponse":
        """Write a reply down. A call's id is the model's own; one that does not tell calls apart gets another."""
        ids = [call.id for call in reply.calls]
        told_apart = all(ids) and len(set(ids)) == len(ids)
        return cls(
            text=reply.text,
            calls=[
                JournaledCall(
                    id=call.id if told_apart else f"call_{place}", name=call.name, arguments=call.arguments
                )
                for place, call in enumerate(reply.calls)
            ],
            model=reply.model,
        )

    @property
    def model_calls(self) -> tuple[ModelCall, ...]:
        """The calls as the model asked for them."""
        return tuple(ModelCall(call.id, call.name, call.arguments) for call in self.calls)


@dataclass(frozen=True, slots=True)
class Done:
    """A call's result, which may be null."""

    result: JsonValue


class Journal:
    """The journal of one step, as one of its attempts finds and continues it.

    Args:
        gateway: where it is kept.
        attempt: the attempt's id.
        entries: what earlier attempts have journaled.
        replies: what people have decided on its calls.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        attempt: int,
        entries: Sequence[JournalEntry],
        replies: Sequence[ReplyEntry] = (),
    ) -> None:
        self._gateway = gateway
        self._attempt = attempt
        self._entries = {(entry.round, entry.call): entry for entry in entries}
        self._decisions = {(reply.round, reply.call): reply for reply in replies}

    def response(self, round_number: int) -> JournaledResponse | None:
        """A round's response, None if it was never given, or had no calls."""
        entry = self._entries.get((round_number, RESPONSE))
        return None if entry is None else JournaledResponse.model_validate(entry.result)

    async def put_response(self, round_number: int, reply: ModelReply) -> JournaledResponse:
        """Write a response down; returns what was written first.

        Raises:
            TooLarge: it is larger than the store takes.
        """
        response = JournaledResponse.of(reply).model_dump(mode="json", by_alias=True)
        body = ResponseBody(response=response, usage=reply.usage)
        stored = await self._gateway.journal_response(self._attempt, round_number, body)
        return JournaledResponse.model_validate(stored.stored)

    def result(self, round_number: int, call: int) -> Done | None:
        """A call's result if there is one."""
        entry = self._entries.get((round_number, call))
        return Done(entry.result) if entry is not None and entry.done else None

    def decision(self, round_number: int, call: int) -> ReplyEntry | None:
        """What a person has decided on a call, or the default when nobody did in time."""
        return self._decisions.get((round_number, call))

    async def begin(self, round_number: int, call: int, tool: str) -> str:
        """Write down that a call begins; returns its idempotency key, the same for all attempts of the step."""
        body = CallBody(begun={"tool": tool})
        return (await self._gateway.journal_call(self._attempt, round_number, call, body)).key

    async def put_result(self, round_number: int, call: int, result: JsonValue) -> JsonValue:
        """Write a result down; returns what was written first. One that the store cannot hold becomes an error."""
        try:
            stored = await self._gateway.journal_call(
                self._attempt, round_number, call, CallBody(result=result)
            )
        except TooLarge as error:
            body = CallBody(result=error_result(f"the result is too large to be stored: {error}"))
            stored = await self._gateway.journal_call(self._attempt, round_number, call, body)
        return stored.stored

    async def update_context(self, round_number: int, call: int, body: ContextBody) -> JsonValue:
        """Change the session's context for a call, once; returns the call's result."""
        return (await self._gateway.update_context(self._attempt, round_number, call, body)).stored


def error_result(message: str) -> dict[str, JsonValue]:
    """What a model is told of a call that has no result."""
    return {"error": message}


def error_in(result: JsonValue) -> str | None:
    """The error that a result is, if it is one."""
    if isinstance(result, dict) and set(result) == {"error"} and isinstance(result["error"], str):
        return result["error"]
    return None


def size_of(value: JsonValue) -> int:
    """Bytes of a value as compact JSON."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
