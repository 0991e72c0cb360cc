"""Pieces of answers from other gateways, which may be of another version."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from parley.gateway.calling import Backend
from parley.gateway.identity import StepIdentities
from parley.gateway.live.deltas import Deltas
from parley.gateway.live.hub import Live
from parley.gateway.live.readers import Delta, Readers
from parley.gateway.live.stream import SessionStream
from parley.store.pool import open_pool
from parley.store.transcript import EventRow

from tests.fake_kube import FakeKube

PIECE: dict[str, Any] = {
    "session_uid": "s",
    "task": "t",
    "step": "reply",
    "attempt": 1,
    "round": 0,
    "offset": 0,
    "text": "Hi",
}


@pytest.mark.parametrize(
    "changes",
    [{"model": "new"}, {"attempt": None, "text": None}, {"from": None}],
    ids=["more", "less", "nobody"],
)
def test_a_piece_that_this_version_does_not_know_is_dropped(changes: dict[str, Any]) -> None:
    readers = Readers()
    deltas = Deltas(open_pool("", size=1), readers, "here")
    told = {key: value for key, value in {**PIECE, "from": "there", **changes}.items() if value is not None}

    with readers.reader("s") as reader:
        deltas.hear(json.dumps(told))
        deltas.hear("no JSON")
        deltas.hear("[]")
        deltas.hear(json.dumps(PIECE | {"from": "there"}))

        assert reader.take_deltas() == [Delta(**PIECE)]


def row(kind: str, sequence: int) -> EventRow:
    return EventRow(sequence, uuid4(), datetime.now(UTC), kind, None, {}, None, "t", "reply", -1, 1)  # type: ignore[arg-type]


async def test_a_summary_is_not_what_the_attempt_says() -> None:
    pool = open_pool("", size=1)
    stream = SessionStream(Backend(StepIdentities(FakeKube()), pool, 1), Live(pool), "s", 0, silence=1)
    piece = Delta(**PIECE)

    # An attempt sums up first, and then it speaks.
    stream._events([row("summary", 1)])
    assert stream._is_news(piece)
    stream._events([row("message", 2)])
    assert not stream._is_news(piece)
