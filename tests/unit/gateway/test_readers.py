"""When a reader of a session is told to look: at once, or in a moment for several things together."""

import asyncio

import pytest
from parley.gateway.live import readers as module
from parley.gateway.live.readers import Readers

LONG = 30.0
LATER = 0.05
"""Long after what is told soon is told here."""


@pytest.fixture(autouse=True)
def _very_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOON_SECONDS", 0.01)


async def test_progress_is_told_once_for_several_steps() -> None:
    """Given a reader that has looked, when a turn gets further twice, then it looks once, and not at once."""
    readers = Readers()
    with readers.reader("s") as reader:
        reader.take_changed()
        readers.notice_soon("s")
        readers.notice_soon("s")

        assert not reader.take_changed(), "it looks at once"
        assert await reader.wait(LONG)
        assert reader.take_changed()
        assert not await reader.wait(LATER), "it looks once more for the same"


async def test_what_is_said_is_told_at_once_and_with_it_what_was_to_be_told() -> None:
    """Given progress that waits a moment, when something is said, then one look is for both."""
    readers = Readers()
    with readers.reader("s") as reader:
        reader.take_changed()
        readers.notice_soon("s")
        readers.notice("s")

        assert reader.take_changed()
        assert not await reader.wait(LATER), "it looks once more for what it has seen"


async def test_a_reader_that_left_is_told_nothing() -> None:
    """Given progress that waits a moment, when the reader leaves, then nothing of it is left in the loop."""
    readers = Readers()
    with readers.reader("s") as reader:
        reader.take_changed()
        readers.notice_soon("s")

    await asyncio.sleep(LATER)
    assert not reader.take_changed()


async def test_progress_of_another_session_is_nothing_to_it() -> None:
    """Given a reader of one session, when another gets further, then it does not look."""
    readers = Readers()
    with readers.reader("s") as reader:
        reader.take_changed()
        readers.notice_soon("other")

        assert not await reader.wait(LATER)
