"""What a route takes to be sure of its caller: ``session_access`` for one Session, ``namespace_access`` for the rest.

A right is a verb on one of Parley's resources or subresources, session-wide, or the same verb on ``sessions/own``,
which reaches Sessions whose user is the caller. A backend that acts for a user (``Parley-User``) needs such a right
as well as ``act-for`` on that user, and reaches that user's Sessions only.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request

from parley.api.common import IDEMPOTENCY_HEADER, MAX_IDEMPOTENCY_KEY, MAX_USER_ID, USER_HEADER
from parley.gateway.access.caller import Caller
from parley.gateway.access.people import People, people_of
from parley.gateway.access.refusal import Refusal, bad_request, forbidden, not_found
from parley.gateway.calling import Store
from parley.kube.people import Person
from parley.resources.common import DNS_LABEL, DNS_SUBDOMAIN
from parley.resources.session import SessionSpec

__all__ = [
    "IdempotencyKey",
    "NamespaceAccess",
    "NamespaceName",
    "ObjectName",
    "OneStream",
    "PeopleOf",
    "SessionAccess",
    "Store",
    "namespace_access",
    "session_access",
]

_OWN = "own"
_OWNED = frozenset({"sessions", "tasks"})
"""Resources that ``sessions/own`` reaches: the Sessions themselves, and their Tasks."""
_NEVER_OWN = frozenset({"import"})
"""Whoever imports writes what others are said to have said."""

NamespaceName = Annotated[str, Path(max_length=63, pattern=DNS_LABEL, description="the Kubernetes namespace")]
ObjectName = Annotated[str, Path(max_length=253, pattern=DNS_SUBDOMAIN, description="name of the object")]
PeopleOf = Annotated[People, Depends(people_of)]


@dataclass(frozen=True, slots=True)
class SessionAccess:
    """One Session that this caller may use.

    Attributes:
        uid: the Session's; rows of the store are keyed by it.
        speaker: id of the user as whom the caller speaks (own Sessions, or acting for a user); None: any of the
            Session's.
    """

    caller: Caller
    namespace: str
    name: str
    uid: str
    spec: SessionSpec
    speaker: str | None


@dataclass(frozen=True, slots=True)
class NamespaceAccess:
    """A namespace in which this caller may do something.

    Attributes:
        only_user: id of the user to whose Sessions the caller is limited; None: to nobody's.
    """

    caller: Caller
    namespace: str
    only_user: str | None


def _idempotency_key(
    key: Annotated[
        str | None,
        Header(
            alias=IDEMPOTENCY_HEADER,
            description="makes a repeat of the request the same request: 1 to 128 printable characters of ASCII",
        ),
    ] = None,
) -> str | None:
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY or not (key.isascii() and key.isprintable()):
        raise bad_request(
            IDEMPOTENCY_HEADER, f"{IDEMPOTENCY_HEADER} must be 1 to 128 printable characters of ASCII"
        )
    return key


IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]


def _acting_for(
    user: Annotated[
        str | None,
        Header(
            alias=USER_HEADER,
            description="id of the user for whom a backend acts; it needs the verb act-for on users.parley.dev",
        ),
    ] = None,
) -> str | None:
    if user is None:
        return None
    try:
        # Headers come as Latin-1; ids of users are sent in UTF-8.
        decoded = user.encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise bad_request(USER_HEADER, f"{USER_HEADER} is no UTF-8") from None
    if not 1 <= len(decoded) <= MAX_USER_ID or not decoded.isprintable():
        raise bad_request(USER_HEADER, f"{USER_HEADER} must be 1 to {MAX_USER_ID} printable characters")
    return decoded


_ActingFor = Annotated[str | None, Depends(_acting_for)]


def session_access(verb: str, subresource: str | None = None, *, resource: str = "sessions") -> Any:  # noqa: ANN401
    """Make the dependency of a route of one Session (``…/sessions/{name}…``); annotate with ``SessionAccess``.

    Args:
        verb: of RBAC.
        subresource: of the resource.
        resource: whose right it is, where that is not ``sessions``.
    """

    async def find(
        request: Request, namespace: NamespaceName, name: ObjectName, people: PeopleOf, user: _ActingFor
    ) -> SessionAccess:
        caller = await _caller(request, people, namespace, user, ("Session", name))
        rights = _Rights(people, caller, namespace, resource, subresource or "")
        named = name if resource == "sessions" else ""
        only = await rights.limit(verb, named)
        if only is None:
            if await rights.sees(name):
                raise forbidden(verb, rights.title, namespace)
            raise not_found("Session", namespace, name)
        try:
            found = await people.sessions.read(namespace, name)
        except Refusal:
            # Whose it is cannot be read: who may read all is told so, nobody else that it is there.
            if only.user is None:
                raise
            found = None
        if found is None or (only.user is not None and only.user not in found.user_ids):
            raise not_found("Session", namespace, name)
        return SessionAccess(caller, namespace, name, found.uid, found.spec, only.user)

    return Depends(find)


def namespace_access(verb: str, resource: str, subresource: str | None = None) -> Any:  # noqa: ANN401
    """Make the dependency of a route of a namespace; annotate with ``NamespaceAccess``."""

    async def find(
        request: Request, namespace: NamespaceName, people: PeopleOf, user: _ActingFor
    ) -> NamespaceAccess:
        caller = await _caller(request, people, namespace, user, (resource, ""))
        rights = _Rights(people, caller, namespace, resource, subresource or "")
        only = await rights.limit(verb, str(request.path_params.get("name", "")))
        if only is None:
            if await rights.sees(""):
                raise forbidden(verb, rights.title, namespace)
            raise not_found(resource, namespace)
        return NamespaceAccess(caller, namespace, only.user)

    return Depends(find)


async def _stream(people: PeopleOf, request: Request, user: _ActingFor) -> AsyncGenerator[None]:
    person: Person = request.state.person
    with people.streams.hold(person.username, user):
        yield


OneStream = Annotated[None, Depends(_stream)]
"""Holds the room for one stream until the answer has ended; refuses with 429. Name it after the access."""


async def _caller(
    request: Request, people: People, namespace: str, user: str | None, meant: tuple[str, str]
) -> Caller:
    person: Person = request.state.person
    if user is not None:
        for asked in ("", user):
            if await people.permissions.check(person, "act-for", "users", namespace, name=asked):
                return Caller(person, user)
        raise not_found(meant[0], namespace, meant[1])
    return Caller(person, user)


@dataclass(frozen=True, slots=True)
class _Limit:
    """To whose Sessions a right is limited; None: to nobody's."""

    user: str | None


