"""Files of containers: what goes in before they run, and what comes out at their end.

A container takes no attempt and holds none: its pod is found by Job, Task uid, namespace and completion index, and
may read and write while the attempt is open.
"""

import asyncio
from dataclasses import dataclass

from pydantic import JsonValue

from parley.resources.reasons import Reason
from parley.store.ending import wake
from parley.store.errors import ResultTooLarge, Stopped
from parley.store.holding import LockedAttempt
from parley.store.pool import Connection
from parley.store.reading import load_outputs
from parley.store.records import ContainerInput
from parley.store.rows import MAX_STORED_BYTES, encode_limited, execute, storable_text
from parley.store.taking import find_attempt

STORE = """
INSERT INTO uploads (attempt, value, reason, problem)
VALUES (%(attempt_id)s, %(value)s::json, %(reason)s, %(problem)s)
ON CONFLICT (attempt) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class _Upload:
    value: str | None = None
    reason: str | None = None
    problem: str | None = None


async def put_upload(
    conn: Connection,
    *,
    job: str,
    index: int,
    task_uid: str,
    namespace: str,
    value: JsonValue = None,
    problem: str | None = None,
    too_large: bool = False,
) -> None:
    """Store a container's output file, or the ``problem`` that keeps it from being one. The first upload stands.

    The problem's reason is Error, or ResultTooLarge when the file is ``too_large``; a value over 16 MiB is stored as
    such a problem. The operator hears of it.

    Raises:
        Stopped: the container's attempt is not open any more, or its task ended or is gone.
    """
    reason = Reason.RESULT_TOO_LARGE if too_large else Reason.ERROR
    # The largest values take a second to write as JSON, and others' leases must be kept meanwhile.
    upload = await asyncio.to_thread(_prepare, value, problem, reason)
    async with conn.transaction():
        attempt = await _open_container(conn, job, index, task_uid, namespace)
        row = {"value": upload.value, "reason": upload.reason, "problem": upload.problem}
        if await execute(conn, STORE, row | {"attempt_id": attempt.id}):
            await wake(conn, task_uid)


def _prepare(value: JsonValue, problem: str | None, reason: Reason) -> _Upload:
    if problem is not None:
        return _Upload(reason=reason, problem=storable_text(problem))
    try:
        return _Upload(value=encode_limited(value, "The output file", MAX_STORED_BYTES))
    except ResultTooLarge as error:
        return _Upload(reason=Reason.RESULT_TOO_LARGE, problem=str(error))


async def container_input(
    conn: Connection, *, job: str, index: int, task_uid: str, namespace: str
) -> ContainerInput:
    """Return what the input file of a container is rendered from.

    Raises:
        Stopped: the container's attempt is not open any more, or its task ended or is gone.
    """
    async with conn.transaction():
        attempt = await _open_container(conn, job, index, task_uid, namespace)
        steps = _steps_of(attempt.request.get("inputFile"))
        outputs = await load_outputs(conn, task_uid, steps) if steps else {}
        return ContainerInput(attempt.id, attempt.request, outputs)


def _steps_of(input_file: JsonValue) -> list[str]:
    """Return the names of the steps whose outputs an input file may read."""
    steps = input_file.get("steps") if isinstance(input_file, dict) else None
    return [name for name in steps.values() if isinstance(name, str)] if isinstance(steps, dict) else []


async def _open_container(
    conn: Connection, job: str, index: int, task_uid: str, namespace: str
) -> LockedAttempt:
    found = await find_attempt(conn, job, index, task_uid, namespace)
    if found.attempt.request.get("kind") != "Container":
        raise Stopped("Gone")
    if found.task.stop_reason is not None:
        raise Stopped(found.task.stop_reason)
    if found.attempt.state != "Open":
        raise Stopped(found.attempt.reason or found.attempt.state)
    return found.attempt
