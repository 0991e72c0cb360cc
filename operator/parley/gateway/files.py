"""What a container's output file holds: UTF-8 text, which is JSON where it is JSON."""

import re

from pydantic import JsonValue

from parley.resources.container_output import read_output

MAX_VALUES = 1_000_000
"""Most values in a file of JSON. As Python's objects 16 MiB of ``[[],[],…`` would take half a gigabyte, here and
wherever the output is used."""
_STRINGS = re.compile(rb'"[^"]*"')


class FileRefused(Exception):
    """The file is no output; the message says why and what to do.

    Attributes:
        too_large: for its size.
    """

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


def read_file(raw: bytes | bytearray) -> JsonValue:
    """Read an output file; takes up to a second for the largest ones.

    Raises:
        FileRefused: it is binary, or holds too many values.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileRefused(
            f"/parley/output is binary: byte {error.start} is no UTF-8; write text or JSON, or encode it as base64"
        ) from None
    if (position := text.find("\0")) >= 0:
        raise FileRefused(
            f"/parley/output is binary: character {position} is NUL; write text or JSON, or encode it as base64"
        )
    if text.lstrip()[:1] in {"[", "{"}:
        _check_values(raw)
    return read_output(text)


def _check_values(raw: bytes | bytearray) -> None:
    if _separators(raw) <= MAX_VALUES:
        return
    # Only now without what stands in strings, which takes its time.
    bare = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    if _separators(_STRINGS.sub(b"", bare)) > MAX_VALUES:
        raise FileRefused(
            f"/parley/output begins like JSON and has more than {MAX_VALUES} values: write fewer, or other text",
            too_large=True,
        )


def _separators(raw: bytes | bytearray) -> int:
    return sum(raw.count(sign) for sign in (b",", b"[", b"{"))
