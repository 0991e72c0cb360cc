"""A server that answers what a test tells it to, in the wire formats of Anthropic's and Google's APIs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.unit.runner.wire_streams import events


@dataclass(frozen=True)
class Answer:
    """What the server sends: JSON, as a stream where that is asked for, or bytes as they are.

    The connection breaks off before the last ``missing`` bytes that were promised.
    """

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    missing: int = 0


@dataclass(frozen=True)
class Seen:
    """What the server got."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class WireServer:
    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def says(self, *answers: Answer) -> None:
        self.answers += answers


def anthropic_message(*texts: str, stop: str = "end_turn", **more: Any) -> Answer:
    """A message of the messages API: 9 tokens in, 4 out."""
    return Answer(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude",
            "content": [{"type": "text", "text": text} for text in texts],
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": {"input_tokens": 9, "output_tokens": 4},
            **more,
        }
    )


def anthropic_error(status: int, kind: str, message: str, **headers: str) -> Answer:
    return Answer({"type": "error", "error": {"type": kind, "message": message}}, status, headers)


def google_content(*texts: str, finish: str = "STOP", **more: Any) -> Answer:
    """A response of generateContent: 9 tokens in, 4 out."""
    candidate = {
        "content": {"role": "model", "parts": [{"text": text} for text in texts]},
        "finishReason": finish,
    }
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13}
    return Answer({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini", **more})


def google_error(status: int, word: str, message: str, *details: dict[str, Any], **headers: str) -> Answer:
    error = {"code": status, "message": message, "status": word, "details": list(details)}
    return Answer({"error": error}, status, headers)


def google_retry_info(delay: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


@contextmanager
def wire_server() -> Iterator[WireServer]:
    said = WireServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said.seen.append(Seen(self.path, {name.lower(): v for name, v in self.headers.items()}, body))
            answer = said.answers.pop(0)
            is_message = not isinstance(answer.body, bytes)
            data = json.dumps(answer.body).encode() if is_message else answer.body
            wants_stream = body.get("stream") or ":streamGenerateContent" in self.path
            streamed = wants_stream and answer.status == 200 and is_message
            data = b"".join(events(answer.body)) if streamed else data
            self.send_response(answer.status)
            self.send_header("Content-Type", "text/event-stream" if streamed else "application/json")
            self.send_header("Content-Length", str(len(data) + answer.missing))
            for name, value in answer.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = self.close_connection or answer.missing > 0

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    said.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield said
    finally:
        server.shutdown()
        thread.join(20)
        server.server_close()
