"""Files of containers: what goes in before they run, and what comes out at their end. No holder: they have no token."""

from pydantic import JsonValue

from parley.store.pool import Connection
from parley.store.records import ContainerInput


async def put_upload(
    conn: Connection,
    *,
    job: str,
    index: int,
    task_uid: str,
    namespace: str,
    value: JsonValue = None,
    problem: str | None = None,
) -> None:
    """Store a container's output file, or the ``problem`` that keeps it from being one. The first upload stands.

    A value over 16 MiB is stored as a problem, ResultTooLarge. The operator hears of it.

    Raises:
        Stopped: the container's attempt is not open any more, or its task ended or is gone.
    """
    raise NotImplementedError


async def container_input(
    conn: Connection, *, job: str, index: int, task_uid: str, namespace: str
) -> ContainerInput:
    """Return what the input file of a container is rendered from.

    Raises:
        Stopped: the container's attempt is not open any more, or its task ended or is gone.
    """
    raise NotImplementedError
