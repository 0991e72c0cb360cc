"""A runner's calls (``/runner/v1``): one call of ``store.runner_calls`` each."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Path, Request, Response

from parley.gateway.calling import Backend, Caller, Calling, Store, step_router
from parley.gateway.identity import StepPod, WarmPod
from parley.gateway.waiting import next_attempt, pool_waiter
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

_MAX_ID = 2**63 - 1

AttemptId = Annotated[int, Path(ge=1, le=_MAX_ID)]
Round = Annotated[int, Path(ge=0, le=MAX_INDEX)]
Call = Annotated[int, Path(ge=0, le=MAX_INDEX)]

router = step_router()


@router.post(
    "/take",
    response_model=TakeAnswer,
    responses={204: {"description": "none is ready for a runner that takes one after the other: ask again"}},
)
async def take(
    request: Request, caller: Calling, backend: Store, body: TakeBody | None = None
) -> TakeAnswer | Response:
    """Get the attempt that this pod's Job was made for, or the next of its task or pool; a repeat gets the same."""
    pod = caller.pod
    if isinstance(pod, StepPod) and not pod.stays:
        async with backend.store_of(caller) as conn:
            return await runner_calls.take(
                conn,
                job=pod.job,
                index=pod.index,
                task_uid=pod.task_uid,
                namespace=pod.namespace,
                holder=caller.holder,
            )
    asked = body or TakeBody()
    found = await next_attempt(
        request, pool_waiter(request, pod), lambda: _look(caller, backend, asked), asked.wait
    )
    return Response(status_code=HTTPStatus.NO_CONTENT) if found is None else found


async def _look(caller: Caller, backend: Backend, asked: TakeBody) -> TakeAnswer | None:
    pod, holder = caller.pod, caller.holder
    async with backend.store_of(caller) as conn:
        if isinstance(pod, WarmPod):
            return await runner_calls.take_warm(
                conn, pool=pod.pool, namespace=pod.namespace, holder=holder, own=asked.own
            )
        return await runner_calls.take_next(
            conn, task_uid=pod.task_uid, namespace=pod.namespace, holder=holder
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
