"""A scripted stand-in for a language model: OpenAI's chat completions API, deterministic.

For demos and tests, where a real model would cost money and give a different answer each time. It needs
Python's standard library only. What it answers depends on the request alone, except that ``[fail …]`` and
``[drop …]`` count the requests that carry their key.

It remembers what the user's messages in the request say, which shows whether a conversation's history
reached it:

===============================  ==============================================================
the last user message            the answer
===============================  ==============================================================
My name is Alice.                Nice to meet you, Alice.
What is my name?                 Your name is Alice. (or: I do not know your name.)
I ask about order 12345.         I will look at order 12345.
Which order is mine?             Your order is 12345. (or: I do not know your order.)
How many messages?               I can see 3 messages.  (user and assistant, this one included)
What are your instructions?      the system prompt
echo: some text                  some text
anything else                    You said: …
===============================  ==============================================================

With ``response_format: json_schema`` the answer is a value that fits the schema: an enum's value that the
message names, a property's value that follows its name in the message (``order 12345``), else a default.

Directives anywhere in the last user message, for tests:

- ``[fail 503 x2 some-key]``: the first two requests with this key get status 503, later ones are answered.
- ``[retry-after 1]``: failed requests carry this Retry-After header, in seconds.
- ``[drop x1 some-key]``: the first request with this key gets no answer, the connection is closed.
- ``[slow 5s]``: wait before answering.
- ``[badjson]``: ignore the schema; ``[badjson always]`` also when it stands in an earlier user message.
- ``[refuse]``: a refusal. ``[cutoff]``: stop at the token limit. ``[empty]``: an empty answer.
- ``[long 2000]``: an answer of so many characters.
- ``[call get_order {"number": "12345"}]``: a tool call, when the request offers a tool of this name;
  ``[invent get_order {}]``: also when it does not.

``GET /requests?contains=TEXT&limit=N`` lists the newest requests that contain the text, oldest first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections import OrderedDict, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from scripted_answers import BadRequestError, Json, Reply, answer, deltas, message_of, text_of, user_texts

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_RECORDED = 2000
MAX_KEYS = 10_000
MAX_SLOW_SECONDS = 600.0

FAIL = re.compile(r"\[fail (\d{3})(?: x(\d+))?(?: ([^\]]+))?\]")
DROP = re.compile(r"\[drop(?: x(\d+))?(?: ([^\]]+))?\]")
RETRY_AFTER = re.compile(r"\[retry-after (\d+(?:\.\d+)?)\]")
SLOW = re.compile(r"\[slow (\d+(?:\.\d+)?)s\]")


class Server(ThreadingHTTPServer):
    """The model's server: what it has seen, and how often each key failed."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, Handler)
        self.lock = threading.Lock()
        self.recorded: deque[dict[str, Json]] = deque(maxlen=MAX_RECORDED)
        self.served = 0
        self.failures: OrderedDict[str, int] = OrderedDict()
        self.closing = threading.Event()

    def record(self, body: dict[str, Json], key: str | None) -> dict[str, Json]:
        """Keep a request; the entry gets its status and reply later."""
        with self.lock:
            self.served += 1
            entry: dict[str, Json] = {"number": self.served, "apiKeySha256": key, "request": body}
            self.recorded.append(entry)
            return entry

    def count_failure(self, key: str, limit: int) -> bool:
        """Tell whether the request is among the first ``limit`` of its key, and count it if so."""
        with self.lock:
            seen = self.failures.get(key, 0)
            if seen >= limit:
                return False
            self.failures[key] = seen + 1
            if len(self.failures) > MAX_KEYS:
                self.failures.popitem(last=False)
            return True

    def listing(self, contains: str, limit: int) -> dict[str, Json]:
        """Return the newest recorded requests whose JSON contains a text, oldest first."""
        with self.lock:
            entries = list(self.recorded)
        found = [entry for entry in entries if contains in json.dumps(entry["request"], ensure_ascii=False)]
        return {"count": len(found), "requests": found[-limit:] if limit else []}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "scripted-model"
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 75
    server: Server

    def do_GET(self) -> None:
        """Answer the probe, the list of models and the record."""
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path == "/healthz":
            self.send_json(200, {"status": "ok"})
        elif url.path == "/v1/models":
            models = [{"id": "scripted", "object": "model", "created": 0, "owned_by": "parley"}]
            self.send_json(200, {"object": "list", "data": models})
        elif url.path == "/requests":
            limit = query.get("limit", ["100"])[0]
            wanted = min(int(limit), MAX_RECORDED) if limit.isdigit() else 100
            self.send_json(200, self.server.listing(query.get("contains", [""])[0], wanted))
        else:
            self.send_error_json(404, f"there is nothing at {url.path}")

    def do_POST(self) -> None:
        """Answer a chat completion."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY_BYTES:
            self.close_connection = True
            self.send_error_json(413, "the request is too large")
            return
        raw = self.rfile.read(length)
        if urlsplit(self.path).path != "/v1/chat/completions":
            self.send_error_json(404, f"there is nothing at {self.path}")
            return
        try:
            body = json.loads(raw)
            self.complete(body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.send_error_json(400, f"the request is malformed: {error}")

    def complete(self, body: dict[str, Json]) -> None:
        """Run the directives, then answer."""
        if not isinstance(body.get("messages"), list) or not body["messages"]:
            raise BadRequestError("messages must be a list with at least one message")
        bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip()
        entry = self.server.record(body, hashlib.sha256(bearer.encode()).hexdigest() if bearer else None)
        last = next(iter(user_texts(body["messages"])), "")
        if slow := SLOW.search(last):
            self.server.closing.wait(min(float(slow[1]), MAX_SLOW_SECONDS))
        drop = DROP.search(last)
        if drop and self.server.count_failure(f"drop {drop[2] or last}", int(drop[1] or 1)):
            entry["status"] = 0
            self.close_connection = True
            return
        fail = FAIL.search(last)
        if fail and self.server.count_failure(f"fail {fail[3] or last}", int(fail[2] or 1_000_000)):
            entry["status"] = int(fail[1])
            after = RETRY_AFTER.search(last)
            headers = {"Retry-After": after[1]} if after else {}
            self.send_error_json(int(fail[1]), f"scripted failure {fail[1]}", headers)
            return
        reply = answer(body)
        entry["status"] = 200
        entry["reply"] = reply.content if reply.content is not None else reply.refusal
        prompt_words = sum(len(text_of(message).split()) for message in body["messages"])
        usage = {
            "prompt_tokens": prompt_words,
            "completion_tokens": reply.words(),
            "total_tokens": prompt_words + reply.words(),
        }
        head = {
            "id": f"chatcmpl-{hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:24]}",
            "created": int(time.time()),
            "model": body.get("model", "scripted"),
        }
        if body.get("stream"):
            self.stream(head, reply, usage)
            return
        choice = {"index": 0, "message": message_of(reply), "finish_reason": reply.finish_reason}
        self.send_json(200, {**head, "object": "chat.completion", "choices": [choice], "usage": usage})

    def stream(self, head: dict[str, Json], reply: Reply, usage: dict[str, int]) -> None:
        """Send the answer word by word as server-sent events."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for delta, finish in deltas(reply):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            self.send_chunk({**head, "object": "chat.completion.chunk", "choices": [choice]})
        self.send_chunk({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def send_chunk(self, chunk: Json) -> None:
        """Send one server-sent event."""
        self.wfile.write(b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n")
        self.wfile.flush()

    def send_json(self, status: int, body: Json, headers: dict[str, str] | None = None) -> None:
        """Send a whole JSON answer."""
        data = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def send_error_json(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        """Send an error in the API's form."""
        error = {"message": message, "type": "scripted_error", "param": None, "code": None}
        self.send_json(status, {"error": error}, headers)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, ARG002 - the base class's signature
        """Write one line per request, but for the probes."""
        if "/healthz" not in self.path:
            sys.stderr.write(f"{self.command} {self.path} {args[1] if len(args) > 1 else ''}\n")


def main() -> None:
    """Serve on PORT (default 8000) until SIGTERM."""
    server = Server(("", int(os.environ.get("PORT", "8000"))))

    def stop(_signal: int, _frame: object) -> None:
        server.closing.set()
        # shutdown() waits for serve_forever, which this very thread runs.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    sys.stderr.write(f"listening on port {server.server_port}\n")
    server.serve_forever(poll_interval=0.2)
    server.server_close()


if __name__ == "__main__":
    main()
