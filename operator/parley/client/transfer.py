"""Whether an export came whole."""

from pydantic import ValidationError

from parley.api.transfer import TranscriptEnd
from parley.client.errors import Unreachable

_LONGEST = 4096
"""Bytes; the last line is shorter."""


class LastLine:
    """Keeps the end of what goes by."""

    def __init__(self) -> None:
        self._end = b""

    def add(self, chunk: bytes) -> None:
        """See a chunk go by."""
        self._end = (self._end + chunk)[-_LONGEST:]

    def check(self, url: str) -> None:
        """Accept the end.

        Raises:
            Unreachable: the last line is missing, so more was to come.
        """
        try:
            TranscriptEnd.model_validate_json(self._end.rstrip(b"\n").rpartition(b"\n")[2])
        except ValidationError as error:
            raise Unreachable(url, "the export broke off: its last line is missing; try again") from error
