"""Messages: what people say in a session."""

from typing import Annotated

from fastapi import Response

from parley.api.messages import MessageAccepted, PostMessage
from parley.gateway.access.dependencies import (
    IdempotencyKey,
    PeopleOf,
    SessionAccess,
    Store,
    session_access,
)
from parley.gateway.access.route import CONFLICT, people_router
from parley.gateway.api.posting import post
from parley.store.posting import Posted

router = people_router()


def accepted(posted: Posted) -> MessageAccepted:
    """Tell where a message stands."""
    return MessageAccepted(sequence=posted.sequence, event_id=posted.event_id, task=posted.task_name)


@router.post(
    "/sessions/{name}/messages",
    operation_id="postMessage",
    status_code=201,
    responses=CONFLICT
    | {200: {"model": MessageAccepted, "description": "an earlier request with this key has posted it"}},
    response_model_exclude_none=True,
)
async def post_message(
    body: PostMessage,
    access: Annotated[SessionAccess, session_access("create", "messages")],
    people: PeopleOf,
    backend: Store,
    key: IdempotencyKey,
    response: Response,
) -> MessageAccepted:
    """Say something; with an Idempotency-Key a repeat says it once. The answer comes as events."""
    posted = await post(people, backend, access, body, key)
    if posted.repeated:
        response.status_code = 200
    return accepted(posted)
