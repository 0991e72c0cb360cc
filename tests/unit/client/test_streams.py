"""Streams bring every event once and in order, over connections that break."""

import httpx2
import pytest
from parley.api.events import EventView
from parley.api.messages import MessageAccepted
from parley.api.stream import DeltaView, Done, Hello
from parley.client import ParleyError, Unreachable

from tests.unit.client.scripted import Make, event, frame, problem, streaming

HELLO = frame("hello", {"lastSequence": 2}, 0)
GONE = frame("bye", {"reason": "SessionGone"})
SHUTDOWN = frame("bye", {"reason": "Shutdown"})
ACCEPTED = frame(
    "accepted", {"sequence": 3, "eventId": "00000000-0000-0000-0000-000000000003", "task": "m-1"}, 3
)
DONE = frame("done", {"task": "m-1", "phase": "Succeeded", "output": "hi"})


def delta(offset: int, text: str) -> bytes:
    return frame(
        "delta", {"task": "m-1", "step": "say", "attempt": 1, "round": 0, "offset": offset, "text": text}
    )


def sequences(items: list[object]) -> list[int]:
    return [item.sequence for item in items if isinstance(item, EventView)]


def test_a_stream_brings_what_happens_until_the_session_is_gone(client: Make) -> None:
    parley = client(streaming(HELLO, event(1), b": heartbeat\n\n", event(2), GONE))

    items = parley.read("stream", "alice", after=0)

    assert isinstance(items[0], Hello)
    assert sequences(items) == [1, 2]
    (request,) = parley.gateway.requests
    assert request.headers["Last-Event-ID"] == "0"
    assert request.headers["Accept"] == "text/event-stream"


def test_no_event_is_missed_or_told_twice_when_connections_break(client: Make) -> None:
    parley = client(
        streaming(HELLO, event(1), event(2), httpx2.ReadError("broken")),
        httpx2.ConnectError("refused"),
        problem(503, headers={"Retry-After": "0"}),
        # A gateway that repeats itself must not make the client do so.
        streaming(HELLO, event(2), event(3), SHUTDOWN),
        streaming(HELLO, event(4)[:20]),
        streaming(HELLO, event(4), GONE),
    )

    items = parley.read("stream", "alice", after=0)

    assert sequences(items) == [1, 2, 3, 4]
    assert sum(isinstance(item, Hello) for item in items) == 1
    positions = [request.headers["Last-Event-ID"] for request in parley.gateway.requests]
    assert positions == ["0", "2", "2", "2", "3", "3"]


def test_from_now_on_is_from_where_the_first_connection_began(client: Make) -> None:
    hello = frame("hello", {"lastSequence": 7}, 7)
    parley = client(streaming(hello, httpx2.ReadError("broken")), streaming(hello, event(8), GONE))

    assert sequences(parley.read("stream", "alice")) == [8]
    first, second = parley.gateway.requests
    assert "Last-Event-ID" not in first.headers
    assert second.headers["Last-Event-ID"] == "7"


def test_a_chat_is_said_once_and_followed_to_its_end(client: Make) -> None:
    parley = client(
        streaming(ACCEPTED, delta(0, "h"), httpx2.ReadError("broken")),
        streaming(ACCEPTED, delta(1, "i"), event(4, "hi"), DONE, event(5)),
    )

    items = parley.read("chat", "alice", "hello", user="alice")

    assert [type(item) for item in items] == [MessageAccepted, DeltaView, DeltaView, EventView, Done]
    assert items[-1].output == "hi"
    first, second = parley.gateway.requests
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.content == second.content == b'{"content":"hello","user":"alice"}'
    assert second.headers["Last-Event-ID"] == "3"


def test_a_refused_stream_is_an_error(client: Make) -> None:
    with pytest.raises(ParleyError) as raised:
        client(problem(404, "no Session alice")).read("stream", "alice")
    assert raised.value.status == 404


def test_a_stream_that_never_comes_is_given_up(client: Make) -> None:
    parley = client(httpx2.ConnectError("refused"))

    with pytest.raises(Unreachable, match="refused"):
        parley.read("stream", "alice")
    assert len(parley.gateway.requests) == 4


def test_what_is_no_stream_or_cannot_be_read_is_an_error(client: Make) -> None:
    with pytest.raises(Unreachable, match="no gateway"):
        client(httpx2.Response(200, text="<html>")).read("stream", "alice")
    with pytest.raises(Unreachable, match="cannot be read"):
        client(streaming(frame("event", {"sequence": "one"}))).read("stream", "alice")


def test_what_a_newer_gateway_says_is_passed_over(client: Make) -> None:
    parley = client(streaming(HELLO, frame("weather", {"sun": True}), event(1, new="field"), GONE))

    assert sequences(parley.read("stream", "alice")) == [1]


EXPORT = b'{"format":"parley.dev/session"}\n{"sequence":1}\n{"end":true,"events":1}\n'


def test_an_export_comes_whole_or_is_an_error(client: Make) -> None:
    pieces = [EXPORT[:40], EXPORT[40:-5], EXPORT[-5:]]
    assert b"".join(client(streaming(*pieces)).read("export_session", "alice")) == EXPORT

    with pytest.raises(Unreachable, match="last line is missing"):
        client(streaming(pieces[0])).read("export_session", "alice")
    with pytest.raises(Unreachable, match="broke off"):
        client(streaming(pieces[0], httpx2.ReadError("broken"))).read("export_session", "alice")
    with pytest.raises(ParleyError):
        client(problem(404)).read("export_session", "alice")


def test_an_import_is_sent_as_it_is_and_may_be_sent_again(client: Make) -> None:
    done = httpx2.Response(200, json={"imported": 1, "alreadyThere": 0, "lastSequence": 1})
    parley = client(httpx2.ReadError("broken"), done)

    assert parley.ask("import_session", "bob", EXPORT).imported == 1
    assert [request.content for request in parley.gateway.requests] == [EXPORT, EXPORT]
    assert parley.gateway.requests[0].headers["Content-Type"] == "application/jsonl"
