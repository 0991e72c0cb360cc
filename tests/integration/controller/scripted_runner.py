"""A runner that does what the real one does, with a model that says what a test says.

It journals a response before its calls run, runs at once what it may, and pauses for the rest: for a person, for a
container, for a Task. A resumed attempt goes on from the journal.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from parley.protocol.messages import (
    CallBody,
    EventDraft,
    FinishBody,
    InputBody,
    InputMessage,
    PauseBody,
    PausedCall,
    ResponseBody,
    TakeAnswer,
    Usage,
)
from parley.protocol.request import PromptRequest
from parley.resources.tools import ToolSpec, tool_called
from parley.store import runner_calls
from parley.store.pool import Connection

Asked = list[tuple[str, dict[str, Any]]]
"""Calls by tool and arguments: what a model answers when it wants something done first."""
Script = Sequence[Asked | str]
"""What a model answers, round by round; the last is a text."""


@dataclass
class ScriptedRunner:
    """One attempt in one pod. ``taken`` is what it was told, ``ran`` the calls it ran itself, with their keys."""

    connection: Connection
    holder: str
    script: Script
    taken: TakeAnswer
    ran: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def run(self) -> None:
        """Bring the attempt to its outcome."""
        request = self.taken.request
        if isinstance(request, PromptRequest):
            asked = InputBody(
                messages=[InputMessage(role="user", content=str(request.prompt.text))],
                speaker=request.speaker,
            )
            await runner_calls.record_input(self.connection, self.taken.attempt, self.holder, asked)
            for number, said in enumerate(self.script):
                if isinstance(said, str):
                    await self._finish(output=said)
                elif not await self._round(number, said):
                    return
        elif await self._round(0, [(request.tool.name, dict(request.tool.arguments))]):
            await self._finish_call()

    async def _round(self, number: int, asked: Asked) -> bool:
        """Run a round's calls; False when the attempt has paused for some."""
        calls = [{"name": name, "arguments": arguments} for name, arguments in asked]
        response = ResponseBody(
            response=cast("Any", {"calls": calls}), usage=Usage(input_tokens=3, output_tokens=2)
        )
        attempt = self.taken.attempt
        await runner_calls.put_response(self.connection, attempt, self.holder, number, response)
        waits: list[PausedCall] = []
        for index, (name, arguments) in enumerate(asked):
            kind = await self._call(number, index, name)
            if kind is not None:
                waits.append(
                    PausedCall(
                        round=number, call=index, kind=kind, tool=name, arguments=cast("Any", arguments)
                    )
                )
        if waits:
            body = PauseBody(calls=waits, events=self._events(number, asked))
            await runner_calls.pause(self.connection, attempt, self.holder, body)
        return not waits

    async def _call(
        self, number: int, index: int, name: str
    ) -> Literal["Approval", "Container", "Task"] | None:
        """Run a call, or say what it waits for."""
        if self._result(number, index) is not None:
            return None
        tool = self._tool(name)
        reply = next((r for r in self.taken.replies if (r.round, r.call) == (number, index)), None)
        if tool.needs_approval and reply is None:
            return "Approval"
        if reply is not None and reply.choice != "approve":
            await self._put(
                number, index, CallBody(result={"error": f"rejected by {reply.by}: {reply.message}"})
            )
            return None
        if tool.container is not None:
            return "Container"
        if tool.task is not None:
            return "Task"
        key = await self._put(number, index, CallBody(begun={"tool": name}))
        self.ran.append((name, key))
        await self._put(number, index, CallBody(result={"result of": name}))
        return None

    async def _put(self, number: int, index: int, body: CallBody) -> str:
        stored = await runner_calls.put_call(
            self.connection, self.taken.attempt, self.holder, number, index, body
        )
        return stored.key

    def _tool(self, name: str) -> ToolSpec:
        tool = tool_called(self.taken.request.agent.tools, name)
        assert tool is not None, f"the agent has no tool {name}"
        return tool

    def _result(self, number: int, index: int) -> Any:
        """The result of a call that ended before this attempt began."""
        for entry in self.taken.journal:
            if (entry.round, entry.call) == (number, index) and entry.done:
                return entry.result
        return None

    def _events(self, number: int, asked: Asked) -> list[EventDraft]:
        if not isinstance(self.taken.request, PromptRequest) or self.taken.request.history != "Session":
            return []
        step = self.taken.request.step
        return [
            EventDraft(
                type="toolCall",
                key=f"call/{number}/{index}",
                content=cast(
                    "Any",
                    {
                        "id": f"{step}/-1/{number}/{index}",
                        "round": number,
                        "call": index,
                        "tool": name,
                        "arguments": arguments,
                    },
                ),
            )
            for index, (name, arguments) in enumerate(asked)
        ]

    async def _finish(self, *, output: str) -> None:
        request = self.taken.request
        assert isinstance(request, PromptRequest)
        events: list[EventDraft] = []
        if request.history == "Session":
            for number, said in enumerate(self.script):
                if not isinstance(said, str):
                    events += [*self._events(number, said), *self._results(number, said)]
            events.append(
                EventDraft(type="message", role="assistant", content=output, speaker=request.agent.name)
            )
        usage = Usage(input_tokens=3, output_tokens=2)
        body = FinishBody(outcome="Succeeded", output=output, events=events, usage=usage)
        await runner_calls.finish(self.connection, self.taken.attempt, self.holder, body)

    def _results(self, number: int, asked: Asked) -> list[EventDraft]:
        step = self.taken.request.step
        return [
            EventDraft(
                type="toolResult",
                key=f"result/{number}/{index}",
                content=cast(
                    "Any",
                    {
                        "id": f"{step}/-1/{number}/{index}",
                        "round": number,
                        "call": index,
                        "tool": name,
                        "result": self._result(number, index),
                    },
                ),
            )
            for index, (name, _) in enumerate(asked)
        ]

    async def _finish_call(self) -> None:
        """End a tool step with its call's result."""
        reply = next(iter(self.taken.replies), None)
        result = self._result(0, 0)
        rejected = reply is not None and reply.choice != "approve"
        if rejected or (isinstance(result, dict) and "error" in result):
            body = FinishBody(
                outcome="Failed",
                reason=cast("Any", "Rejected" if rejected else "ToolError"),
                message=str(result or "rejected"),
                definite=rejected,
            )
        else:
            body = FinishBody(outcome="Succeeded", output=result or {"result of": self.ran[0][0]})
        await runner_calls.finish(self.connection, self.taken.attempt, self.holder, body)
