"""HTTP as bytes: what no client library would send."""

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.integration.gateway.running import LONG


@dataclass(frozen=True)
class RawAnswer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def send_raw(url: str, request: bytes) -> RawAnswer:
    """Send bytes, and read until the server closes or has answered."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=LONG) as connection:
        # Whoever is told that it is too much is not listened to any longer; what was told can still be read.
        with suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(request)
        return _read(connection)


def _read(connection: socket.socket) -> RawAnswer:
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += _some(connection, raw)
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += _some(connection, raw)
    return RawAnswer(int(first.split()[1]), headers, body)


def _some(connection: socket.socket, before: bytes) -> bytes:
    more = connection.recv(65536)
    assert more, f"the server closed after {before!r}"
    return more
