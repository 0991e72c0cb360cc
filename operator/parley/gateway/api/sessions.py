"""Sessions: listed, made, read, changed, deleted. The gateway acts once the caller's own rights were asked for."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

from fastapi import Query, Response

from parley.api.sessions import (
    DEFAULT_PAGE,
    MAX_PAGE,
    CreateSession,
    SessionList,
    SessionView,
    UpdateSession,
)
from parley.gateway.access.dependencies import (
    IdempotencyKey,
    NamespaceAccess,
    PeopleOf,
    SessionAccess,
    Store,
    namespace_access,
    session_access,
)
from parley.gateway.access.refusal import bad_request, not_found
from parley.gateway.access.route import CONFLICT, people_router
from parley.gateway.api.creating import create_session
from parley.gateway.api.filters import SessionFilter, read_pairs
from parley.gateway.api.pages import CHUNK, PageTokenQuery, find_page, tokens_of
from parley.gateway.api.views import session_view
from parley.kube.client import JsonObject
from parley.kube.errors import Invalid
from parley.kube.kinds import SESSION
from parley.resources.session import SessionPhase

router = people_router()


@router.get(
    "/sessions",
    operation_id="listSessions",
    response_model_exclude_unset=True,
    response_model_exclude_none=True,
)
async def list_sessions(
    access: Annotated[NamespaceAccess, namespace_access("list", "sessions")],
    people: PeopleOf,
    backend: Store,
    label_selector: Annotated[
        str | None, Query(alias="labelSelector", max_length=1024, description="as kubectl's -l takes it")
    ] = None,
    metadata: Annotated[
        list[str] | None, Query(max_length=16, description="key=value of spec.metadata; all must fit")
    ] = None,
    state: Annotated[SessionPhase | None, Query(description="status.phase")] = None,
    user: Annotated[str | None, Query(max_length=256, description="id of one of its users")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
    page_token: PageTokenQuery = None,
) -> SessionList:
    """List the namespace's Sessions that the caller may see; a page may hold fewer than there are to come."""
    wanted = SessionFilter(
        metadata=read_pairs("metadata", metadata or []),
        state=state,
        users=frozenset(one for one in (user, access.only_user) if one is not None),
    )

    async def read(size: int, after: str) -> tuple[Sequence[JsonObject], str]:
        try:
            return await people.kube.page(
                SESSION, namespace=access.namespace, selector=label_selector or "", limit=size, token=after
            )
        except Invalid as error:
            field = "labelSelector" if "selector" in error.message.lower() or not after else "pageToken"
            raise bad_request(field, f"the API server refuses it: {error.message}") from error

    async def fits(body: JsonObject) -> bool:
        return wanted.fits(body)

    filters = {"namespace": access.namespace, "selector": label_selector or "", **wanted.to_json()}
    page = await find_page(
        read,
        fits,
        tokens=tokens_of(access, backend, filters),
        limit=limit,
        token=page_token,
        chunk_size=CHUNK if wanted else limit,
    )
    return SessionList(
        items=[session_view(body) for body in page.items], next_page_token=page.next_page_token
    )


@router.post(
    "/sessions",
    operation_id="createSession",
    status_code=HTTPStatus.CREATED,
    response_model=SessionView,
    response_model_exclude_unset=True,
    response_model_exclude_none=True,
    responses={
        **CONFLICT,
        200: {"model": SessionView, "description": "made by an earlier request of this key"},
    },
)
async def create(
    body: CreateSession,
    access: Annotated[NamespaceAccess, namespace_access("create", "sessions")],
    people: PeopleOf,
    backend: Store,
    key: IdempotencyKey,
    response: Response,
) -> SessionView:
    """Make a Session. A caller who may reach a user's Sessions only makes them for that user."""
    made = await create_session(people, backend, access, body, key)
    if made.repeated:
        response.status_code = HTTPStatus.OK
    return session_view(made.body)


@router.get(
    "/sessions/{name}",
    operation_id="getSession",
    response_model_exclude_unset=True,
    response_model_exclude_none=True,
    responses=CONFLICT,
)
async def get_session(
    access: Annotated[SessionAccess, session_access("get")], people: PeopleOf
) -> SessionView:
    """Read a Session."""
    body = await people.kube.get(SESSION, access.namespace, access.name)
    if body is None or session_view(body).metadata.uid != access.uid:
        people.sessions.forget(access.namespace, access.name)
        raise not_found("Session", access.namespace, access.name)
    return session_view(body)


@router.patch(
    "/sessions/{name}",
    operation_id="updateSession",
    response_model_exclude_unset=True,
    response_model_exclude_none=True,
    responses=CONFLICT,
)
async def update_session(
    body: UpdateSession,
    access: Annotated[SessionAccess, session_access("patch")],
    people: PeopleOf,
) -> SessionView:
    """Change a Session; null puts a field back to its default."""
    given = body.model_dump(mode="json", by_alias=True, exclude_unset=True)
    version = given.pop("resourceVersion", None)
    # A Session made again under the name is another one.
    metadata: JsonObject = {"uid": access.uid}
    if "labels" in given:
        metadata["labels"] = given.pop("labels")
    patch: JsonObject = {"metadata": metadata, "spec": given} if given else {"metadata": metadata}
    try:
        written = await people.kube.merge_patch(
            SESSION, access.namespace, access.name, patch, resource_version=version
        )
    finally:
        people.sessions.forget(access.namespace, access.name)
    return session_view(written)


@router.delete(
    "/sessions/{name}",
    operation_id="deleteSession",
    status_code=HTTPStatus.ACCEPTED,
    response_class=Response,
    responses={
        **CONFLICT,
        202: {"description": "it is deleted; what was said is kept as spec.retention says"},
    },
)
async def delete_session(
    access: Annotated[SessionAccess, session_access("delete")], people: PeopleOf
) -> Response:
    """Delete a Session, and with it the Tasks it owns."""
    try:
        await people.kube.delete(SESSION, access.namespace, access.name, uid=access.uid)
    finally:
        people.sessions.forget(access.namespace, access.name)
    return Response(status_code=HTTPStatus.ACCEPTED)
