"""Rounds of one attempt: ask the model, run what it calls, ask again, until it answers without a call.

Each response that contains calls is journaled before its calls run, each call before and each result after it
runs; an attempt that continues another's work finds them there and asks for the missing rounds only.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from pydantic import Field, JsonValue, TypeAdapter

from parley.protocol.messages import CallBody, EventDraft, JournalEntry, ResponseBody, Usage
from parley.protocol.request import ProtocolModel
from parley.resources.reasons import Reason
from parley.runner.chat import Called, ChatMessage, ModelCall, ModelReply, tokens
from parley.runner.failure import StepFailure
from parley.runner.gateway_client import GatewayClient

MAX_ROUNDS_WITH_CALLS = 8
_RESPONSE = -1


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


_RESPONSES = TypeAdapter(JournaledResponse)


class Rounds:
    """The rounds of one attempt.

    Args:
        gateway: where the journal is.
        attempt: the attempt's id.
        journal: what earlier attempts of this step have journaled.
        ask: sends the conversation to the model.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        attempt: int,
        journal: Sequence[JournalEntry],
        ask: Callable[[Sequence[ChatMessage]], Awaitable[ModelReply]],
    ) -> None:
        self._gateway = gateway
        self._attempt = attempt
        self._journal: Mapping[tuple[int, int], JournalEntry] = {(e.round, e.call): e for e in journal}
        self._ask = ask
        self._round = 0
        self._spent = Usage()
        self.events: list[EventDraft] = []
        """What the rounds so far add to the session: calls and results."""

    @property
    def spent(self) -> Usage:
        """Tokens of this attempt that no journaled response carries: the outcome must."""
        return self._spent

    async def answer(self, messages: list[ChatMessage]) -> ModelReply:
        """Get an answer without calls; what led to it is appended to ``messages``.

        Raises:
            StepFailure: ModelError, definite, after too many rounds: the journal would repeat them.
        """
        while True:
            response = await self._response(messages)
            if isinstance(response, ModelReply):
                return response
            if self._round >= MAX_ROUNDS_WITH_CALLS:
                raise StepFailure(
                    Reason.MODEL_ERROR,
                    f"the model asked for calls {MAX_ROUNDS_WITH_CALLS} times in a row without an answer",
                    definite=True,
                )
            calls = tuple(ModelCall(c.id, c.name, c.arguments) for c in response.calls)
            results = tuple([await self._run(index, call) for index, call in enumerate(calls)])
            messages.append(Called(response.text, calls, results))
            self._round += 1

    async def _response(self, messages: list[ChatMessage]) -> JournaledResponse | ModelReply:
        """Ask for this round's response, unless the journal has it; only one with calls is journaled."""
        if entry := self._journal.get((self._round, _RESPONSE)):
            return _RESPONSES.validate_python(entry.result)
        reply = await self._ask(messages)
        if not reply.calls:
            self._spent = add(self._spent, reply.usage)
            return reply
        response = JournaledResponse(
            text=reply.text,
            calls=[JournaledCall(id=c.id, name=c.name, arguments=c.arguments) for c in reply.calls],
            model=reply.model,
        )
        body = ResponseBody(response=response.model_dump(mode="json", by_alias=True), usage=reply.usage)
        stored = await self._gateway.journal_response(self._attempt, self._round, body)
        return _RESPONSES.validate_python(stored.stored)

    async def _run(self, index: int, call: ModelCall) -> JsonValue:
        """Run one call, or take its result from the journal."""
        place: dict[str, JsonValue] = {"round": self._round, "call": index, "tool": call.name}
        self.events.append(EventDraft(type="toolCall", content={**place, "arguments": call.arguments}))
        entry = self._journal.get((self._round, index))
        if entry is not None and entry.done:
            result = entry.result
        else:
            begun = CallBody(begun={"tool": call.name})
            await self._gateway.journal_call(self._attempt, self._round, index, begun)
            # No tools are offered yet, so whatever a model calls, it has made up.
            answer: JsonValue = {"error": f"there is no tool called {call.name!r}"}
            body = CallBody(result=answer)
            result = (await self._gateway.journal_call(self._attempt, self._round, index, body)).stored
        self.events.append(EventDraft(type="toolResult", content={**place, "result": result}))
        return result


def add(first: Usage, second: Usage) -> Usage:
    """Add up tokens."""
    return tokens(first.input_tokens + second.input_tokens, first.output_tokens + second.output_tokens)
