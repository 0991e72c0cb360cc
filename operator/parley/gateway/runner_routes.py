"""The runner's endpoints (``/runner/v1``): who calls, in which store, then one call of ``store.runner_calls``."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.routing import APIRoute

from parley.gateway.identity import StepIdentities, StepPod
from parley.gateway.problems import BadCall, OtherStore
from parley.protocol.messages import (
    MAX_INDEX,
    NONCE_HEADER,
    STORE_HEADER,
    CallBody,
    FinishAnswer,
    FinishBody,
    InputAnswer,
    InputBody,
    PauseAnswer,
    PauseBody,
    Problem,
    ResponseBody,
    StoredAnswer,
    TakeAnswer,
)
from parley.store import runner_calls
from parley.store.errors import StoreUnavailable
from parley.store.identity import store_id
from parley.store.pool import Connection, Pool, connect

_NONCE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Caller:
    """A step pod's process, and the store it believes its attempt is in."""

    pod: StepPod
    holder: str
    store: str


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

    @asynccontextmanager
    async def store_of(self, caller: Caller) -> AsyncGenerator[Connection]:
        """Lend a connection to the store that the caller means.

        Raises:
            OtherStore: this gateway's store is another one. It is asked each time, on the connection that is then
                used: a database can be replaced while the gateway runs.
            StoreUnavailable: the store does not answer, or not in time.
        """
        try:
            async with asyncio.timeout(self._call_seconds), connect(self._pool) as conn:
                if await store_id(conn) != caller.store:
                    raise OtherStore("the attempt's store is not the one behind this gateway")
                yield conn
        except TimeoutError as error:
            raise StoreUnavailable(f"no answer within {self._call_seconds:.0f} s") from error


def _backend(request: Request) -> Backend:
    return request.app.state.backend


class StepRoute(APIRoute):
    """Finds out who calls before anything of the body is read: a stranger's must cost nothing."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Put the identity before FastAPI's own handler, which begins with the body."""
        handle = super().get_route_handler()

        async def identified(request: Request) -> Response:
            identities = _backend(request).identities
            request.state.pod = await identities.identify(request.headers.get("Authorization"))
            return await handle(request)

        return identified


async def _caller(
    request: Request,
    store: Annotated[str | None, Header(alias=STORE_HEADER)] = None,
    nonce: Annotated[str | None, Header(alias=NONCE_HEADER)] = None,
) -> Caller:
    pod: StepPod = request.state.pod
    if not store:
        raise BadCall(f"the header {STORE_HEADER} is missing")
    if not nonce or not _NONCE.fullmatch(nonce):
        raise BadCall(f"the header {NONCE_HEADER} is missing or is no nonce")
    return Caller(pod, f"{pod.uid}/{nonce}", store)


Calling = Annotated[Caller, Depends(_caller)]
Store = Annotated[Backend, Depends(_backend)]
AttemptId = Annotated[int, Path(ge=1, le=_MAX_ID)]
Round = Annotated[int, Path(ge=0, le=MAX_INDEX)]
Call = Annotated[int, Path(ge=0, le=MAX_INDEX)]

router = APIRouter(
    prefix="/runner/v1",
    tags=["runner"],
    route_class=StepRoute,
    responses={
        401: {"model": Problem, "description": "no token, or not one for Parley"},
        403: {"model": Problem, "description": "the token's pod is not a running step of a Task"},
        409: {"model": Problem, "description": "another process holds the attempt: stop"},
        410: {"model": Problem, "description": "the attempt is closed or gone: stop"},
        413: {"model": Problem, "description": "the value is larger than the store takes"},
        422: {
            "model": Problem,
            "description": "the body is malformed, or the store cannot hold it: definite",
        },
        503: {"model": Problem, "description": "repeat the same request after Retry-After seconds"},
    },
)


@router.post("/take")
async def take(caller: Calling, backend: Store) -> TakeAnswer:
    """Get the attempt that this pod's Job was made for; a repeat gets the same answer."""
    pod = caller.pod
    async with backend.store_of(caller) as conn:
        return await runner_calls.take(
            conn,
            job=pod.job,
            index=pod.index,
            task_uid=pod.task_uid,
            namespace=pod.namespace,
            holder=caller.holder,
        )


@router.post("/attempts/{attempt}/input")
async def record_input(attempt: AttemptId, body: InputBody, caller: Calling, backend: Store) -> InputAnswer:
    """Store the turn's messages, once; the answer is what was stored first."""
    async with backend.store_of(caller) as conn:
        return await runner_calls.record_input(conn, attempt, caller.holder, body)


@router.put("/attempts/{attempt}/journal/{round_number}")
async def put_response(
    attempt: AttemptId, round_number: Round, body: ResponseBody, caller: Calling, backend: Store
) -> StoredAnswer:
    """Journal a response that contains calls; the answer is what was stored first."""
    async with backend.store_of(caller) as conn:
        return await runner_calls.put_response(conn, attempt, caller.holder, round_number, body)


@router.put("/attempts/{attempt}/journal/{round_number}/calls/{call}")
async def put_call(
    attempt: AttemptId, round_number: Round, call: Call, body: CallBody, caller: Calling, backend: Store
) -> StoredAnswer:
    """Journal that a call begins, or its result; the answer is what was stored first."""
    async with backend.store_of(caller) as conn:
        return await runner_calls.put_call(conn, attempt, caller.holder, round_number, call, body)


@router.post("/attempts/{attempt}/heartbeat")
async def heartbeat(attempt: AttemptId, caller: Calling, backend: Store) -> dict[str, str]:
    """Extend the attempt's lease."""
    async with backend.store_of(caller) as conn:
        await runner_calls.heartbeat(conn, attempt, caller.holder)
    return {}


@router.post("/attempts/{attempt}/finish")
async def finish(attempt: AttemptId, body: FinishBody, caller: Calling, backend: Store) -> FinishAnswer:
    """Commit the attempt's outcome; a repeat gets the stored answer."""
    async with backend.store_of(caller) as conn:
        return await runner_calls.finish(conn, attempt, caller.holder, body)


@router.post("/attempts/{attempt}/pause")
async def pause(attempt: AttemptId, body: PauseBody, caller: Calling, backend: Store) -> PauseAnswer:
    """Commit that the attempt waits for its calls."""
    async with backend.store_of(caller) as conn:
        return await runner_calls.pause(conn, attempt, caller.holder, body)
