"""The making of a Session, once for each idempotency key: one that was deleted since is not made again."""

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import NamedTuple, cast

from parley.api.sessions import CreateSession
from parley.gateway.access.dependencies import NamespaceAccess
from parley.gateway.access.people import People
from parley.gateway.access.refusal import Refusal, conflict
from parley.gateway.calling import Backend
from parley.kube.client import JsonObject
from parley.kube.errors import AlreadyExists
from parley.kube.kinds import SESSION
from parley.store.context import MAX_CONTEXT_BYTES
from parley.store.errors import ResultTooLarge
from parley.store.idempotency import remember, replace_answer
from parley.store.rows import encode_limited

REQUEST_ANNOTATION = "parley.dev/request"
"""On a Session that was made with an idempotency key: which request made it."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a key stands for.

    Attributes:
        name: of its Session.
        request: the mark of the request, on the Session.
        scope: whose key it is.
        body_hash: of the request.
        was_made: the Session was there once.
    """

    name: str
    request: str
    scope: str
    key: str
    body_hash: str
    was_made: bool


class MadeSession(NamedTuple):
    """A Session that is there. ``repeated``: an earlier request had made it."""

    body: JsonObject
    repeated: bool


async def create_session(
    people: People, backend: Backend, access: NamespaceAccess, asked: CreateSession, key: str | None
) -> MadeSession:
    """Make the Session that is asked for.

    Raises:
        Refusal: the caller may make Sessions for another user only (422), the name is taken, or the Session of this key
            was deleted (409), or its context is larger than is stored (413).
        KeyReused: the key came with another body.
        KubeError: the API server refuses it.
    """
    spec = asked.spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    if access.only_user is not None:
        _limit(spec, access.only_user)
    _bound_context(asked)
    name, claim = asked.name or f"s-{secrets.token_hex(5)}", None
    if key is not None:
        body = asked.model_dump(mode="json", by_alias=True, exclude_unset=True)
        claim = await _claim(backend, access, asked.name, key, body)
        name = claim.name
    if claim is not None and claim.was_made:
        return MadeSession(await _earlier(people, access, claim), repeated=True)
    metadata: JsonObject = {"name": name, "namespace": access.namespace}
    if asked.labels:
        metadata["labels"] = dict(asked.labels)
    if claim is not None:
        metadata["annotations"] = {REQUEST_ANNOTATION: claim.request}
    try:
        made = MadeSession(
            await people.kube.create(SESSION, access.namespace, {"metadata": metadata, "spec": spec}),
            repeated=False,
        )
    except AlreadyExists:
        found = None if claim is None else await _find(people, access, claim)
        if found is None:
            detail = (
                f'a Session "{name}" exists in namespace "{access.namespace}": choose another name, or none'
            )
            raise conflict(detail, reason="AlreadyExists", field="body.name") from None
        made = MadeSession(found, repeated=True)
    finally:
        people.sessions.forget(access.namespace, name)
    if claim is not None:
        await _confirm(backend, claim)
    return made


async def _claim(
    backend: Backend, access: NamespaceAccess, name: str | None, key: str, body: JsonObject
) -> _Claim:
    """Let a key stand for this body from now on.

    It is claimed before the Session is made, so that a death in between leaves nothing double: the repeat makes it
    under the same name, or finds it.
    """
    scope = json.dumps(["sessions", access.namespace, access.caller.username, access.caller.acting_for])
    body_hash = _hash(body)
    request = _hash([scope, key, body_hash])
    answer: JsonObject = {"name": name or f"s-{request[:12]}"}
    async with backend.store() as conn:
        stored = await remember(conn, scope, key, body_hash, answer)
    known = cast("JsonObject", stored)
    return _Claim(str(known["name"]), request, scope, key, body_hash, was_made=known.get("made") is True)


async def _confirm(backend: Backend, claim: _Claim) -> None:
    """Note that the Session was there, before anybody is told so: without it now, it was deleted.

    In the claim itself, so that the key runs out as a whole.
    """
    answer: JsonObject = {"name": claim.name, "made": True}
    async with backend.store() as conn:
        await replace_answer(conn, claim.scope, claim.key, claim.body_hash, answer)


async def _earlier(people: People, access: NamespaceAccess, claim: _Claim) -> JsonObject:
    found = await _find(people, access, claim)
    if found is None:
        detail = f'the Session "{claim.name}" that this key made was deleted: use a new key to make another'
        raise conflict(detail, reason="IdempotencyKeyReused", field="Idempotency-Key")
    return found


async def _find(people: People, access: NamespaceAccess, claim: _Claim) -> JsonObject | None:
    """Find the Session that this request made, if it is still there."""
    found = await people.kube.get(SESSION, access.namespace, claim.name)
    if found is None or _annotations(found).get(REQUEST_ANNOTATION) != claim.request:
        return None
    return found


def _bound_context(asked: CreateSession) -> None:
    """Refuse a context that no step could change: with the change it would be over the store's bound."""
    try:
        encode_limited(asked.spec.context, "spec.context", MAX_CONTEXT_BYTES)
    except ResultTooLarge as error:
        detail = f"{error} Send less."
        raise Refusal(413, detail, reason="TooLarge", field="body.spec.context") from None


def _limit(spec: JsonObject, user: str) -> None:
    """Let the Session be this user's: by its spec, or because the spec names nobody."""
    if "restoreFrom" in spec:
        detail = "spec.restoreFrom: only who may make Sessions for anybody may go on with an earlier one's transcript"
        raise Refusal(422, detail, reason="NotYours", field="body.spec.restoreFrom")
    if "users" in spec:
        ids = [one.get("id") for one in cast("list[JsonObject]", spec["users"])]
    else:
        person = cast("JsonObject", spec.setdefault("user", {}))
        ids = [person.setdefault("id", user)]
    if user not in ids:
        detail = f"spec.user.id: you may make Sessions for {user} only: leave it out, or name that user"
        raise Refusal(422, detail, reason="NotYours", field="body.spec.user.id")


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _annotations(body: JsonObject) -> JsonObject:
    return cast("JsonObject", cast("JsonObject", body["metadata"]).get("annotations") or {})
