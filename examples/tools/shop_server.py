"""A small shop with an HTTP API, for demos and tests of tools. It needs Python's standard library only.

==============================  ====================================================================================
request                         answer
==============================  ====================================================================================
GET /orders/12345               an order: number, state, total; numbers that begin with 0 do not exist (404)
POST /refunds {order, amount}   a refund's number; a repeat of the same Idempotency-Key is the same refund
GET /refunds                    how many refunds there are, and for which orders
GET /whoami                     a hash of the Authorization header, to see that one came
GET /hang/NAME                  the first request of a name waits up to 60 s, later ones are answered at once
GET /gate/NAME                  waits up to 60 s until somebody gets /open/NAME
GET /status/503                 that status
GET /moved/12345                a redirect to /orders/12345
GET /away?to=URL                a redirect to that URL
GET /large/1000                 so many characters of text
GET /binary                     bytes that are no text
GET /calls?contains=TEXT        what was called, oldest first: method, path, body, Idempotency-Key
==============================  ====================================================================================
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Json = Any
MAX_BODY_BYTES = 1024 * 1024
MAX_CALLS = 2000
HANG_SECONDS = 60.0


class Shop(ThreadingHTTPServer):
    """The server, what it sold, and what it was asked."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, Handler)
        self.lock = threading.Lock()
        self.calls: deque[dict[str, Json]] = deque(maxlen=MAX_CALLS)
        self.refunds: dict[str, dict[str, Json]] = {}
        self.hung: set[str] = set()
        self.gates: dict[str, threading.Event] = {}
        self.closing = threading.Event()

    def refund(self, key: str, body: dict[str, Json]) -> dict[str, Json]:
        """Refund once for each key."""
        with self.lock:
            made = {"refund": f"r-{len(self.refunds) + 1}", "order": body["order"], "amount": body["amount"]}
            return self.refunds.setdefault(key or made["refund"], made)

    def gate(self, name: str) -> threading.Event:
        """Return what a name waits for."""
        with self.lock:
            return self.gates.setdefault(name, threading.Event())

    def first(self, name: str) -> bool:
        """Tell whether a name comes for the first time."""
        with self.lock:
            known = name in self.hung
            self.hung.add(name)
            return not known


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "shop"
    wbufsize = -1
    timeout = 75
    server: Shop

    def do_GET(self) -> None:
        """Answer."""
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        _, _, rest = url.path.partition("/")
        what, _, name = rest.partition("/")
        if what == "healthz":
            self.answer(200, {"status": "ok"})
        elif what == "calls":
            contains = query.get("contains", [""])[0]
            with self.server.lock:
                calls = list(self.server.calls)
            self.answer(200, {"calls": [call for call in calls if contains in json.dumps(call)]})
        else:
            self.record(None)
            self.show(what, unquote(name), query)

    def show(self, what: str, name: str, query: dict[str, list[str]]) -> None:
        """Answer a GET of the shop itself."""
        match what:
            case "orders" if name and not name.startswith("0"):
                self.answer(200, {"number": name, "state": "late", "total": 42.5})
            case "orders":
                self.answer(404, {"problem": f"there is no order {name}"})
            case "refunds":
                with self.server.lock:
                    orders = [refund["order"] for refund in self.server.refunds.values()]
                self.answer(200, {"count": len(orders), "orders": orders})
            case "whoami":
                given = self.headers.get("Authorization") or ""
                self.answer(200, {"authorization": hashlib.sha256(given.encode()).hexdigest()})
            case _:
                self.trouble(what, name, query)

    def trouble(self, what: str, name: str, query: dict[str, list[str]]) -> None:
        """Answer what a tool should cope with."""
        match what:
            case "hang":
                if self.server.first(name):
                    self.server.closing.wait(HANG_SECONDS)
                self.answer(200, {"answered": name})
            case "gate":
                self.server.gate(name).wait(HANG_SECONDS)
                self.answer(200, {"passed": name})
            case "open":
                self.server.gate(name).set()
                self.answer(200, {"open": name})
            case "status":
                self.answer(int(name), {"problem": f"scripted status {name}"})
            case "moved":
                self.answer(302, {}, {"Location": f"/orders/{name}"})
            case "away":
                self.answer(302, {}, {"Location": query["to"][0]})
            case "large":
                self.send(200, b"x" * int(name), "text/plain")
            case "binary":
                self.send(200, bytes(range(256)), "application/octet-stream")
            case _:
                self.answer(404, {"problem": f"there is nothing at {self.path}"})

    def do_POST(self) -> None:
        """Refund."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY_BYTES:
            self.close_connection = True
            self.answer(413, {"problem": "too large"})
            return
        body = self.rfile.read(length).decode(errors="replace")
        key = self.record(body)
        if urlsplit(self.path).path != "/refunds":
            self.answer(404, {"problem": f"there is nothing at {self.path}"})
            return
        try:
            self.answer(201, self.server.refund(key, json.loads(body)))
        except (ValueError, KeyError, TypeError) as error:
            self.answer(400, {"problem": f"a refund is {{order, amount}}: {error}"})

    def record(self, body: str | None) -> str:
        """Keep what was asked; returns its Idempotency-Key, or an empty text."""
        key = self.headers.get("Idempotency-Key") or ""
        call = {"method": self.command, "path": self.path, "body": body, "key": key}
        with self.server.lock:
            self.server.calls.append(call)
        return key

    def answer(self, status: int, body: Json, headers: dict[str, str] | None = None) -> None:
        """Send JSON."""
        self.send(status, json.dumps(body).encode(), "application/json", headers)

    def send(self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        """Send a body of a type."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, ARG002 - the base class's signature
        """Write one line per request, but for the probes."""
        if "/healthz" not in self.path:
            sys.stderr.write(f"{self.command} {self.path} {args[1] if len(args) > 1 else ''}\n")


def main() -> None:
    """Serve on PORT (default 8000) until SIGTERM."""
    server = Shop(("", int(os.environ.get("PORT", "8000"))))

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
