"""The context of a session: what templates read, and people may change."""

from typing import Annotated

from parley.api.sessions import ContextView, UpdateContext
from parley.gateway.access.dependencies import PeopleOf, SessionAccess, Store, session_access
from parley.gateway.access.refusal import not_found
from parley.gateway.access.route import CONFLICT, people_router
from parley.store.context import change_context, read_context
from parley.store.errors import SessionOver

router = people_router()


@router.get("/sessions/{name}/context", operation_id="getContext", responses=CONFLICT)
async def get_context(
    access: Annotated[SessionAccess, session_access("get", "context")], people: PeopleOf, backend: Store
) -> ContextView:
    """Read the whole context: the spec's first values, until steps or people change them."""
    async with backend.store() as conn:
        stored = await read_context(conn, access.uid)
    if stored is not None and stored.gone:
        people.sessions.forget(access.namespace, access.name)
        raise not_found("Session", access.namespace, access.name)
    if stored is None or stored.context is None:
        return ContextView(context=access.spec.context, version=stored.version if stored else 0)
    return ContextView(context=stored.context, version=stored.version)


@router.patch("/sessions/{name}/context", operation_id="updateContext", responses=CONFLICT)
async def update_context(
    body: UpdateContext,
    access: Annotated[SessionAccess, session_access("patch", "context")],
    people: PeopleOf,
    backend: Store,
) -> ContextView:
    """Change keys of the context; steps that begin from now on see it."""
    try:
        async with backend.store() as conn:
            stored = await change_context(
                conn, access.uid, body.changes, base=access.spec.context, version=body.version
            )
    except SessionOver:
        people.sessions.forget(access.namespace, access.name)
        raise not_found("Session", access.namespace, access.name) from None
    context = stored.context if stored.context is not None else access.spec.context
    return ContextView(context=context, version=stored.version)
