"""A runner's calls (``/runner/v1``): one call of ``store.runner_calls`` each."""

import asyncio
from http import HTTPStatus
from typing import Annotated

from fastapi import Path, Request, Response

from parley.gateway.calling import Backend, Caller, Calling, Store, step_router
from parley.protocol.messages import (
    MAX_INDEX,
    CallBody,
    ContextBody,
    FinishAnswer,
    FinishBody,
    InputAnswer,
    InputBody,
    PauseAnswer,
    PauseBody,
    ResponseBody,
    StoredAnswer,
    TakeAnswer,
    TakeBody,
)
from parley.store import runner_calls

FIRST_LOOK_SECONDS = 0.05
LONGEST_LOOK_SECONDS = 0.4
"""How often the store is asked for a task's next attempt. Mostly it comes at once: the runner's last commit woke the
operator, which inserts it within milliseconds."""
_MAX_ID = 2**63 - 1

AttemptId = Annotated[int, Path(ge=1, le=_MAX_ID)]
Round = Annotated[int, Path(ge=0, le=MAX_INDEX)]
Call = Annotated[int, Path(ge=0, le=MAX_INDEX)]

router = step_router()


@router.post(
    "/take",
    response_model=TakeAnswer,
    responses={204: {"description": "none is ready for a runner that stays with its task: ask again"}},
)
async def take(
    request: Request, caller: Calling, backend: Store, body: TakeBody | None = None
) -> TakeAnswer | Response:
    """Get the attempt that this pod's Job was made for, or the task's next; a repeat gets the same answer."""
    pod = caller.pod
    if pod.stays:
        wait = 0 if body is None else body.wait
        found = await _take_next(request, caller, backend, wait)
        return Response(status_code=HTTPStatus.NO_CONTENT) if found is None else found
    async with backend.store_of(caller) as conn:
        return await runner_calls.take(
            conn,
            job=pod.job,
            index=pod.index,
            task_uid=pod.task_uid,
            namespace=pod.namespace,
            holder=caller.holder,
        )


async def _take_next(request: Request, caller: Caller, backend: Backend, wait: float) -> TakeAnswer | None:
    """Wait for the task's next attempt, without a connection to the store meanwhile."""
    clock = asyncio.get_running_loop().time
    end, pause = clock() + wait, FIRST_LOOK_SECONDS
    while True:
        async with backend.store_of(caller) as conn:
            found = await runner_calls.take_next(
                conn, task_uid=caller.pod.task_uid, namespace=caller.pod.namespace, holder=caller.holder
            )
        if found is not None or clock() >= end:
            return found
        await asyncio.sleep(min(pause, max(end - clock(), 0)))
        pause = min(pause * 2, LONGEST_LOOK_SECONDS)
        # An attempt that is given to a runner that has gone is lost until its lease lapses.
        if await request.is_disconnected():
            return None


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


@router.put("/attempts/{attempt}/journal/{round_number}/calls/{call}/context")
async def update_context(
    attempt: AttemptId, round_number: Round, call: Call, body: ContextBody, caller: Calling, backend: Store
) -> StoredAnswer:
    """Change the session's context for a call, and journal its result with it; a repeat changes nothing again."""
    async with backend.store_of(caller) as conn:
        return await runner_calls.update_context_call(conn, attempt, caller.holder, round_number, call, body)


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
