"""A session's events, page by page."""

from typing import Annotated

from fastapi import Query

from parley.api.events import DEFAULT_EVENTS, MAX_EVENTS, EventList, EventType, EventView
from parley.gateway.access.dependencies import SessionAccess, Store, session_access
from parley.gateway.access.refusal import bad_request
from parley.gateway.access.route import CONFLICT, people_router
from parley.store.transcript import EventRow, events_after, events_before, last_sequence

_MAX_SEQUENCE = 2**53 - 1

router = people_router()

# None stands inside: FastAPI does not look for a Query in one side of a union.
After = Annotated[
    int | None, Query(ge=0, le=_MAX_SEQUENCE, description="events with higher sequences, from there on")
]
Before = Annotated[
    int | None, Query(ge=1, le=_MAX_SEQUENCE, description="the last events with lower sequences")
]
Limit = Annotated[
    int,
    Query(ge=1, le=MAX_EVENTS, description="events at most; a page of large ones has fewer"),
]
Types = Annotated[
    list[EventType] | None, Query(alias="type", max_length=6, description="only of these types")
]


def event_view(row: EventRow) -> EventView:
    """Show an event as people read it."""
    return EventView(
        sequence=row.sequence,
        id=row.id,
        time=row.time,
        type=row.type,
        role="user" if row.role == "user" else "assistant" if row.role == "assistant" else None,
        speaker=row.speaker,
        content=row.content,
        task=row.task,
        step=row.step,
        item=row.item if row.item >= 0 else None,
        attempt=row.attempt,
    )


@router.get(
    "/sessions/{name}/events",
    operation_id="listEvents",
    response_model_exclude_none=True,
    responses=CONFLICT,
)
async def list_events(
    access: Annotated[SessionAccess, session_access("get", "events")],
    backend: Store,
    after: After = None,
    before: Before = None,
    limit: Limit = DEFAULT_EVENTS,
    types: Types = None,
) -> EventList:
    """List events in their order: the first ones after a sequence, or the last ones before one."""
    if after is not None and before is not None:
        raise bad_request("before", "after and before exclude each other: send one of them")
    async with backend.store() as conn:
        if before is None:
            rows = await events_after(conn, access.uid, after or 0, limit=limit, types=types)
        else:
            rows = await events_before(conn, access.uid, before, limit=limit, types=types)
        # Read last: no event of the page lies beyond it.
        last = await last_sequence(conn, access.uid) or 0
    forwards = before is None and bool(rows) and rows[-1].sequence < last
    backwards = before is not None and bool(rows) and rows[0].sequence > 1
    return EventList(
        items=[event_view(row) for row in rows],
        next_after=rows[-1].sequence if forwards else None,
        next_before=rows[0].sequence if backwards else None,
        last_sequence=last,
    )
