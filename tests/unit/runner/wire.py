"""A server that answers what a test tells it to, in the wire formats of Anthropic's and Google's APIs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the server sends: JSON, or bytes as they are."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


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
            streamed = body.get("stream") and answer.status == 200
            data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            data = b"".join(_events(answer.body)) if streamed else data
            self.send_response(answer.status)
            self.send_header("Content-Type", "text/event-stream" if streamed else "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in answer.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)

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


def _events(message: dict[str, Any]) -> Iterator[bytes]:
    """The same message as Anthropic streams it."""
    start = {**message, "content": [], "stop_reason": None, "usage": {"input_tokens": 9, "output_tokens": 1}}
    yield _event("message_start", message=start)
    for index, block in enumerate(message["content"]):
        yield _event("content_block_start", index=index, content_block={"type": "text", "text": ""})
        yield _event("content_block_delta", index=index, delta={"type": "text_delta", "text": block["text"]})
        yield _event("content_block_stop", index=index)
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", delta=delta, usage={"output_tokens": message["usage"]["output_tokens"]})
    yield _event("message_stop")


def _event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()
