"""The runner's calls, one function and one transaction per endpoint of ``/runner/v1``.

``holder`` is the pod's uid from TokenReview, a slash and the process's nonce. Repeating a call gives the stored
answer again. All of them raise ``OtherHolder`` (409), ``Stopped`` (410) and, where a value may be too large,
``ResultTooLarge`` (413); after any of these nothing was written.
"""

from parley.protocol.messages import (
    CallBody,
    FinishAnswer,
    FinishBody,
    InputAnswer,
    InputBody,
    PauseAnswer,
    PauseBody,
    ResponseBody,
    StoredAnswer,
    TakeAnswer,
)
from parley.store.errors import OtherHolder, ResultTooLarge, Stopped
from parley.store.pool import Connection

__all__ = [
    "OtherHolder",
    "ResultTooLarge",
    "Stopped",
    "finish",
    "heartbeat",
    "pause",
    "put_call",
    "put_response",
    "record_input",
    "take",
]


async def take(conn: Connection, *, job: str, index: int, task_uid: str, holder: str) -> TakeAnswer:
    """Give the attempt of this Job, Task uid and completion index to the holder.

    Raises:
        Stopped: there is no such attempt, it is closed, or its task ended or is gone.
        OtherHolder: another process has it.
    """
    raise NotImplementedError


async def record_input(conn: Connection, attempt: int, holder: str, body: InputBody) -> InputAnswer:
    """Store the turn's messages, once per step; a later attempt gets back what the first one rendered.

    With a turn they become events of the session, unless the message was posted there already.
    """
    raise NotImplementedError


async def put_response(
    conn: Connection, attempt: int, holder: str, round_number: int, body: ResponseBody
) -> StoredAnswer:
    """Journal a response that contains calls, before its calls run. The first write wins."""
    raise NotImplementedError


async def put_call(
    conn: Connection, attempt: int, holder: str, round_number: int, call: int, body: CallBody
) -> StoredAnswer:
    """Journal a call: ``begun`` before it runs, ``result`` after. The first write of each wins.

    Raises:
        ValueError: the body has both or neither.
    """
    raise NotImplementedError


async def heartbeat(conn: Connection, attempt: int, holder: str) -> None:
    """Extend the lease by 9 s. Job runners need none: their pod is watched."""
    raise NotImplementedError


async def finish(conn: Connection, attempt: int, holder: str, body: FinishBody) -> FinishAnswer:
    """Commit the outcome: with a success its events, output and usage, and the turn ends; of a failure usage only."""
    raise NotImplementedError


async def pause(conn: Connection, attempt: int, holder: str, body: PauseBody) -> PauseAnswer:
    """Commit an attempt that waits for its calls. The turn stays held."""
    raise NotImplementedError
