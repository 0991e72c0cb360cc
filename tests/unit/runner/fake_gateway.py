"""A gateway in memory: one attempt, one holder, the first write wins, and failures on order."""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
from parley.protocol.messages import FinishBody, InputMessage, JournalEntry, StoredEvent, TakeAnswer
from parley.protocol.request import PromptRequest
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


def stored_event(sequence: int, role: str, content: str) -> StoredEvent:
    return StoredEvent.model_validate(
        {
            "type": "message",
            "role": role,
            "content": content,
            "sequence": sequence,
            "time": "2026-01-01T00:00:00Z",
        }
    )


class FakeGateway:
    """What the real one promises, as a transport for the client.

    ``fail`` makes the next requests of a call (take, input, journal, finish) answer otherwise; ``requests`` tells
    what was asked, in order, with the bodies as they arrived.
    """

    def __init__(self, request: PromptRequest | None = None, *, token_file: Path, **taken: Any) -> None:
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
            place = (int(parts[3]), int(parts[5]) if len(parts) > 4 else -1)
            given = body.get("response") or body.get("result")
            entry = self.journal.setdefault(place, JournalEntry(round=place[0], call=place[1]))
            if given is not None and entry.result is None:
                entry = self.journal[place] = entry.model_copy(update={"result": given, "done": True})
            return {"stored": entry.result if given is not None else body["begun"], "key": f"key-{place}"}
        assert call == "finish"
        if self.outcome is None:
            self.outcome = FinishBody.model_validate(body).model_dump(mode="json", by_alias=True)
        return {"firstSequence": 1, "lastSequence": 2}
