"""How the evaluator and its child talk: frames of JSON over the child's standard input and output.

A frame is four bytes of length, big-endian, and that many bytes of JSON. The parent sends a ``Request``; the child
answers with one frame per field, in their order, ``{"value": …}`` or ``{"error": message, "path": path}``, and stops
at the first error. To a ``Check`` it answers ``{"value": problem}``, null where the value fits. Once started, and
before any request, the child sends ``{"ready": true}``.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, BinaryIO, TypedDict

if TYPE_CHECKING:
    from pydantic import JsonValue

LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 256 * 1024 * 1024
OUT_OF_MEMORY = 77
"""Exit code of a child that reached its memory limit."""


class FieldJson(TypedDict):
    """One field to render; ``text`` says whether its result is a text or any JSON."""

    path: str
    text: bool
    template: JsonValue


class Request(TypedDict):
    """What the parent asks for."""

    fields: list[FieldJson]
    scope: dict[str, JsonValue]


class Check(TypedDict):
    """A value to hold against a JSON Schema; ``path`` is the value's, for what is told."""

    path: str
    value: JsonValue
    check: dict[str, JsonValue]


def to_frame(message: object) -> bytes:
    """Write one frame."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return LENGTH.pack(len(body)) + body


def read_frame(stream: BinaryIO) -> object | None:
    """Read one frame; None at the stream's end."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return json.loads(stream.read(LENGTH.unpack(head)[0]))
