"""A gateway over plain HTTP that answers what the test says, in order, and remembers what it was asked."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from parley.runner.settings import RunnerSettings


class Asked(NamedTuple):
    method: str
    path: str
    body: bytes
    headers: dict[str, str]


class PlainGateway:
    """``answers`` are (status, body, headers) in order; after the last one all is 200 and empty."""

    def __init__(self, settings: RunnerSettings) -> None:
        self.settings = settings
        self.asked: list[Asked] = []
        self.answers: deque[tuple[int, Any, dict[str, str]]] = deque()

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        self.answers.append(
            (status, body, {name.replace("_", "-"): value for name, value in headers.items()})
        )


@contextmanager
def plain_gateway(directory: Path) -> Iterator[PlainGateway]:
    token = directory / "token"
    token.write_text("the-token\n")
    gateway: PlainGateway

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            gateway.asked.append(Asked(self.command, self.path, body, dict(self.headers)))
            status, said, headers = gateway.answers.popleft() if gateway.answers else (200, {}, {})
            content = json.dumps(said).encode()
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = _serve  # noqa: N815 - the library looks methods up by these names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        gateway = PlainGateway(RunnerSettings(gateway_url=url, store_id="store-1", token_file=token))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield gateway
        finally:
            server.shutdown()
            thread.join()
