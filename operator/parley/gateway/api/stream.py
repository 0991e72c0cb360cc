"""Sessions as they happen: a session's stream, and a chat, which is a message and the stream of its turn."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import Header, Request

from parley.api.messages import PostMessage
from parley.api.stream import (
    HEARTBEAT_SECONDS,
    LAST_EVENT_ID_HEADER,
    Bye,
    DeltaView,
    Done,
    Hello,
    SessionChange,
)
from parley.gateway.access.dependencies import (
    IdempotencyKey,
    OneStream,
    PeopleOf,
    SessionAccess,
    Store,
    session_access,
)
from parley.gateway.access.refusal import bad_request, conflict
from parley.gateway.access.route import CONFLICT, people_router
from parley.gateway.api.events import After, event_view
from parley.gateway.api.messages import accepted
from parley.gateway.api.posting import post
from parley.gateway.api.sse import EVENT_STREAM, HEARTBEAT, EventStream, frame
from parley.gateway.calling import Backend
from parley.gateway.live.hub import Live
from parley.gateway.live.readers import Delta
from parley.gateway.live.stream import Ended, Item, NoTask, SessionIs, SessionStream, Silence, TaskIs
from parley.store.following import FollowedTask, Look
from parley.store.lifecycle import FINAL
from parley.store.posting import Posted
from parley.store.transcript import EventRow, last_sequence

_MAX_DIGITS = 16

router = people_router()

LastEventId = Annotated[
    str | None,
    Header(
        alias=LAST_EVENT_ID_HEADER,
        description="id of the last frame that had one: the stream goes on after it",
    ),
]


@router.get(
    "/sessions/{name}/stream",
    operation_id="streamSession",
    status_code=200,
    response_class=EventStream,
    responses=EVENT_STREAM | CONFLICT,
)
async def stream_session(
    request: Request,
    access: Annotated[SessionAccess, session_access("get", "events")],
    backend: Store,
    _room: OneStream,
    last_event_id: LastEventId = None,
    after: After = None,
) -> EventStream:
    """Follow a session: its events from a sequence on, or from now on, and what happens in it meanwhile."""
    begin = _position(last_event_id)
    begin = after if begin is None else begin
    async with backend.store() as conn:
        last = await last_sequence(conn, access.uid) or 0
    _require_past(begin, last)
    live: Live = request.app.state.live
    begin = last if begin is None else begin
    stream = SessionStream(backend, live, access.uid, begin, silence=HEARTBEAT_SECONDS)
    return EventStream(_session_frames(stream, begin, last))


async def _session_frames(stream: SessionStream, begin: int, last: int) -> AsyncGenerator[bytes]:
    yield frame("hello", Hello(last_sequence=last), begin)
    async with aclosing(stream.items()) as items:
        async for item in items:
            yield _frame(item)


@router.post(
    "/sessions/{name}/chat",
    operation_id="chat",
    status_code=200,
    response_class=EventStream,
    responses=EVENT_STREAM | CONFLICT,
)
async def chat(
    request: Request,
    body: PostMessage,
    access: Annotated[SessionAccess, session_access("create", "messages")],
    reading: Annotated[SessionAccess, session_access("get", "events")],
    people: PeopleOf,
    backend: Store,
    key: IdempotencyKey,
    _room: OneStream,
    last_event_id: LastEventId = None,
) -> EventStream:
    """Say something and follow its turn to the end; with the same Idempotency-Key a repeat goes on with that turn."""
    begin = _position(last_event_id)
    if begin is not None:
        async with backend.store() as conn:
            _require_past(begin, await last_sequence(conn, reading.uid) or 0)
    posted = await post(people, backend, access, body, key)
    live: Live = request.app.state.live
    return EventStream(_chat_frames(backend, live, access.uid, posted, max(begin or 0, posted.sequence)))


async def _chat_frames(
    backend: Backend, live: Live, session_uid: str, posted: Posted, begin: int
) -> AsyncGenerator[bytes]:
    yield frame("accepted", accepted(posted), begin)
    name = posted.task_name
    if name is None:
        yield frame("done", Done(phase="Succeeded"))
        return
    stream = SessionStream(
        backend,
        live,
        session_uid,
        begin,
        task=name,
        up_to_date=not posted.repeated,
        silence=HEARTBEAT_SECONDS,
    )
    async with aclosing(stream.items()) as items:
        async for item in items:
            done = _done(name, item)
            if done is None or isinstance(item, TaskIs):
                yield _frame(item)
            if done is not None:
                yield frame("done", done)
                return


def _frame(item: Item) -> bytes:
    match item:
        case EventRow():
            return frame("event", event_view(item), item.sequence)
        case Delta():
            return frame("delta", _delta(item))
        case SessionIs(look):
            return frame("session", SessionChange(state=look.state, why=look.why))
        case TaskIs(_, change):
            return frame("task", change)
        case Silence():
            return HEARTBEAT
        case NoTask() | Ended(gone=True):
            return frame("bye", Bye(reason="SessionGone"))
        case Ended():
            return frame("bye", Bye(reason="Shutdown"))


def _delta(delta: Delta) -> DeltaView:
    return DeltaView(
        task=delta.task,
        step=delta.step,
        attempt=delta.attempt,
        round=delta.round,
        offset=delta.offset,
        text=delta.text,
    )


def _done(name: str, item: Item) -> Done | None:
    """Tell how a chat's turn ended; None while it has not."""
    match item:
        case TaskIs(task, _):
            return _done_task(task)
        case NoTask(look):
            return _done_without(name, look)
        case Ended(gone=True):
            return Done(
                task=name, phase="Failed", reason="SessionDeleted", message="The Session was deleted."
            )
        case _:
            return None


def _done_task(task: FollowedTask) -> Done | None:
    if task.ended is not None:
        return Done(
            task=task.name, phase=task.ended, reason=task.reason, message=task.message, output=task.output
        )
    if task.gone:
        return Done(task=task.name, phase="Cancelled", reason="Cancelled", message="The task was deleted.")
    return None


def _done_without(name: str, look: Look) -> Done:
    if look.gone:
        return Done(task=name, phase="Failed", reason="SessionDeleted", message="The Session was deleted.")
    if look.state in FINAL:
        message = f"The Session was {look.state} before the turn began."
        return Done(task=name, phase="Failed", reason="SessionEnded", message=message)
    return Done(task=name, phase="Failed", reason="Error", message="No Task could be made for the message.")


def _position(last_event_id: str | None) -> int | None:
    if last_event_id is None or last_event_id == "":
        return None
    if not (last_event_id.isascii() and last_event_id.isdecimal()) or len(last_event_id) > _MAX_DIGITS:
        detail = f"{LAST_EVENT_ID_HEADER} must be the id of a frame of this session's stream: a whole number"
        raise bad_request(LAST_EVENT_ID_HEADER, detail)
    return int(last_event_id)


def _require_past(begin: int | None, last: int) -> None:
    if begin is not None and begin > last:
        detail = f"the session has {last} events, and none after {begin} yet: it is another one; begin with after=0"
        raise conflict(detail, reason="SequenceAhead")
