"""When a request is sent again, and after how long: the rules of both clients, without a clock or a connection."""

import random
from dataclasses import dataclass

import httpx2

_FIRST_SECONDS = 0.05
_MOST_SECONDS = 10.0
_SPREAD_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Retries:
    """How patient a client is.

    Attributes:
        attempts: how often a request is sent at most.
        seconds: how long it may wait between all of them together.
    """

    attempts: int = 9
    seconds: float = 30.0


@dataclass(slots=True)
class Patience:
    """Of one request: what was waited for so far."""

    retries: Retries
    repeatable: bool
    """Whether it may be sent again when nobody knows what became of it."""
    sent: int = 1
    waited: float = 0.0

    def after_answer(self, answer: httpx2.Response) -> float | None:
        """How many seconds to wait before sending it again; None: the answer stands."""
        if answer.status_code not in {429, 503}:
            return None
        asked = answer.headers.get("Retry-After", "")
        return self._wait(float(asked) if asked.isdigit() else None)

    def after_error(self, error: httpx2.TransportError) -> float | None:
        """The same when no answer came."""
        never_sent = isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout))
        return self._wait(None) if never_sent or self.repeatable else None

    def after_end(self) -> float | None:
        """The same when a stream ended before it was over."""
        return self._wait(None)

    def _wait(self, asked: float | None) -> float | None:
        if self.sent >= self.retries.attempts:
            return None
        if asked is None:
            longest = min(_MOST_SECONDS, _FIRST_SECONDS * 2.0 ** (self.sent - 1))
            pause = _spread(longest / 2, longest)
        else:
            pause = _spread(asked, asked + _SPREAD_SECONDS)
        if self.waited + pause > self.retries.seconds:
            return None
        self.sent += 1
        self.waited += pause
        return pause


def _spread(least: float, most: float) -> float:
    """Many clients that were refused at once must not come back at once."""
    return random.uniform(least, most)  # noqa: S311 - spreads load, hides nothing
