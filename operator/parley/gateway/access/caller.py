"""Whose a bearer token is: a TokenReview, kept for ten seconds."""

import asyncio
import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from parley.gateway.access.one_at_a_time import OneAtATime
from parley.gateway.access.refusal import unauthenticated
from parley.gateway.identity import MAX_TOKEN_LENGTH, Remembered
from parley.kube.client import KubeApi
from parley.kube.people import Person
from parley.protocol.messages import TOKEN_AUDIENCE

TOKEN_SECONDS = 10.0
"""How long a token that was revoked may still be good."""
STRANGER_SECONDS = 2.0
"""How long a refused token stays refused unasked: a client in a loop must not become one of the API server."""
REVIEWS_AT_ONCE = 4
"""Made-up tokens are all new: whoever sends them must not have the API server to themselves through the gateway."""

_TOKEN = re.compile(r"[\x21-\x7e]+")
_HOW = "send a Kubernetes token as `Authorization: Bearer <token>`, such as of `kubectl create token <service account>`"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        person: as the API server knows them.
        acting_for: id of the user in whose place a backend acts (``Parley-User``).
    """

    person: Person
    acting_for: str | None = None

    @property
    def username(self) -> str:
        """The caller's user name in Kubernetes."""
        return self.person.username


class Callers:
    """Tells whose token a request carries.

    Args:
        kube: the API server.
        clock: monotonic seconds, for tests.
    """

    def __init__(self, kube: KubeApi, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._known: Remembered[bytes, Person] = Remembered(TOKEN_SECONDS, clock)
        self._strangers: Remembered[bytes, str] = Remembered(STRANGER_SECONDS, clock)
        self._asking: OneAtATime[bytes] = OneAtATime()
        self._room = asyncio.Semaphore(REVIEWS_AT_ONCE)

    async def identify(self, authorization: str | None) -> Person:
        """Return who sends this ``Authorization`` header.

        Raises:
            Refusal: there is no bearer token, or it is not good for the API server (401).
            KubeError: the API server does not answer.
        """
        token = _bearer(authorization)
        key = hashlib.sha256(token.encode()).digest()
        if known := self._known.get(key):
            return known
        async with self._asking(key):
            return self._known.get(key) or await self._ask(token, key)

    async def _ask(self, token: str, key: bytes) -> Person:
        if why := self._strangers.get(key):
            raise unauthenticated(why)
        async with self._room:
            identity = await self._kube.review_token(token, [])
        if identity.authenticated and identity.username and TOKEN_AUDIENCE not in identity.audiences:
            return self._known.put(key, identity.person)
        # A step pod's token speaks to the runner's endpoints, never as a person.
        raise unauthenticated(self._strangers.put(key, f"the API server does not take this token; {_HOW}"))


def _bearer(authorization: str | None) -> str:
    if authorization is None:
        raise unauthenticated(f"there is no Authorization header; {_HOW}")
    scheme, _, token = authorization.partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthenticated(f"the Authorization header holds no bearer token; {_HOW}")
    if len(token) > MAX_TOKEN_LENGTH or not _TOKEN.fullmatch(token):
        raise unauthenticated(f"this is no token; {_HOW}")
    return token