@dataclass(frozen=True, slots=True)
class _Rights:
    """What one caller may do with one resource of a namespace."""

    people: People
    caller: Caller
    namespace: str
    resource: str
    subresource: str

    @property
    def title(self) -> str:
        """The resource as RBAC rules name it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    async def limit(self, verb: str, name: str) -> _Limit | None:
        """Return how far the right to a verb goes; None: there is none."""
        person, acting_for = self.caller.person, self.caller.acting_for
        check = self.people.permissions.check
        if acting_for is not None and await self._is_for_own(verb):
            # As far as any other right goes for one who acts for a user, and known already for every name.
            return _Limit(acting_for)
        # Of all first: that answer serves every name. A right may also be for certain names.
        for asked in ("", name) if name else ("",):
            if await check(
                person, verb, self.resource, self.namespace, name=asked, subresource=self.subresource
            ):
                return _Limit(acting_for)
        return _Limit(person.username) if acting_for is None and await self._is_for_own(verb) else None

    async def _is_for_own(self, verb: str) -> bool:
        """Tell whether the caller may do this with the Sessions of the user it is, or acts for."""
        if self.resource not in _OWNED or self.subresource in _NEVER_OWN:
            return False
        check = self.people.permissions.check
        return await check(self.caller.person, verb, "sessions", self.namespace, subresource=_OWN)

    async def sees(self, session: str) -> bool:
        """Tell whether the caller may know of what was refused: of this Session, or of any in the namespace."""
        reading = _Rights(self.people, self.caller, self.namespace, "sessions", "")
        only = await reading.limit("get" if session else "list", session)
        if only is None or not session:
            return only is not None
        try:
            found = await self.people.sessions.read(self.namespace, session)
        except Refusal:
            return only.user is None
        return found is not None and (only.user is None or only.user in found.user_ids)
