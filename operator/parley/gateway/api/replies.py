"""What waits for a person, and what a person says: a Reply that the API server itself signs with the caller's name."""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, cast

from fastapi import Query, Response

from parley.api.replies import CreateReply, ReplyView, WaitingList, WaitingView
from parley.api.sessions import DEFAULT_PAGE, MAX_PAGE
from parley.gateway.access.dependencies import (
    IdempotencyKey,
    NamespaceAccess,
    PeopleOf,
    Store,
    namespace_access,
)
from parley.gateway.access.people import People
from parley.gateway.access.refusal import Refusal, bad_request, conflict, not_found
from parley.gateway.access.route import CONFLICT, people_router
from parley.gateway.api.ownership import is_of_user, require_user, session_of
from parley.gateway.api.pages import PageTokenQuery, find_page, tokens_of
from parley.gateway.api.views import status_of
from parley.kube.client import JsonObject
from parley.kube.errors import AlreadyExists, Forbidden, Invalid
from parley.kube.kinds import REPLY, TASK
from parley.kube.people import MASTERS
from parley.resources.conditions import ACCEPTED
from parley.resources.reply import ReplyStatus
from parley.resources.task_status import TaskStatus, WaitingEntry

DECISION_SECONDS = 5.0
"""How long the operator's decision is waited for."""
FIRST_LOOK_SECONDS = 0.05
LONGEST_LOOK_SECONDS = 0.5

_OPEN = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Cancelled"

router = people_router()


@router.get("/waiting", operation_id="listWaiting", response_model_exclude_none=True)
async def list_waiting(
    access: Annotated[NamespaceAccess, namespace_access("list", "tasks")],
    people: PeopleOf,
    backend: Store,
    limit: Annotated[
        int, Query(ge=1, le=MAX_PAGE, description="Tasks, each with up to 8 questions")
    ] = DEFAULT_PAGE,
    page_token: PageTokenQuery = None,
) -> WaitingList:
    """List what waits for a person in the namespace."""

    async def read(size: int, after: str) -> tuple[Sequence[JsonObject], str]:
        try:
            return await people.kube.page(
                TASK, namespace=access.namespace, fields=_OPEN, limit=size, token=after
            )
        except Invalid as error:
            if not after:
                raise
            # Nothing else in this question to the API server is the caller's.
            raise bad_request("pageToken", f"the API server refuses it: {error.message}") from error

    async def asks_caller(task: JsonObject) -> bool:
        return _asks(task) and await is_of_user(people, access, task)

    tokens = tokens_of(access, backend, {"waiting": access.namespace})
    page = await find_page(read, asks_caller, tokens=tokens, limit=limit, token=page_token)
    items: list[WaitingView] = []
    for task in page.items:
        waiting = status_of(TaskStatus, task).waiting or []
        items += [_waiting(access.namespace, task, entry) for entry in waiting]
    return WaitingList(items=items, next_page_token=page.next_page_token)


@router.post(
    "/replies",
    operation_id="createReply",
    status_code=HTTPStatus.CREATED,
    response_model=ReplyView,
    response_model_exclude_none=True,
    responses={
        **CONFLICT,
        200: {"model": ReplyView, "description": "made by an earlier request of this key"},
    },
)
async def create_reply(
    body: CreateReply,
    access: Annotated[NamespaceAccess, namespace_access("create", "replies")],
    people: PeopleOf,
    key: IdempotencyKey,
    response: Response,
) -> ReplyView:
    """Answer a question of a Task, in the caller's own name; waits up to 5 s for what becomes of it."""
    if access.only_user is not None:
        task = await people.kube.get(TASK, access.namespace, body.task_ref.name)
        if task is None:
            raise not_found("Task", access.namespace, body.task_ref.name)
        await require_user(people, access, task)
    spec = _spec(body)
    name = f"r-{_digest(access, key)}" if key is not None else f"r-{secrets.token_hex(6)}"
    manifest: JsonObject = {"metadata": {"name": name, "namespace": access.namespace}, "spec": spec}
    try:
        made = await people.kube.create(REPLY, access.namespace, manifest, as_user=access.caller.person)
    except AlreadyExists:
        made = await _repeated(people, access, name, spec)
        response.status_code = HTTPStatus.OK
    except Forbidden as error:
        raise _refused(access, error) from error
    return await _decided(people, access.namespace, made)


def _spec(body: CreateReply) -> JsonObject:
    spec = body.model_dump(mode="json", by_alias=True, exclude_none=True)
    # A value may be null.
    return spec if body.choice is not None else {**spec, "value": body.value}


async def _repeated(people: People, access: NamespaceAccess, name: str, spec: JsonObject) -> JsonObject:
    """Find what an earlier request with this key made."""
    found = await people.kube.get(REPLY, access.namespace, name)
    if found is None:
        raise conflict("the Reply of this key was deleted: use a new key", reason="IdempotencyKeyReused")
    said = {key: value for key, value in cast("JsonObject", found["spec"]).items() if key != "by"}
    if said != spec:
        detail = "the idempotency key was used for another answer before: use a new key"
        raise conflict(detail, reason="IdempotencyKeyReused", field="Idempotency-Key")
    return found


async def _decided(people: People, namespace: str, reply: JsonObject) -> ReplyView:
    """Wait for the operator's decision; without one in time the Reply is shown undecided."""
    name = str(cast("JsonObject", reply["metadata"])["name"])
    clock = asyncio.get_running_loop().time
    end, pause = clock() + DECISION_SECONDS, FIRST_LOOK_SECONDS
    while True:
        for condition in status_of(ReplyStatus, reply).conditions:
            if condition.type == ACCEPTED and condition.status != "Unknown":
                return ReplyView(
                    name=name,
                    accepted=condition.status == "True",
                    reason=condition.reason,
                    message=condition.message,
                )
        if clock() >= end:
            return ReplyView(name=name)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_LOOK_SECONDS)
        found = await people.kube.get(REPLY, namespace, name)
        if found is None:
            return ReplyView(name=name)
        reply = found


def _refused(access: NamespaceAccess, error: Forbidden) -> Refusal:
    """Say why the API server does not let the gateway make a Reply in the caller's name."""
    if "impersonate" in error.message:
        detail = (
            "this gateway may not reply in your name (the chart's gateway.impersonation): create a Reply with kubectl "
            f"in namespace {access.namespace}"
        )
        return Refusal(403, detail, reason="ImpersonationOff")
    if MASTERS in access.caller.person.groups:
        detail = (
            f"nobody can act in the name of a member of {MASTERS}: create the Reply yourself, with kubectl"
        )
        return Refusal(403, detail, reason="ImpersonationOff")
    return Refusal(403, f"the API server refuses it: {error.message}", reason="Forbidden")


def _digest(access: NamespaceAccess, key: str) -> str:
    caller = access.caller
    text = json.dumps([access.namespace, caller.username, caller.acting_for, key])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _asks(task: JsonObject) -> bool:
    return bool(cast("JsonObject", task.get("status") or {}).get("waiting"))


def _waiting(namespace: str, task: JsonObject, entry: WaitingEntry) -> WaitingView:
    return WaitingView(
        namespace=namespace,
        task=str(cast("JsonObject", task["metadata"])["name"]),
        session=session_of(task),
        waitID=entry.id,
        kind=entry.kind,
        step=entry.step,
        item=entry.item,
        question=entry.question,
        choices=entry.choices,
        tool=entry.call,
        arguments=entry.arguments,
        since=entry.since,
        deadline=entry.deadline,
    )
