"""Sessions as files: a whole transcript out, and into a new session."""

import asyncio
import email.message
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from tempfile import TemporaryFile
from typing import IO, Annotated, Any

from fastapi import Request

from parley.api.transfer import (
    JSON_LINES,
    ExportedSession,
    ImportResult,
    TranscriptEnd,
    TranscriptHeader,
)
from parley.gateway.access.dependencies import OneStream, PeopleOf, SessionAccess, Store, session_access
from parley.gateway.access.refusal import Refusal
from parley.gateway.access.route import CONFLICT, people_router
from parley.gateway.api.readiness import when_ready
from parley.gateway.api.sse import PatientResponse
from parley.gateway.api.transcript_lines import TranscriptFile, event_line, write_line
from parley.gateway.calling import Backend
from parley.store.transfer import (
    Imported,
    TranscriptHead,
    TranscriptRow,
    import_transcript,
    transcript_head,
    transcript_page,
)

_TYPES = {JSON_LINES, "application/x-ndjson"}
_CHUNK_SECONDS = 15.0
_BODY_SECONDS = 300.0

_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "JSON lines: a TranscriptHeader, each TranscriptEvent, a TranscriptEnd",
        "content": {JSON_LINES: {"schema": {"type": "string"}}},
    }
}
_IMPORT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "what an export gave, at most 64 MiB",
        "content": {JSON_LINES: {"schema": {"type": "string"}}},
    }
}

router = people_router()


class TranscriptResponse(PatientResponse):
    """Sends a file of JSON lines."""

    media_type = JSON_LINES


@router.get(
    "/sessions/{name}/export",
    operation_id="exportSession",
    status_code=200,
    response_class=TranscriptResponse,
    responses=_EXPORT | CONFLICT,
)
async def export_session(
    access: Annotated[SessionAccess, session_access("get", "export")], backend: Store, _room: OneStream
) -> TranscriptResponse:
    """Get the whole transcript, as one of the caller's streams; a file without its last line is not whole."""
    async with backend.store() as conn:
        head = await transcript_head(conn, access.uid) or TranscriptHead(0, 0, None, 0)
    disposition = f'attachment; filename="{access.namespace}-{access.name}.jsonl"'
    headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
    return TranscriptResponse(_lines(backend, access, head), headers)


async def _lines(backend: Backend, access: SessionAccess, head: TranscriptHead) -> AsyncGenerator[bytes]:
    yield write_line(
        TranscriptHeader(
            session=ExportedSession(namespace=access.namespace, name=access.name, uid=access.uid),
            exported_at=datetime.now(UTC),
            last_sequence=head.last_sequence,
            last_turn=head.last_turn,
            context=head.context,
            context_version=head.context_version,
        )
    )
    sent = 0
    while sent < head.last_sequence:
        async with backend.store() as conn:
            rows = await transcript_page(conn, access.uid, sent, head.last_sequence)
        if not rows:
            # Erased meanwhile: without its last line the file says that it is not whole.
            return
        sent = rows[-1].sequence
        page = b"".join(write_line(event_line(row)) for row in rows)
        # A slow reader holds up one page, not what it was written from as well.
        del rows
        yield page
    yield write_line(TranscriptEnd(events=sent))


@router.post(
    "/sessions/{name}/import",
    operation_id="importSession",
    responses=CONFLICT,
    openapi_extra=_IMPORT_BODY,
)
async def import_session(
    request: Request,
    access: Annotated[SessionAccess, session_access("create", "import")],
    people: PeopleOf,
    backend: Store,
) -> ImportResult:
    """Bring a transcript into a session that has none: all of it or nothing; a repeat changes nothing."""
    _require_lines(request)
    async with backend.room_for_import():
        # The file first, the session afterwards: a slow sender holds up nobody who speaks in it.
        with TemporaryFile() as file:
            await _receive(request, file)

            async def write() -> Imported:
                transcript = await asyncio.to_thread(TranscriptFile, file)
                async with backend.store() as conn:
                    batches = _in_thread(transcript.batches())
                    return await import_transcript(conn, access.uid, transcript.head, batches)

            done = await when_ready(people, access, write)
    return ImportResult(
        imported=done.imported, already_there=done.already_there, last_sequence=done.last_sequence
    )


def _require_lines(request: Request) -> None:
    message = email.message.Message()
    message["content-type"] = request.headers.get("Content-Type", "")
    if message.get_content_type() not in _TYPES:
        detail = f"send the transcript as JSON lines, with `Content-Type: {JSON_LINES}`"
        raise Refusal(415, detail, reason="UnsupportedMediaType", field="Content-Type")


async def _receive(request: Request, file: IO[bytes]) -> None:
    """Put the body into a file.

    Raises:
        Refusal: it comes too slowly (408).
    """
    chunks = aiter(request.stream())
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            while True:
                async with asyncio.timeout(_CHUNK_SECONDS):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                await asyncio.to_thread(file.write, chunk)
    except TimeoutError:
        detail = f"the body stopped for {_CHUNK_SECONDS:g} s, or took longer than {_BODY_SECONDS:g} s: send it again"
        raise Refusal(408, detail, reason="Timeout", headers={"Connection": "close"}) from None


async def _in_thread(batches: Iterator[Sequence[TranscriptRow]]) -> AsyncIterator[Sequence[TranscriptRow]]:
    """Read batches without holding up others: a large one takes a while."""
    while (batch := await asyncio.to_thread(next, batches, None)) is not None:
        yield batch
