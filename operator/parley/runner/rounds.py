"""Rounds of one attempt: ask the model, carry out what it calls, ask again, until it answers without a call.

An attempt that continues another's work finds in the journal what was asked for and done, and goes on from there.
"""

from collections.abc import Awaitable, Callable, Sequence

from pydantic import JsonValue

from parley.protocol.messages import PausedCall, Usage
from parley.resources.reasons import Reason
from parley.runner.calls import Calls
from parley.runner.chat import Called, ChatMessage, ModelReply, tokens
from parley.runner.failure import StepFailure
from parley.runner.journal import Journal, JournaledResponse
from parley.runner.transcript import Transcript

MAX_CALLS = 64
"""Most calls that a model may ask for at once."""


class Paused(Exception):
    """The round's other calls are done; these wait for a person, a Job or a Task."""

    def __init__(self, waiting: list[PausedCall]) -> None:
        super().__init__(f"{len(waiting)} calls wait")
        self.waiting = waiting


class Rounds:
    """The rounds of one attempt.

    Args:
        journal: of the step.
        calls: carries out what the model asks for; None: calls are an answer, and nothing is carried out.
        transcript: where calls and results are added for the session.
        ask: sends the conversation to the model.
        limit: how many rounds may ask for calls.
        count: is told the tokens that no journaled response carries.
    """

    def __init__(
        self,
        journal: Journal,
        calls: Calls | None,
        transcript: Transcript,
        ask: Callable[[Sequence[ChatMessage]], Awaitable[ModelReply]],
        limit: int,
        count: Callable[[Usage], None],
    ) -> None:
        self._journal = journal
        self._calls = calls
        self._transcript = transcript
        self._ask = ask
        self._limit = limit
        self._count = count
        self._round = 0

    @property
    def number(self) -> int:
        """Of the round under way, from 0."""
        return self._round

    async def answer(self, messages: list[ChatMessage]) -> ModelReply:
        """Get an answer; what led to it is appended to ``messages``. It has calls only if none are carried out.

        Raises:
            Paused: calls wait.
            StepFailure: ModelError, definite, after too many rounds: the journal would repeat them.
        """
        while True:
            response = await self._response(messages)
            if isinstance(response, ModelReply):
                return response
            messages.append(await self._carry_out(response))
            self._round += 1

    async def _carry_out(self, response: JournaledResponse) -> Called:
        if self._calls is None:
            raise AssertionError("nothing is journaled where nothing is carried out")
        if self._round >= self._limit:
            raise StepFailure(
                Reason.MODEL_ERROR,
                f"the model asked for calls {self._limit + 1} times in a row without an answer; the agent's "
                f"limits.maxToolRounds is {self._limit}",
                definite=True,
            )
        calls = response.model_calls
        outcome = await self._calls.run(self._round, calls)
        self._transcript.add_round(self._round, response.text, calls, outcome.results)
        if outcome.waiting:
            raise Paused(outcome.waiting)
        results: tuple[JsonValue, ...] = tuple(outcome.results[place] for place in range(len(calls)))
        return Called(response.text, calls, results)

    async def _response(self, messages: list[ChatMessage]) -> JournaledResponse | ModelReply:
        """Ask for this round's response, unless the journal has it; only one with calls to carry out is journaled."""
        if self._calls is not None and (stored := self._journal.response(self._round)) is not None:
            return stored
        reply = await self._ask(messages)
        if len(reply.calls) > MAX_CALLS:
            self._count(reply.usage)
            message = (
                f"the model asked for {len(reply.calls)} calls at once; at most {MAX_CALLS} are carried out"
            )
            raise StepFailure(Reason.MODEL_ERROR, message)
        if not reply.calls or self._calls is None:
            self._count(reply.usage)
            return reply
        return await self._journal.put_response(self._round, reply)


def add(first: Usage, second: Usage) -> Usage:
    """Add up tokens."""
    return tokens(first.input_tokens + second.input_tokens, first.output_tokens + second.output_tokens)
