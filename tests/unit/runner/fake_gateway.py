"""A gateway in memory: one attempt, one holder, the first write wins, and failures on order."""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
from parley.protocol.messages import (
    CallBody,
    FinishBody,
    InputMessage,
    JournalEntry,
    PauseBody,
    StoredEvent,
    TakeAnswer,
)
from parley.protocol.request import PromptRequest, ToolRequest
from parley.runner.gateway_client import GatewayClient
from parley.runner.settings import RunnerSettings

ATTEMPT = 7


def prompt_request(**changes: Any) -> PromptRequest:
    """A prompt step in a session, with what is given changed."""
    base: dict[str, Any] = {
        "task": {"name": "hello", "namespace": "shop"},
        "step": "reply",
        "path": "spec.steps[0].prompt",
        "prompt": {"text": "echo: hello"},
        "literal": False,
        "history": "Session",
        "agent": {"name": "support", "model": {"provider": "OpenAI", "name": "scripted"}},
        "session": {"name": "alice"},
    }
    return PromptRequest.model_validate(base | changes)


def tool_request(name: str, arguments: dict[str, Any], **changes: Any) -> ToolRequest:
    """A tool step in a session, with what is given changed."""
    base: dict[str, Any] = {
        "task": {"name": "hello", "namespace": "shop"},
        "step": "lookup",
        "path": "spec.steps[0].tool",
        "tool": {"name": name, "arguments": arguments},
        "agent": {"name": "support", "model": {"provider": "OpenAI", "name": "scripted"}},
        "session": {"name": "alice"},
    }
    return ToolRequest.model_validate(base | changes)


def stored_event(sequence: int, role: str | None, content: Any, **more: Any) -> StoredEvent:
    """A message, or with ``type`` another event."""
    base = {"type": "message", "role": role, "content": content, "sequence": sequence}
    return StoredEvent.model_validate({**base, "time": "2026-01-01T00:00:00Z", **more})


class FakeGateway:
    """What the real one promises, as a transport for the client.

    ``fail`` makes the next requests of a call (take, input, journal, finish) answer otherwise; ``requests`` tells
    what was asked, in order, with the bodies as they arrived.
    """

    def __init__(
        self, request: PromptRequest | ToolRequest | None = None, *, token_file: Path, **taken: Any
    ) -> None:
        deadline = taken.pop("deadline", datetime.now(UTC) + timedelta(hours=1))
        self.taken = TakeAnswer(
            attempt=ATTEMPT,
            number=1,
            deadline=deadline,
            next_position=0,
            request=request or prompt_request(),
            **taken,
        )
        self.requests: list[tuple[str, Any]] = []
        self.headers: list[httpx2.Headers] = []
        self.input: list[InputMessage] | None = None
        self.journal: dict[tuple[int, int], JournalEntry] = {}
        self.outcome: dict[str, Any] | None = None
        self.paused: PauseBody | None = None
        self.context: dict[str, Any] = {}
        self.context_version = 0
        self.slept: list[float] = []
        self.time = 0.0
        self.on_request: Callable[[str], None] = lambda _call: None
        self._failures: deque[tuple[str, Any]] = deque()
        token_file.write_text("the-token\n")
        self.settings = RunnerSettings(
            gateway_url="http://gateway", store_id="store-1", token_file=token_file
        )

    def client(self) -> GatewayClient:
        """A client whose waits take no time but are counted."""

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.time += seconds
            await asyncio.sleep(0)

        transport = httpx2.MockTransport(self._answer)
        return GatewayClient(
            self.settings, "nonce-1", sleep=sleep, clock=lambda: self.time, transport=transport
        )

    def fail(
        self,
        call: str,
        status: int | Exception,
        *,
        times: int = 1,
        headers: dict[str, str] | None = None,
        **body: Any,
    ) -> None:
        """Answer the next ``times`` requests of a call with a status, or raise an error as a broken network does."""
        failure: Any = status
        if isinstance(status, int):
            problem = {"title": "Planned", "status": status, **body}
            failure = httpx2.Response(status, json=problem, headers=headers)
        self._failures.extend([(call, failure)] * times)

    def calls(self) -> list[str]:
        return [call for call, _ in self.requests]

    def bodies(self, call: str) -> list[Any]:
        return [body for name, body in self.requests if name == call]

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        parts = request.url.path.removeprefix("/runner/v1/").split("/")
        call = parts[0] if parts[0] == "take" else parts[2]
        body = json.loads(request.content) if request.content else None
        self.requests.append((call, body))
        self.headers.append(request.headers)
        self.on_request(call)
        if self._failures and self._failures[0][0] == call:
            _, failure = self._failures.popleft()
            if isinstance(failure, Exception):
                raise failure
            return failure
        answer = self._serve(call, parts, body)
        if answer is None:
            return httpx2.Response(204)
        return httpx2.Response(200, content=json.dumps(answer), headers={"Content-Type": "application/json"})

    def _serve(self, call: str, parts: list[str], body: Any) -> Any:
        if call == "take":
            return self.taken.model_dump(mode="json", by_alias=True)
        assert parts[1] == str(ATTEMPT)
        if call == "input":
            if self.input is None:
                self.input = [InputMessage.model_validate(message) for message in body["messages"]]
            stored = [message.model_dump(mode="json") for message in self.input]
            return {"messages": stored, "nextPosition": len(stored)}
        if call == "journal":
            return self._journal(parts, body)
        if call == "pause":
            self.paused = PauseBody.model_validate(body)
            return {"waits": [f"wait-{place}" for place in range(len(self.paused.calls))]}
        assert call == "finish"
        if self.outcome is None:
            self.outcome = FinishBody.model_validate(body).model_dump(mode="json", by_alias=True)
            self.outcome["events"] = body.get("events", [])
        return {"firstSequence": 1, "lastSequence": 2}

    def _journal(self, parts: list[str], body: Any) -> Any:
        place = (int(parts[3]), int(parts[5]) if len(parts) > 4 else -1)
        entry = self.journal.setdefault(place, JournalEntry(round=place[0], call=place[1]))
        key = f"key-{place}"
        if parts[-1] == "context":
            result = entry.result if entry.done else self._update_context(body)
        elif place[1] < 0:
            result = body["response"]
        else:
            given = CallBody.model_validate(body)
            if "begun" in given.model_fields_set:
                if entry.begun is None and not entry.done:
                    self.journal[place] = entry.model_copy(update={"begun": given.begun})
                return {"stored": self.journal[place].begun, "key": key}
            result = given.result
        if not entry.done:
            self.journal[place] = entry.model_copy(update={"result": result, "done": True})
        return {"stored": self.journal[place].result, "key": key}

    def _update_context(self, body: Any) -> Any:
        if body.get("version") not in {None, self.context_version}:
            return {"error": "changed meanwhile", "context": self.context, "version": self.context_version}
        self.context = {**self.context, **body["changes"]}
        self.context_version += 1
        return {"context": self.context, "version": self.context_version}
