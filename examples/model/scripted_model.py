"""A scripted stand-in for a language model: OpenAI's chat completions API, and Anthropic's and Google's, deterministic.

For demos and tests, where a real model would cost money and give a different answer each time. It needs
Python's standard library only. Agents reach it with ``baseURL: http://model/v1`` as OpenAI, with ``http://model`` as
Anthropic and Google. What it answers depends on the request alone, except that ``[fail …]`` and
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
What tools do you have?          My tools: get_order, refund.
Which tasks have ended?          ship-1 ended: Succeeded.  (as the conversation was told)
find: word                       I can see it in 2 messages.  (system prompt included, this one not)
Summarize …                      In short: my name is Alice. I ask about order 12345.
echo: some text                  some text
anything else                    You said: …
===============================  ==============================================================

It knows a name and an order from a summary in its system prompt as well. A speaker's name before the message
(``Alice: echo: hi``) changes nothing.

**Tools.** ``[call get_order {"number": "12345"}]`` in the last user message calls a tool that the request
offers, several of them in one response; ``[invent get_order {}]`` also one that it does not offer. ``[then]`` parts
rounds: what is after it is called when the results of what is before it are there. ``[always get_order {}]`` is called
in every round, for ever. ``[saying I will look.]`` is said beside the calls. When a round has no calls, it answers
``The tool says: …; …``, the results of the last round as they came.

With ``response_format: json_schema``, or a system message that writes a schema out after ``JSON Schema:``, the answer
is a value that fits the schema: an enum's value that the message names, a property's value that follows its name in the
message (``order 12345``), else a default.

Directives anywhere in the last user message, for tests:

- ``[fail 503 x2 some-key]``: the first two requests with this key get status 503, later ones are answered.
- ``[retry-after 1]``: failed requests say to wait so many seconds: in the Retry-After header, to Google's clients in
  the error's RetryInfo, as its API does.
- ``[drop x1 some-key]``: the first request with this key gets no answer, the connection is closed.
- ``[slow 5s]``: wait before answering. ``[pace 0.2s]``: wait after each word of an answer that is streamed.
- ``[badjson]``: ignore the schema; ``[badjson always]`` also when it stands in an earlier user message.
- ``[refuse]``: a refusal. ``[cutoff]``: stop at the token limit. ``[empty]``: an empty answer.
- ``[long 2000]``: an answer of so many characters.

A model whose name begins with ``retired`` does not exist: 404.

``GET /requests?contains=TEXT&limit=N`` lists the newest requests that contain the text, oldest first, as they came:
tools that were offered, messages, parameters; beside them the path, the status, the answer and its tokens, a hash of
the API key, and when it came, in seconds of a clock that only goes forward.
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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from scripted_answers import BadRequestError, Reply, answer, deltas, message_of, user_texts, wants_summary
from scripted_calls import Json, text_of
from scripted_record import MAX_RECORDED, Record
from scripted_wires import (
    ANTHROPIC,
    GOOGLE,
    anthropic_stream,
    error_body,
    from_anthropic,
    from_google,
    to_anthropic,
    to_google,
)

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_SLOW_SECONDS = 600.0

FAIL = re.compile(r"\[fail (\d{3})(?: x(\d+))?(?: ([^\]]+))?\]")
DROP = re.compile(r"\[drop(?: x(\d+))?(?: ([^\]]+))?\]")
RETRY_AFTER = re.compile(r"\[retry-after (\d+(?:\.\d+)?)\]")
PACE = re.compile(r"\[pace (\d+(?:\.\d+)?)s\]")
SLOW = re.compile(r"\[slow (\d+(?:\.\d+)?)s\]")


class Server(ThreadingHTTPServer):
    """The model's server, and what it has seen."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, Handler)
        self.seen = Record()
        self.closing = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "scripted-model"
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 75
    server: Server
    pace = 0.0
    """Seconds after each word of a stream."""

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
            self.send_json(200, self.server.seen.listing(query.get("contains", [""])[0], wanted))
        else:
            self.send_error_json(404, f"there is nothing at {url.path}")

    def do_POST(self) -> None:
        """Answer a chat completion, a message or a content."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY_BYTES:
            self.close_connection = True
            self.send_error_json(413, "the request is too large")
            return
        raw = self.rfile.read(length)
        path = self.api_path()
        try:
            body = json.loads(raw)
            if path == "/v1/chat/completions":
                request = body
            elif path == ANTHROPIC:
                request = from_anthropic(body)
            elif google := GOOGLE.fullmatch(path):
                request = from_google(google[1], body)
            else:
                self.send_error_json(404, f"there is nothing at {path}")
                return
            self.complete(path, body, request)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.send_error_json(400, f"the request is malformed: {error}")

    def api_path(self) -> str:
        """The path without its query."""
        return urlsplit(self.path).path

    def complete(self, path: str, body: dict[str, Json], request: dict[str, Json]) -> None:
        """Run the directives, then answer.

        Args:
            path: which API.
            body: the request as it came.
            request: the same as OpenAI's API has it.
        """
        if not isinstance(request.get("messages"), list) or not request["messages"]:
            raise BadRequestError("messages must be a list with at least one message")
        given = self.headers.get("Authorization") or self.headers.get("x-api-key")
        bearer = (given or self.headers.get("x-goog-api-key") or "").removeprefix("Bearer ").strip()
        entry = self.server.seen.record(
            path, body, hashlib.sha256(bearer.encode()).hexdigest() if bearer else None
        )
        last = next(iter(user_texts(request["messages"])), "")
        last = "" if wants_summary(last) else last
        if slow := SLOW.search(last):
            self.server.closing.wait(min(float(slow[1]), MAX_SLOW_SECONDS))
        pace = PACE.search(last)
        self.pace = min(float(pace[1]), MAX_SLOW_SECONDS) if pace else 0.0
        drop = DROP.search(last)
        if drop and self.server.seen.count_failure(f"drop {drop[2] or last}", int(drop[1] or 1)):
            entry["status"] = 0
            self.close_connection = True
            return
        if str(request.get("model")).startswith("retired"):
            entry["status"] = 404
            self.send_error_json(404, f"the model {request['model']} does not exist")
            return
        fail = FAIL.search(last)
        if fail and self.server.seen.count_failure(f"fail {fail[3] or last}", int(fail[2] or 1_000_000)):
            entry["status"] = int(fail[1])
            after = RETRY_AFTER.search(last)
            self.send_error_json(int(fail[1]), f"scripted failure {fail[1]}", after[1] if after else None)
            return
        reply = answer(request)
        entry["status"] = 200
        entry["reply"] = reply.content if reply.content is not None else reply.refusal
        entry["calls"] = [name for name, _ in reply.calls]
        self.send_reply(path, body, request, reply, entry)

    def send_reply(
        self,
        path: str,
        body: dict[str, Json],
        request: dict[str, Json],
        reply: Reply,
        entry: dict[str, Json],
    ) -> None:
        """Send a reply in the form of the API that was asked."""
        prompt_words = sum(len(text_of(message).split()) for message in request["messages"])
        usage = {
            "prompt_tokens": prompt_words,
            "completion_tokens": reply.words(),
            "total_tokens": prompt_words + reply.words(),
        }
        entry["usage"] = usage
        model = request.get("model", "scripted")
        if path == ANTHROPIC:
            message = to_anthropic(reply, model, usage)
            if not body.get("stream"):
                self.send_json(200, message)
                return
            self.begin_stream()
            for name, data in anthropic_stream(message):
                self.send_event({"type": name, **data}, name)
                self.server.closing.wait(self.pace if name == "content_block_delta" else 0)
            self.send_chunk(b"")
            return
        if path != "/v1/chat/completions":
            if not path.endswith("streamGenerateContent"):
                self.send_json(200, to_google(reply, model, usage))
                return
            self.begin_stream()
            self.send_event(to_google(reply, model, usage))
            self.send_chunk(b"")
            return
        head = {
            "id": f"chatcmpl-{hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:24]}",
            "created": int(time.time()),
            "model": model,
        }
        if body.get("stream"):
            self.stream(head, reply, usage)
            return
        choice = {"index": 0, "message": message_of(reply), "finish_reason": reply.finish_reason}
        self.send_json(200, {**head, "object": "chat.completion", "choices": [choice], "usage": usage})

    def begin_stream(self) -> None:
        """Send the head of a stream of server-sent events."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def stream(self, head: dict[str, Json], reply: Reply, usage: dict[str, int]) -> None:
        """Send the answer word by word as server-sent events."""
        self.begin_stream()
        for delta, finish in deltas(reply):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            self.send_event({**head, "object": "chat.completion.chunk", "choices": [choice]})
            self.server.closing.wait(self.pace if "content" in delta else 0)
        self.send_event({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        self.send_chunk(b"data: [DONE]\n\n")
        self.send_chunk(b"")

    def send_event(self, data: Json, name: str = "") -> None:
        """Send one server-sent event."""
        line = f"event: {name}\n" if name else ""
        self.send_chunk(f"{line}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode())

    def send_chunk(self, data: bytes) -> None:
        """Send a part of a body without a length; the empty one is the end, and the connection stays."""
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
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

    def send_error_json(self, status: int, message: str, retry_after: str | None = None) -> None:
        """Send an error in the API's form; ``retry_after`` are seconds."""
        path = self.api_path()
        headers = {"Retry-After": retry_after} if retry_after and not GOOGLE.fullmatch(path) else {}
        self.send_json(status, error_body(path, status, message, retry_after), headers)

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
