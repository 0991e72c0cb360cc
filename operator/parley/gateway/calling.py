"""What all calls of a step's pod have in common: who calls, and in which store."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.routing import APIRoute

from parley.gateway.identity import StepIdentities, StepPod, WarmPod
from parley.gateway.problems import BadCall, Busy, NotAStep, OtherStore
from parley.protocol.messages import NONCE_HEADER, STORE_HEADER, Problem
from parley.store.errors import StoreUnavailable
from parley.store.identity import recent_store_id
from parley.store.pool import Connection, Pool, connect

_ROOM_SECONDS = 15.0
"""Less than clients wait for an answer."""
_NONCE = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Caller:
    """A runner's process, or a slot of a warm one, and the store it believes its attempt is in."""

    pod: StepPod | WarmPod
    holder: str
    store: str

    @property
    def step(self) -> StepPod:
        """The pod, where the call is one for pods of steps only.

        Raises:
            NotAStep: it is a warm runner's.
        """
        if isinstance(self.pod, WarmPod):
            raise NotAStep("a warm runner's pod has no files of its own")
        return self.pod


class Backend:
    """What the endpoints need: who callers are, and the store.

    Args:
        identities: tells the pod behind a token.
        pool: connections to the store.
        call_seconds: after so long in the store a caller is told to repeat its call.
    """

    def __init__(self, identities: StepIdentities, pool: Pool, call_seconds: float) -> None:
        self.identities = identities
        self._pool = pool
        self._call_seconds = call_seconds
        self._file_room = asyncio.Semaphore(1)
        self._input_room = asyncio.Semaphore(2)
        self._import_room = asyncio.Semaphore(2)

    def room_for_file(self) -> AbstractAsyncContextManager[None]:
        """Hold the room for a large output file: one at a time, for as values such files take half of the memory.

        Raises:
            Busy: others have it; nothing was read yet.
        """
        return _hold(self._file_room)

    def room_for_input(self) -> AbstractAsyncContextManager[None]:
        """Hold the room for an input file, which is made from outputs of any size.

        Raises:
            Busy: others have it.
        """
        return _hold(self._input_room)

    def room_for_import(self) -> AbstractAsyncContextManager[None]:
        """Hold the room for a transcript, which is kept on the disk until it is whole.

        Raises:
            Busy: others have it; nothing was read yet.
        """
        return _hold(self._import_room)

    @asynccontextmanager
    async def store(self) -> AsyncGenerator[Connection]:
        """Lend a connection to this gateway's store, for people: they name none.

        Raises:
            StoreUnavailable: the store does not answer, or not in time.
        """
        try:
            async with asyncio.timeout(self._call_seconds), connect(self._pool) as conn:
                yield conn
        except TimeoutError as error:
            raise StoreUnavailable(f"no answer within {self._call_seconds:.0f} s") from error

    @asynccontextmanager
    async def store_of(self, caller: Caller) -> AsyncGenerator[Connection]:
        """Lend a connection to the store that the caller means.

        Raises:
            OtherStore: this gateway's store is another one. It is asked on the connection that is then used, at
                least once a second: a database can be replaced while the gateway runs.
            StoreUnavailable: the store does not answer, or not in time.
        """
        try:
            async with asyncio.timeout(self._call_seconds), connect(self._pool) as conn:
                if await recent_store_id(conn) != caller.store:
                    raise OtherStore("the attempt's store is not the one behind this gateway")
                yield conn
        except TimeoutError as error:
            raise StoreUnavailable(f"no answer within {self._call_seconds:.0f} s") from error


@asynccontextmanager
async def _hold(room: asyncio.Semaphore) -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(_ROOM_SECONDS):
            await room.acquire()
    except TimeoutError as error:
        raise Busy("other large files are under way") from error
    try:
        yield
    finally:
        room.release()


# Not a plain function: those are run in a thread.
async def _backend(request: Request) -> Backend:
    return request.app.state.backend


class StepRoute(APIRoute):
    """Finds out who calls before anything of the body is read: a stranger's must cost nothing."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Put the identity before FastAPI's own handler, which begins with the body."""
        handle = super().get_route_handler()

        async def identified(request: Request) -> Response:
            identities = (await _backend(request)).identities
            request.state.pod = await identities.identify(request.headers.get("Authorization"))
            return await handle(request)

        return identified


async def _caller(
    request: Request,
    store: Annotated[str | None, Header(alias=STORE_HEADER)] = None,
    nonce: Annotated[str | None, Header(alias=NONCE_HEADER)] = None,
) -> Caller:
    pod: StepPod | WarmPod = request.state.pod
    if not store:
        raise BadCall(f"the header {STORE_HEADER} is missing")
    if not nonce or not _NONCE.fullmatch(nonce):
        raise BadCall(f"the header {NONCE_HEADER} is missing or is no nonce")
    return Caller(pod, f"{pod.uid}/{nonce}", store)


Calling = Annotated[Caller, Depends(_caller)]
Store = Annotated[Backend, Depends(_backend)]


def step_router() -> APIRouter:
    """Make a router whose calls come from steps' pods."""
    return APIRouter(
        prefix="/runner/v1",
        tags=["runner"],
        route_class=StepRoute,
        responses={
            400: {"model": Problem, "description": "a header is missing, or not what the protocol says"},
            401: {"model": Problem, "description": "no token, or not one for Parley"},
            403: {"model": Problem, "description": "the token's pod is not a running step of a Task"},
            409: {"model": Problem, "description": "another process holds the attempt: stop"},
            410: {"model": Problem, "description": "the attempt is closed or gone: stop"},
            413: {"model": Problem, "description": "the value is larger than the store takes"},
            422: {
                "model": Problem,
                "description": "the body is malformed, the store cannot hold it, or the call lacks a person's "
                "approval: definite",
            },
            503: {"model": Problem, "description": "repeat the same request after Retry-After seconds"},
        },
    )
