"""An event loop whose time jumps to the next timer when nothing else is left to do: hours pass in no time."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._now = 1000.0
        super().__init__()

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready and not self._stopping:  # type: ignore[attr-defined]
            timers = [handle for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
            if not timers:
                raise RuntimeError("everybody waits, and nothing will ever happen")
            self._now = max(self._now, min(handle.when() for handle in timers))
        super()._run_once()  # type: ignore[misc]


def run(story: Coroutine[Any, Any, T]) -> T:
    """Run a story in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)
