"""A real HTTP server on 127.0.0.1 that answers what a test tells it to, by path."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Write = Callable[[bytes], None]


class Got(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """``body`` may be a function that writes as it likes; the connection's end is then the body's end."""

    body: bytes | Callable[[Write, threading.Event], None] = b""
    status: int = 200
    content_type: str | None = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    got: list[Got] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def says(self, path: str, body: Any = b"", status: int = 200, **more: Any) -> None:
        self.answers[path] = Answer(body, status, **more)


@contextmanager
def answering_server() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.got.append(Got(self.command, self.path, headers, sent))
            answer = server.answers.get(self.path.partition("?")[0], Answer(b'{"ok": true}'))
            self.send_response(answer.status)
            if answer.content_type is not None:
                self.send_header("Content-Type", answer.content_type)
            if isinstance(answer.body, bytes):
                self.send_header("Content-Length", str(len(answer.body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                if isinstance(answer.body, bytes):
                    self.wfile.write(answer.body if self.command != "HEAD" else b"")
                else:
                    answer.body(self._write, server.ending)
            except OSError:
                pass  # the client has gone, as it should

        def _write(self, data: bytes) -> None:
            self.wfile.write(data)
            self.wfile.flush()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients hang up in these tests

    with Quiet(("127.0.0.1", 0), Handler) as running:
        server.port = running.server_port
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.ending.set()
            running.shutdown()
            thread.join()
