"""A container's files (``/runner/v1``): what it finds before it starts, and what it leaves.

The container itself has no token: what Parley runs beside it asks. It names no attempt, which follows from its pod.
"""

import asyncio
from typing import Annotated

from fastapi import Body, Request, Response
from pydantic import JsonValue

from parley.gateway.calling import Backend, Caller, Calling, Store, step_router
from parley.gateway.files import FileRefused, read_file
from parley.gateway.problems import Busy
from parley.protocol.messages import MAX_FILE_BYTES, FileAnswer, FileProblem, InputFileAnswer
from parley.protocol.request import ContainerRequest
from parley.store.errors import Stopped
from parley.store.uploads import container_input, put_upload

router = step_router()

SMALL_BYTES = 256 * 1024
"""Files up to here wait for no others."""
_BODY_SECONDS = 30.0

_FILE_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/input", response_model=InputFileAnswer)
async def get_input(caller: Calling, backend: Store) -> Response:
    """Get what this pod's container is given as its input file."""
    async with backend.room_for_input():
        given = await _input_of(caller, backend)
        # As text before others have the room, and in a thread: the largest take a second.
        text = await asyncio.to_thread(given.model_dump_json, by_alias=True)
    return Response(text, media_type="application/json")


async def _input_of(caller: Caller, backend: Backend) -> InputFileAnswer:
    pod = caller.step
    async with backend.store_of(caller) as conn:
        found = await container_input(
            conn, job=pod.job, index=pod.index, task_uid=pod.task_uid, namespace=pod.namespace
        )
    file = ContainerRequest.model_validate(found.request).input_file
    if file is None:
        raise Stopped("Gone")
    steps: dict[str, JsonValue] = {
        variable: {"output": found.outputs.get(name)} for variable, name in file.steps.items()
    }
    return InputFileAnswer(path=file.path, template=file.template, scope={**file.scope, "steps": steps})


@router.put("/output", openapi_extra=_FILE_BODY)
async def put_output(request: Request, caller: Calling, backend: Store) -> FileAnswer:
    """Store the file that this pod's container left; one that is no output is stored as what is wrong with it."""
    size = request.headers.get("Content-Length", "")
    if size.isdecimal() and int(size) <= SMALL_BYTES:
        return await _store(request, caller, backend)
    async with backend.room_for_file():
        return await _store(request, caller, backend)


async def _store(request: Request, caller: Caller, backend: Backend) -> FileAnswer:
    raw = await _read_bounded(request)
    try:
        value = None if raw is None else await asyncio.to_thread(read_file, raw)
    except FileRefused as refused:
        return await _refuse(caller, backend, FileProblem(problem=str(refused), too_large=refused.too_large))
    if raw is None:
        problem = f"/parley/output is larger than {MAX_FILE_BYTES} bytes"
        return await _refuse(caller, backend, FileProblem(problem=problem, too_large=True))
    pod = caller.step
    async with backend.store_of(caller) as conn:
        await put_upload(
            conn, job=pod.job, index=pod.index, task_uid=pod.task_uid, namespace=pod.namespace, value=value
        )
    return FileAnswer()


@router.put("/output/problem")
async def put_problem(body: Annotated[FileProblem, Body()], caller: Calling, backend: Store) -> FileAnswer:
    """Store why this pod's container left no output."""
    return await _refuse(caller, backend, body)


async def _refuse(caller: Calling, backend: Store, body: FileProblem) -> FileAnswer:
    pod = caller.step
    async with backend.store_of(caller) as conn:
        await put_upload(
            conn,
            job=pod.job,
            index=pod.index,
            task_uid=pod.task_uid,
            namespace=pod.namespace,
            problem=body.problem,
            too_large=body.too_large,
        )
    return FileAnswer(problem=body.problem)


async def _read_bounded(request: Request) -> bytearray | None:
    """Read the body as it comes; None once it is larger than any output may be.

    Raises:
        Busy: it comes too slowly; others wait for the room.
    """
    raw = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > MAX_FILE_BYTES:
                    return None
    except TimeoutError as error:
        raise Busy(f"the file did not arrive within {_BODY_SECONDS:.0f} s") from error
    return raw
