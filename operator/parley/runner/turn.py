"""A prompt step's attempt: offer tools, render, store the input, ask the model, until there is an answer or a pause."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from parley.protocol.messages import (
    EventDraft,
    FinishBody,
    InputBody,
    InputMessage,
    PauseBody,
    TakeAnswer,
    Usage,
)
from parley.protocol.request import PromptRequest, SessionSnapshot
from parley.runner.answers import check_ending, check_size
from parley.runner.calls import Calls
from parley.runner.chat import ChatMessage, ModelReply, ToolDefinition
from parley.runner.conversation import Conversation, Limits
from parley.runner.deltas import Deltas
from parley.runner.fallbacks import ModelChain
from parley.runner.journal import Journal
from parley.runner.limits import tokens_of_tools
from parley.runner.means import Means
from parley.runner.past import Reader, past_of
from parley.runner.prompt import Prompt, render_prompt, step_scope
from parley.runner.rounds import Paused, Rounds, add
from parley.runner.summary import sum_up, summary_event
from parley.runner.tool_opening import OpenTools, offered_by, open_tools
from parley.runner.transcript import Transcript

if TYPE_CHECKING:
    from parley.runner.structured import OutputSchema


class Turn:
    """One attempt of a prompt step."""

    def __init__(self, taken: TakeAnswer, request: PromptRequest, means: Means) -> None:
        self._taken = taken
        self._request = request
        self._means = means
        self._models: ModelChain | None = None
        self._deltas = Deltas(means.gateway, taken.attempt)
        self.spent = Usage()
        """Tokens that no journaled response carries: the outcome must."""

    async def run(self) -> FinishBody | PauseBody:
        """Run it.

        Raises:
            StepFailure: it has failed.
        """
        request = self._request
        schema = _output_schema(request)
        scope = step_scope(request, self._taken.outputs)
        tools = await open_tools(self._means.load_tools, request.agent, self._means.secrets, scope)
        try:
            offered = await offered_by(tools, request.agent)
            prompt = await render_prompt(request, scope, self._taken.input, offered, self._means.renderer)
            return await self._talk(prompt, tools, offered, schema)
        finally:
            await tools.close()
            self._deltas.stop()
            if self._models is not None:
                await self._models.close()

    async def close(self) -> None:
        """End what may go on for a moment once the outcome is committed."""
        await self._deltas.close()

    async def _talk(
        self,
        prompt: Prompt,
        tools: OpenTools,
        offered: Sequence[ToolDefinition],
        schema: "OutputSchema | None",
    ) -> FinishBody | PauseBody:
        request, session = self._request, self._request.session
        reader = Reader(request.agent.name, request.several, knows_tools=bool(offered))
        past = past_of(self._taken.history, reader)
        talk = Conversation(
            prompt.system, past, len(prompt.messages), _limits(session), tokens_of_tools(offered)
        )
        own, talk = await self._input(prompt.messages, talk, reader)
        models = await self._connected()

        async def ask(said: Sequence[ChatMessage]) -> ModelReply:
            on_text = self._deltas.hears(rounds.number) if self._is_watched else None
            return await models.ask(
                talk.shown(said), schema.for_model() if schema else None, offered, on_text
            )

        journal = Journal(self._means.gateway, self._taken.attempt, self._taken.journal, self._taken.replies)
        version = session.context_version if session else None
        calls = Calls(journal, tools, [tool.name for tool in offered], version, self._means.remaining)
        transcript = Transcript(
            request.step, -1 if request.index is None else request.index, request.agent.name
        )
        rounds = Rounds(
            journal,
            calls if request.auto_run_tools else None,
            transcript,
            ask,
            request.agent.max_tool_rounds,
            self._count,
        )
        try:
            return await self._answer(rounds, transcript, models, own, schema)
        except Paused as paused:
            return PauseBody(calls=paused.waiting, events=self._said(transcript.events), usage=self.spent)

    @property
    def _is_watched(self) -> bool:
        """Whether people may read the answer while it is given: it is a session's, and meant for people."""
        return self._request.history == "Session" and self._request.prompt.output_schema is None

    async def _input(
        self, messages: Sequence[InputMessage], talk: Conversation, reader: Reader
    ) -> tuple[list[ChatMessage], Conversation]:
        """Store this turn's messages before the model sees them; what an earlier attempt stored wins.

        Where the past must be summed up, the summary is stored with them.
        """
        if self._taken.input is None and self._request.history == "Session":
            talk, event = await self._sum_up(self._shown(messages, reader), talk)
            given = {"speaker": self._request.speaker, "summary": event}
            body = InputBody.model_validate(
                {"messages": list(messages)}
                | {name: value for name, value in given.items() if value is not None}
            )
            messages = (await self._means.gateway.input(self._taken.attempt, body)).messages
        return self._shown(messages, reader), talk

    async def _sum_up(
        self, own: Sequence[ChatMessage], talk: Conversation
    ) -> tuple[Conversation, EventDraft | None]:
        stands_for = talk.to_sum_up(own)
        if not stands_for:
            return talk, None
        models = await self._connected()

        async def ask(said: Sequence[ChatMessage]) -> ModelReply:
            reply = await models.ask(said, None)
            self._count(reply.usage)
            return reply

        limits = _limits(self._request.session)
        summary = await sum_up(ask, talk.past, stands_for, limits.summary_bytes, limits.budget)
        return talk.with_summary(summary, len(stands_for)), summary_event(summary)

    async def _answer(
        self,
        rounds: Rounds,
        transcript: Transcript,
        models: ModelChain,
        messages: list[ChatMessage],
        schema: "OutputSchema | None",
    ) -> FinishBody:
        """Get the answer's text and the step's output; with a schema, let the model mend an answer."""

        async def answer() -> str:
            reply = await rounds.answer(messages)
            if reply.calls:
                raise _CallsReturned(reply)
            check_ending(reply, self._request.agent.name, models)
            return reply.text

        output: JsonValue
        try:
            if schema is not None:
                output = await schema.obtain(answer, messages, lambda: models.label)
                text = json.dumps(output, ensure_ascii=False, separators=(",", ":"))
            else:
                text = await answer()
                output = text if self._request.auto_run_tools else {"text": text, "calls": []}
        except _CallsReturned as returned:
            text, output = None, self._returned(returned.reply, transcript)
        check_size(output, self._request.path)
        return FinishBody(
            outcome="Succeeded",
            output=output,
            events=self._said(transcript.events, text),
            usage=self.spent,
            message=models.note,
        )

    def _returned(self, reply: ModelReply, transcript: Transcript) -> JsonValue:
        """Calls that are the caller's to carry out, as the step's output."""
        transcript.add_calls_not_run(reply.text, reply.calls)
        calls: list[JsonValue] = [{"name": call.name, "arguments": call.arguments} for call in reply.calls]
        return {"text": reply.text, "calls": calls}

    def _said(self, events: Sequence[EventDraft], text: str | None = None) -> list[EventDraft]:
        """What the turn adds to its session."""
        if self._request.history == "None":
            return []
        if text is None:
            return list(events)
        speaker = self._request.agent.name
        return [*events, EventDraft(type="message", role="assistant", content=text, speaker=speaker)]

    def _shown(self, messages: Sequence[InputMessage], reader: Reader) -> list[ChatMessage]:
        """This turn's messages as the model sees them; the assistant's among them are this agent's own."""
        names = {"user": self._request.speaker, "assistant": self._request.agent.name}
        return [reader.said(said.role, said.content, names[said.role]) for said in messages]

    async def _connected(self) -> ModelChain:
        """The agent's models; the library behind them is imported while all before this goes on."""
        if self._models is None:
            connect = await self._means.loading
            self._models = ModelChain(
                self._request.agent.model, self._means.secrets, connect, self._means.remaining
            )
        return self._models

    def _count(self, usage: Usage) -> None:
        self.spent = add(self.spent, usage)


class _CallsReturned(Exception):
    """The model's answer is calls, and they are not for the runner to carry out."""

    def __init__(self, reply: ModelReply) -> None:
        super().__init__(f"{len(reply.calls)} calls")
        self.reply = reply


def _limits(session: SessionSnapshot | None) -> Limits:
    if session is None:
        return Limits()
    return Limits(session.context_window, session.token_budget, session.context_overflow, session.name)


def _output_schema(request: PromptRequest) -> "OutputSchema | None":
    if request.prompt.output_schema is None:
        return None
    # Its library takes a fifth as long to import as all the rest, and most steps do without.
    from parley.runner.structured import OutputSchema  # noqa: PLC0415

    return OutputSchema(request.prompt.output_schema, f"{request.path}.outputSchema")
