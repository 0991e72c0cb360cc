"""What the gateway's answers mean: one table for all of the runner's clients, the light one included."""

from collections.abc import Callable
from enum import Enum, auto
from http import HTTPStatus

NOT_ADMITTED_SECONDS = 60.0
"""How long 401 and 403 are repeated: an API server that restarts reviews no tokens."""
FIRST_WAIT_SECONDS = 0.025
"""Short: behind the Service another gateway may answer at once."""
LONGEST_WAIT_SECONDS = 5.0
LONGEST_RETRY_AFTER_SECONDS = 30.0


class StopRunning(Exception):
    """The attempt is held by another process, closed, cancelled or gone: write nothing more."""


class NotAdmitted(Exception):
    """The gateway refuses this pod's token, or says the pod is not a step's."""


class TooLarge(Exception):
    """The body is larger than the store takes."""


class Rejected(Exception):
    """The gateway finds the request malformed: a fault of the runner or of the versions' mix."""


class Verdict(Enum):
    """What to do after an answer that does not end the matter."""

    DONE = auto()
    NOTHING_YET = auto()
    REPEAT = auto()
    REFUSED = auto()


def judge(status: int, explain: Callable[[], str]) -> Verdict:
    """Say what an answer means.

    Args:
        status: of HTTP.
        explain: says what the answer's body says.

    Raises:
        StopRunning, TooLarge, Rejected: it is of no use to ask again.
    """
    if status == HTTPStatus.NO_CONTENT:
        return Verdict.NOTHING_YET
    if status >= 500 or status == HTTPStatus.TOO_MANY_REQUESTS:
        return Verdict.REPEAT
    if status < 300:
        return Verdict.DONE
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Verdict.REFUSED
    if status in {HTTPStatus.CONFLICT, HTTPStatus.GONE}:
        raise StopRunning(explain())
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        raise TooLarge(explain())
    raise Rejected(f"{status}: {explain()}")


def retry_after(value: str) -> float:
    """Return the seconds that a ``Retry-After`` header asks to wait, within reason."""
    return min(float(value), LONGEST_RETRY_AFTER_SECONDS) if value.isdecimal() else 0.0
