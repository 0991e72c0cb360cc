"""Pieces of answers on their way from a runner, who sends them anywhere, to readers, who may read anywhere.

A piece goes at once to the readers of this gateway, and through the store to other gateways where there are readers.
"""

import asyncio
import json
import logging
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from parley.gateway.live.readers import Delta, Readers
from parley.store.errors import StoreUnavailable
from parley.store.pool import Pool, connect
from parley.store.readers import reading_gateways, tell_deltas

MOST_BYTES = 7000
"""Of a piece between gateways, as JSON; Postgres takes notices below 8,000."""
_MOST_WAITING = 2000
"""Pieces that may wait for the store; older ones are dropped."""
_AT_ONCE = 200
_TOGETHER_SECONDS = 0.02
"""Pieces of all answers that come within this time go in one transaction: commits that notify wait for each other."""
_KNOWN_SECONDS = 1.0
_KNOWN_SESSIONS = 10_000
_SHORTEST = 200

log = logging.getLogger(__name__)


class Deltas:
    """Passes pieces on.

    Args:
        pool: connections to the store.
        readers: this gateway's.
        gateway: this gateway's name among all.
    """

    def __init__(self, pool: Pool, readers: Readers, gateway: str) -> None:
        self._pool = pool
        self._readers = readers
        self._gateway = gateway
        self._waiting: deque[str] = deque(maxlen=_MOST_WAITING)
        self._some = asyncio.Event()
        self._elsewhere: OrderedDict[str, tuple[float, bool, bool]] = OrderedDict()
        """By session: until when it is known, whether anybody reads it, and whether so at another gateway."""

    async def is_wanted(self, session_uid: str) -> bool:
        """Whether anybody reads the session, at any gateway.

        Raises:
            StoreUnavailable: the store does not say.
        """
        if session_uid in self._readers:
            return True
        return (await self._who_reads(session_uid))[0]

    async def send(self, delta: Delta) -> bool:
        """Pass a piece on; tells whether anybody reads it.

        Raises:
            StoreUnavailable: the store does not say who reads.
        """
        self._readers.hear(delta)
        anywhere, elsewhere = await self._who_reads(delta.session_uid)
        if elsewhere:
            for piece in _small(delta):
                self._waiting.append(_encode(piece, self._gateway))
            self._some.set()
        return anywhere or delta.session_uid in self._readers

    def hear(self, payload: str) -> None:
        """Take in what another gateway passed on; what this version does not know is no loss, only a piece less."""
        try:
            told = json.loads(payload)
            delta = None if told.pop("from") == self._gateway else Delta(**told)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("a piece of an answer is none: %s", type(error).__name__)
            return
        if delta is not None:
            self._readers.hear(delta)

    async def run(self) -> None:
        """Pass pieces to other gateways until cancelled."""
        while True:
            await self._some.wait()
            await asyncio.sleep(_TOGETHER_SECONDS)
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _AT_ONCE))]
            if not self._waiting:
                self._some.clear()
            try:
                async with connect(self._pool) as conn:
                    await tell_deltas(conn, batch)
            except StoreUnavailable as error:
                log.warning("%d pieces of answers were not passed on: %s", len(batch), error)

    async def _who_reads(self, session_uid: str) -> tuple[bool, bool]:
        now = asyncio.get_running_loop().time()
        known = self._elsewhere.get(session_uid)
        if known is not None and now < known[0]:
            return known[1], known[2]
        async with connect(self._pool) as conn:
            gateways: Sequence[str] = await reading_gateways(conn, session_uid)
        anywhere, elsewhere = bool(gateways), any(gateway != self._gateway for gateway in gateways)
        self._elsewhere[session_uid] = (now + _KNOWN_SECONDS, anywhere, elsewhere)
        self._elsewhere.move_to_end(session_uid)
        if len(self._elsewhere) > _KNOWN_SESSIONS:
            self._elsewhere.popitem(last=False)
        return anywhere, elsewhere


def _encode(delta: Delta, gateway: str) -> str:
    return json.dumps({**asdict(delta), "from": gateway}, ensure_ascii=False, separators=(",", ":"))


def _small(delta: Delta) -> Iterator[Delta]:
    """Cut a piece into such as a notice can hold."""
    if len(delta.text) <= _SHORTEST or len(_encode(delta, "x" * 32).encode()) <= MOST_BYTES:
        yield delta
        return
    middle = len(delta.text) // 2
    yield from _small(replace(delta, text=delta.text[:middle]))
    yield from _small(replace(delta, offset=delta.offset + middle, text=delta.text[middle:]))
