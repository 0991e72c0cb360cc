"""A transcript's file: its lines read and written (``parley.api.transfer`` is the format)."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import IO, TypeVar

from pydantic import ValidationError

from parley.api.common import ApiModel
from parley.api.transfer import TranscriptEnd, TranscriptEvent, TranscriptHeader
from parley.gateway.access.refusal import Refusal
from parley.gateway.api.events import event_view
from parley.store.transcript import EventRow
from parley.store.transfer import TranscriptHead, TranscriptRow

BATCH_EVENTS = 200
BATCH_BYTES = 1024 * 1024
MAX_LINE_BYTES = 4 * 1024 * 1024
"""The longest content that is stored is a quarter of it: a line may have all of it escaped."""
_EARLIEST, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""Postgres keeps times that Python has no calendar for, such as one in a year 10,000 of the reader's zone."""

ModelT = TypeVar("ModelT", bound=ApiModel)


def write_line(line: ApiModel) -> bytes:
    """Write one line."""
    return line.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"


def event_line(row: TranscriptRow) -> TranscriptEvent:
    """Show an event as a line of a file."""
    view = event_view(
        EventRow(
            row.sequence,
            row.id,
            row.time,
            row.type,
            row.role,
            row.content,
            row.speaker,
            row.task,
            row.step,
            row.item,
            row.attempt,
        )
    )
    return TranscriptEvent(**dict(view), turn=row.turn)


class TranscriptFile:
    """A file that somebody sent, read from its beginning to its end.

    Args:
        file: of bytes.

    Raises:
        Refusal: a line is not what it must be (422).
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._file.seek(0)
        self._number = 0
        header = self._read(TranscriptHeader, self._next_line())
        self.head = TranscriptHead(
            header.last_sequence, header.last_turn, header.context, header.context_version
        )
        """What the session had beside its events."""

    def batches(self) -> Iterator[Sequence[TranscriptRow]]:
        """Read the events, some at a time, and see that they are complete.

        Raises:
            Refusal: a line is not what it must be (422).
        """
        batch: list[TranscriptRow] = []
        size = 0
        for sequence in range(1, self.head.last_sequence + 1):
            line = self._next_line()
            batch.append(self._event(sequence, line))
            size += len(line)
            if len(batch) >= BATCH_EVENTS or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch
        end = self._read(TranscriptEnd, self._next_line())
        if end.events != self.head.last_sequence:
            raise self._refuse(f"events: {end.events}, where the first line says {self.head.last_sequence}")
        if self._file.readline(1):
            self._number += 1
            raise self._refuse("nothing may follow the line that ends the transcript")

    def _event(self, sequence: int, line: bytes) -> TranscriptRow:
        event = self._read(TranscriptEvent, line)
        if event.sequence != sequence:
            raise self._refuse(f"sequence: {event.sequence}, where {sequence} is next")
        if not _EARLIEST <= event.time < _END:
            raise self._refuse("time: it must be in the years 1970 to 9998")
        if event.turn is not None and event.turn > self.head.last_turn:
            raise self._refuse(
                f"turn: {event.turn}, where the first line says lastTurn {self.head.last_turn}"
            )
        return TranscriptRow(
            sequence=event.sequence,
            id=event.id,
            time=event.time,
            type=event.type,
            role=event.role,
            content=event.content,
            speaker=event.speaker,
            task=event.task,
            step=event.step,
            item=-1 if event.item is None else event.item,
            attempt=event.attempt,
            turn=event.turn,
        )

    def _next_line(self) -> bytes:
        self._number += 1
        line = self._file.readline(MAX_LINE_BYTES + 1)
        if not line:
            raise self._refuse("the file ends here, before the line that ends the transcript: it was cut off")
        if len(line) > MAX_LINE_BYTES:
            raise self._refuse(f"it is longer than {MAX_LINE_BYTES:,} bytes")
        return line

    def _read(self, model: type[ModelT], line: bytes) -> ModelT:
        try:
            return model.model_validate_json(line)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in found["loc"])
            raise self._refuse(f"{place}: {found['msg']}" if place else found["msg"]) from None

    def _refuse(self, what: str) -> Refusal:
        detail = f"line {self._number} is no line of a transcript of this version: {what}"
        return Refusal(422, detail, reason="InvalidTranscript", field=f"line {self._number}")
