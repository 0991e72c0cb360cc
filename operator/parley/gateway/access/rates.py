"""How much one caller may ask of one gateway: requests a second, and streams at a time."""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from parley.gateway.access.refusal import too_many

_REMEMBERED = 10_000
_STREAM_SECONDS = 5


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Rates:
    """Token buckets, one a user name.

    Args:
        per_second: requests that a caller may make in the long run; 0: no limit.
        burst: requests that may come at once.
        clock: monotonic seconds, for tests.
    """

    def __init__(self, per_second: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, username: str) -> None:
        """Count a request.

        Raises:
            Refusal: the caller asks too much (429).
        """
        if self._per_second <= 0:
            return
        now = self._clock()
        bucket = self._buckets.setdefault(username, _Bucket(float(self._burst), now))
        self._buckets.move_to_end(username)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._per_second)
        bucket.at = now
        if bucket.tokens < 1:
            raise too_many(
                f"more than {self._per_second:g} requests a second by {username}: wait as Retry-After says",
                math.ceil((1 - bucket.tokens) / self._per_second),
            )
        bucket.tokens -= 1


class StreamRoom:
    """Counts open streams, by caller and the user it acts for."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[tuple[str, str | None]] = Counter()

    @property
    def open(self) -> int:
        """Streams that are open, of everybody."""
        return self._open.total()

    @contextmanager
    def hold(self, username: str, acting_for: str | None) -> Generator[None]:
        """Hold the room for one stream.

        Raises:
            Refusal: the caller has too many open (429).
        """
        key = (username, acting_for)
        if self._open[key] >= self._most:
            raise too_many(
                f"{username} has {self._most} streams open at this gateway already: close one",
                _STREAM_SECONDS,
            )
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
