"""Who reads a session along, and what reaches them between two looks into the store."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

MOST_DELTAS = 64
"""Pieces kept for a reader that is slow; older ones are dropped, and the next one's offset shows the gap."""
SOON_SECONDS = 0.1
"""How late a task's progress is told. A turn begins in several steps within that: one look tells of all, and takes no
time from the turn's own work."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the text that an attempt's model is giving. ``offset`` counts characters of that round."""

    session_uid: str
    task: str
    step: str
    attempt: int
    round: int
    offset: int
    text: str


class Reader:
    """One stream's ear. Bounded: notices are one flag, pieces a short queue."""

    def __init__(self) -> None:
        self._awake = asyncio.Event()
        self._changed = True
        self._deltas: deque[Delta] = deque(maxlen=MOST_DELTAS)
        self._soon: asyncio.TimerHandle | None = None

    def notice(self) -> None:
        """Something in the store changed, or may have."""
        self.close()
        self._changed = True
        self._awake.set()

    def notice_soon(self) -> None:
        """Something changed that may wait a moment, for more like it."""
        if self._soon is None and not self._changed:
            self._soon = asyncio.get_running_loop().call_later(SOON_SECONDS, self.notice)

    def close(self) -> None:
        """Wait for nothing more."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    def hear(self, delta: Delta) -> None:
        """Take a piece in."""
        self._deltas.append(delta)
        self._awake.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until there is something to do; False after so many seconds without."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        return self._awake.is_set()

    def take_changed(self) -> bool:
        """Whether to look into the store; from now on a new notice counts."""
        changed, self._changed = self._changed, False
        self._awake.clear()
        if self._deltas:
            self._awake.set()
        return changed

    def take_deltas(self) -> list[Delta]:
        """Return the pieces that came, in their order."""
        pieces = list(self._deltas)
        self._deltas.clear()
        if not self._changed:
            self._awake.clear()
        return pieces


class Readers:
    """All streams of this gateway, by the session they read."""

    def __init__(self) -> None:
        self._readers: defaultdict[str, set[Reader]] = defaultdict(set)

    @contextmanager
    def reader(self, session_uid: str) -> Generator[Reader]:
        """Read along from now on."""
        reader = Reader()
        self._readers[session_uid].add(reader)
        try:
            yield reader
        finally:
            reader.close()
            readers = self._readers[session_uid]
            readers.discard(reader)
            if not readers:
                del self._readers[session_uid]

    @property
    def sessions(self) -> list[str]:
        """The uids of the sessions that somebody reads here."""
        return list(self._readers)

    def __contains__(self, session_uid: str) -> bool:
        """Whether somebody reads this session here."""
        return session_uid in self._readers

    def __len__(self) -> int:
        """How many streams there are."""
        return sum(len(readers) for readers in self._readers.values())

    def notice(self, session_uid: str) -> None:
        """Let a session's readers look."""
        for reader in self._readers.get(session_uid, ()):
            reader.notice()

    def notice_soon(self, session_uid: str) -> None:
        """Let a session's readers look in a moment."""
        for reader in self._readers.get(session_uid, ()):
            reader.notice_soon()

    def hear(self, delta: Delta) -> None:
        """Give a piece to those who read its session."""
        for reader in self._readers.get(delta.session_uid, ()):
            reader.hear(delta)

    def notice_all(self) -> None:
        """Let everybody look: notices may have been missed, or this gateway is about to end."""
        for readers in self._readers.values():
            for reader in readers:
                reader.notice()
