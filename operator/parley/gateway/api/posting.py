"""The posting of a message: first it is committed, then its Task is made, by the leader at the latest."""

import asyncio
import hashlib
import json
import logging
import secrets

from pydantic import JsonValue

from parley.api.messages import PostMessage
from parley.gateway.access.dependencies import SessionAccess
from parley.gateway.access.people import People
from parley.gateway.access.refusal import Refusal
from parley.gateway.api.readiness import when_ready
from parley.gateway.calling import Backend
from parley.kube.errors import AlreadyExists, KubeError
from parley.kube.kinds import TASK
from parley.resources.posted_task import posted_task, posted_task_name
from parley.resources.session import SessionUser
from parley.resources.task import MESSAGE_STEP
from parley.store.errors import KeyReused
from parley.store.posting import Posted, TurnWanted, post_message

_MAKE_SECONDS = 5.0

log = logging.getLogger(__name__)


async def post(
    people: People, backend: Backend, access: SessionAccess, asked: PostMessage, key: str | None
) -> Posted:
    """Commit a message and make its Task; a repeat with the same key finds both.

    Raises:
        Refusal: the caller may not speak as this user, or the session has no such user or agent.
        KeyReused: the key came with another body.
        SessionNotReady: the operator has not taken the Session in.
        SessionOver: the Session has ended.
        StoreUnavailable: whether the message was committed is unknown; a repeat with the same key tells.
    """
    said_by, speaker = _speaker(access, asked)
    _check_agent(access, asked)
    mark = _of_caller(access, key) if key is not None else secrets.token_hex(16)
    turn = _turn(access, asked, said_by, mark) if asked.turn else None
    restored = access.spec.restore_from

    async def commit() -> Posted:
        async with backend.store() as conn:
            return await post_message(
                conn,
                session_uid=access.uid,
                key=mark,
                body_hash=_hash(asked, said_by),
                content=asked.content,
                speaker=speaker,
                turn=turn,
                restores=restored.uid if restored is not None else None,
            )

    try:
        posted = await when_ready(people, access, commit)
    except KeyReused as error:
        if key is None:
            raise
        # The caller knows the key, and not what it is kept as.
        raise KeyReused(key) from error
    if turn is not None and posted.waits:
        await _make_task(people, access, turn)
    return posted


def _of_caller(access: SessionAccess, key: str) -> str:
    """Return what a key is kept as: several people speak in one session, and any two may choose the same key."""
    text = json.dumps([access.caller.username, access.caller.acting_for, key])
    return hashlib.sha256(text.encode()).hexdigest()


def _speaker(access: SessionAccess, asked: PostMessage) -> tuple[str | None, str | None]:
    """Return the id of who says it, None for the session's first user, and their name as models are told it."""
    known = access.spec.people
    if access.speaker is not None and asked.user not in {None, access.speaker}:
        detail = f"you speak as {access.speaker} only: leave user out, or name that one"
        raise Refusal(422, detail, reason="Invalid", field="body.user")
    said_by = access.speaker or asked.user
    if said_by is None:
        return None, _name_of(known[0]) if known else None
    for person in known:
        if person.id == said_by:
            return said_by, _name_of(person)
    ids = ", ".join(each.id for each in known if each.id) or "nobody"
    detail = f"{said_by} is none of the Session's users, which are {ids}: name one of them, or nobody"
    raise Refusal(422, detail, reason="Invalid", field="body.user")


def _name_of(person: SessionUser) -> str | None:
    return person.name or person.id


def _check_agent(access: SessionAccess, asked: PostMessage) -> None:
    agents = access.spec.agent_names
    if asked.agent is not None and asked.agent not in agents:
        detail = (
            f"{asked.agent} is none of the Session's agents, which are {', '.join(agents)}: name one of them"
        )
        raise Refusal(422, detail, reason="Invalid", field="body.agent")


def _turn(access: SessionAccess, asked: PostMessage, said_by: str | None, mark: str) -> TurnWanted:
    spec: dict[str, JsonValue] = {"sessionRef": {"name": access.name}, "message": asked.content}
    if asked.agent is not None:
        spec["agentRef"] = {"name": asked.agent}
    if said_by is not None:
        spec["user"] = said_by
    if asked.runtime is not None and asked.runtime.mode is not None:
        spec["runtime"] = {"mode": asked.runtime.mode.value}
    return TurnWanted(posted_task_name(access.uid, mark), MESSAGE_STEP, spec)


def _hash(asked: PostMessage, said_by: str | None) -> str:
    body = asked.model_dump(mode="json", by_alias=True, exclude_none=True) | {"user": said_by}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


async def _make_task(people: People, access: SessionAccess, turn: TurnWanted) -> None:
    """Make the message's Task. Should that fail, the message stands, and the leader makes it some seconds later."""
    body = posted_task(turn.task_name, access.namespace, access.name, access.uid, turn.spec)
    try:
        async with asyncio.timeout(_MAKE_SECONDS):
            await people.kube.create(TASK, access.namespace, body)
    except AlreadyExists:
        return
    except (KubeError, TimeoutError) as error:
        log.warning(
            "Task %s/%s is left for the operator to make: %s", access.namespace, turn.task_name, error
        )
