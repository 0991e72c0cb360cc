"""Sessions as they happen, over gateways that come and go: each event once and in order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

import pytest
from parley.gateway.calling import Backend
from parley.gateway.live.readers import MOST_DELTAS, Delta
from parley.gateway.live.stream import Ended, SessionIs, SessionStream, TaskIs
from parley.store import sessions, tasks
from parley.store.errors import StoreUnavailable
from parley.store.lifecycle import set_session_state
from parley.store.pool import Pool
from parley.store.transcript import EventRow

from tests.fake_kube import FakeKube
from tests.integration.gateway.running import LONG
from tests.integration.gateway.streams import Gateway, Replicas, Stream
from tests.integration.store.posts import note, post
from tests.integration.store.story import Story, says

ALICE = "/sessions/alice/stream"
T = TypeVar("T")


@pytest.fixture
async def replicas(pool: Pool, kube: FakeKube, story: Story) -> AsyncIterator[Replicas]:
    async with Replicas(pool, kube, story) as made:
        await made.start()
        await made.start()
        yield made


@pytest.fixture
def gateway(replicas: Replicas) -> Gateway:
    return replicas.gateways[0]


@pytest.fixture
async def alice(gateway: Gateway) -> str:
    return await gateway.desk.session("alice")


def piece(session: str, task: str, text: str, **changes: int) -> Delta:
    place = {"attempt": 1, "round": 0, "offset": 0} | changes
    return Delta(session_uid=session, task=task, step="reply", text=text, **place)


async def read_along(stream: Stream) -> None:
    """Read until the stream is at the store's end: what happens afterwards comes as it happens."""
    await stream.until("session")


async def test_what_happens_is_told_in_its_order(gateway: Gateway, story: Story, alice: str) -> None:
    # Given a reader of a session in which something was said before
    await note(story, alice, "n1", "before")
    async with gateway.stream(ALICE) as stream:
        hello = await stream.until("hello")
        assert (hello.id, hello.data) == ("1", {"lastSequence": 1})
        await read_along(stream)
        # When a turn goes by
        await post(story, alice, "k1", "Hi", speaker="Alice")
        task = await story.task(alice, "m-k1")
        await story.queue(alice, task)
        await stream.until("task", name="m-k1", phase="Queued")
        attempt = await story.start(task, session_uid=alice)
        await story.take(task)
        await stream.until("task", name="m-k1", phase="Running", step="reply")
        await story.finish(attempt, says("Hello"))
        await story.end(task, output="Hello")
        await stream.until("task", name="m-k1", phase="Succeeded")
        # Then its events came once, in order, and before its end
        events = [frame for frame in stream.frames if frame.event == "event"]
        assert [(each.id, each.data["role"], each.data["content"]) for each in events] == [
            ("2", "user", "Hi"), ("3", "assistant", "Hello"),
        ]  # fmt: skip
        assert events[0].data["speaker"] == "Alice"
        # And a change of the session
        async with story.conn() as conn:
            await set_session_state(conn, story.fence, alice, "Dormant", "nobody spoke")
        assert (await stream.until("session", state="Dormant")).data["why"] == "nobody spoke"
        async with story.conn() as conn:
            await sessions.session_gone(conn, story.fence, alice)
        assert (await stream.rest())[-1].data == {"reason": "SessionGone"}


async def test_how_far_a_turn_got_is_heard_of(pool: Pool, gateway: Gateway, story: Story, alice: str) -> None:
    """Given a stream that looks at nothing unasked, when a turn is made, begun and taken, then it tells each."""
    task = ""
    stream = SessionStream(Backend(None, pool, LONG), gateway.live, alice, 0, silence=10 * LONG)  # type: ignore[arg-type]

    async with asyncio.timeout(LONG), aclosing(stream.items()) as items:
        async for item in items:
            if isinstance(item, SessionIs):
                task = await story.task(alice, "hello")
                await story.queue(alice, task)
            elif isinstance(item, TaskIs) and item.change.phase == "Queued":
                await story.start(task, session_uid=alice)
                await story.take(task)
            elif isinstance(item, TaskIs):
                assert (item.change.phase, item.change.step) == ("Running", "reply")
                break


@pytest.mark.usefixtures("alice")
async def test_open_streams_are_counted(gateway: Gateway) -> None:
    async def open_streams() -> str:
        scraped = (await gateway.desk.http.get("/metrics")).text
        return next(
            (line for line in scraped.splitlines() if line.startswith("parley_gateway_open_streams ")),
            scraped,
        )

    async with gateway.stream(ALICE) as one, gateway.stream(ALICE) as other:
        await one.until("hello")
        await other.until("hello")
        assert await open_streams() == "parley_gateway_open_streams 2.0"
    async with asyncio.timeout(LONG):
        while await open_streams() != "parley_gateway_open_streams 0.0":  # noqa: ASYNC110 - asked over HTTP
            await asyncio.sleep(0.02)


async def test_a_task_that_waits_for_somebody_says_what_for(
    gateway: Gateway, story: Story, alice: str
) -> None:
    task = await story.task(alice)
    wait = await story.ask(task, question="Refund?", choices=["yes", "no"])
    async with gateway.stream(ALICE) as stream:
        told = await stream.until("task", phase="WaitingForInput")
        (question,) = told.data["waiting"]
        assert (question["waitID"], question["question"], question["choices"]) == (
            wait,
            "Refund?",
            ["yes", "no"],
        )
        async with story.conn() as conn:
            await tasks.task_gone(conn, story.fence, task)
        await stream.until("task", phase="Deleted")


async def test_whoever_reads_again_at_another_gateway_misses_nothing(
    replicas: Replicas, story: Story, alice: str
) -> None:
    first, second = replicas.gateways
    for n in range(250):
        await note(story, alice, f"n{n}", f"note {n}")
    async with first.stream(f"{ALICE}?after=0") as stream:
        seen = [await stream.until("event") for _ in range(120)]
    async with second.stream(ALICE, headers={"Last-Event-ID": seen[-1].id or ""}) as stream:
        assert (await stream.until("hello")).id == "120"
        seen += [await stream.until("event") for _ in range(130)]
        await note(story, alice, "last", "note 250")
        seen.append(await stream.until("event"))
    assert [frame.sequence for frame in seen] == list(range(1, 252))


async def test_the_id_of_the_hello_is_enough_to_go_on(replicas: Replicas, story: Story, alice: str) -> None:
    first, second = replicas.gateways
    await note(story, alice, "n1")
    async with first.stream(ALICE) as stream:
        hello = await stream.until("hello")
    await note(story, alice, "n2", "said while nobody read")
    async with second.stream(ALICE, headers={"Last-Event-ID": hello.id or ""}) as stream:
        assert (await stream.until("event")).sequence == 2


@pytest.mark.usefixtures("alice")
async def test_a_position_beyond_the_session_is_refused(gateway: Gateway) -> None:
    answer = await gateway.desk.ask("token-of-alice", "GET", f"{ALICE}?after=7")
    assert (answer.status_code, answer.json()["reason"]) == (409, "SequenceAhead")
    for wrong in ("x", "-1", "1" * 17, "²"):
        answer = await gateway.desk.ask(
            "token-of-alice", "GET", ALICE, headers={"Last-Event-ID": wrong.encode()}
        )
        assert (answer.status_code, answer.json()["field"]) == (400, "Last-Event-ID"), wrong


async def test_pieces_of_an_answer_come_from_any_gateway_until_it_is_committed(
    replicas: Replicas, story: Story, alice: str
) -> None:
    first, second = replicas.gateways
    await post(story, alice, "k1")
    task = await story.task(alice, "m-k1")
    await story.queue(alice, task)
    attempt = await story.start(task, session_uid=alice)
    await story.take(task)
    assert not await first.live.deltas.send(piece(alice, "m-k1", "to nobody"))
    async with first.stream(ALICE) as here, second.stream(ALICE) as there:
        await read_along(here)
        await read_along(there)
        await wanted(second, alice)
        await wanted(first, alice)
        # When a runner sends pieces to either gateway, also such as no notice can hold
        large = "ß" * 9000
        assert await first.live.deltas.send(piece(alice, "m-k1", "Hel"))
        assert await second.live.deltas.send(piece(alice, "m-k1", "lo ", offset=3))
        assert await first.live.deltas.send(piece(alice, "m-k1", large, offset=6))
        # Then all readers get all of them
        for stream in (here, there):
            parts: dict[int, str] = {}
            while sum(map(len, parts.values())) < 6 + len(large):
                delta = (await stream.until("delta")).data
                parts[delta["offset"]] = delta["text"]
            assert "".join(parts[offset] for offset in sorted(parts)) == "Hello " + large
        # When the answer is committed, then what comes late of it is shown to nobody
        await story.finish(attempt, says("Hello"))
        for stream in (here, there):
            await stream.until("event", content="Hello")
        await second.live.deltas.send(piece(alice, "m-k1", "late", offset=9999))
        await note(story, alice, "n1", "the end")
        for stream in (here, there):
            before = len(stream.frames)
            await stream.until("event", content="the end")
            assert [each for each in stream.frames[before:] if each.event == "delta"] == []


async def wanted(gateway: Gateway, session: str) -> None:
    """Wait until the gateway knows of readers at the others."""
    await until(lambda: gateway.live.deltas._who_reads(session), lambda who: who[1])


async def until(look: Callable[[], Awaitable[T]], is_so: Callable[[T], bool]) -> None:
    """Look again and again until it is so."""
    seen = None
    try:
        async with asyncio.timeout(LONG):
            while not is_so(seen := await look()):  # noqa: ASYNC110 - the store has no event for it
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"it never is so, but {seen}") from None


async def eventually(write: Callable[[], Awaitable[object]]) -> None:
    """Write through connections that may be broken."""

    async def tried() -> bool:
        try:
            await write()
        except StoreUnavailable:
            return False
        return True

    await until(tried, bool)


@pytest.mark.usefixtures("alice")
async def test_a_gateway_that_ends_says_goodbye(replicas: Replicas) -> None:
    first, second = replicas.gateways
    async with first.stream(ALICE) as stream:
        await read_along(stream)
        first.live.end_streams()
        assert (await stream.rest())[-1].data == {"reason": "Shutdown"}
    async with second.stream(ALICE) as stream:
        await read_along(stream)


async def test_a_stream_ends_after_a_while_so_that_rights_are_asked_anew(
    pool: Pool, gateway: Gateway, story: Story, alice: str
) -> None:
    await note(story, alice, "n1")
    stream = SessionStream(Backend(None, pool, LONG), gateway.live, alice, 0, silence=0.05, life=0.2)  # type: ignore[arg-type]
    async with asyncio.timeout(LONG):
        items = [item async for item in stream.items()]
    assert isinstance(items[0], EventRow)
    assert items[-1] == Ended(gone=False)


async def test_a_listener_that_lost_its_connection_tells_what_happened_meanwhile(
    gateway: Gateway, story: Story, alice: str
) -> None:
    async with gateway.stream(ALICE) as stream:
        await read_along(stream)
        await story.sql(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE application_name = 'parley-listener' AND datname = current_database()"
        )
        await note(story, alice, "n1", "meanwhile")
        await stream.until("event", content="meanwhile")


async def test_a_stream_outlives_the_connections_to_the_store(
    gateway: Gateway, story: Story, alice: str
) -> None:
    async with gateway.stream(ALICE) as stream:
        await read_along(stream)
        for n in range(5):
            await story.sql(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await eventually(lambda n=n: note(story, alice, f"n{n}", f"note {n}"))
            await stream.until("event", content=f"note {n}")
    events = [frame.sequence for frame in stream.frames if frame.event == "event"]
    assert events == [1, 2, 3, 4, 5]


async def test_a_slow_reader_holds_little_and_holds_up_nobody(
    gateway: Gateway, story: Story, alice: str
) -> None:
    """What a reader does not take waits in the store, but for one page and some pieces."""
    async with gateway.stream(ALICE) as slow, gateway.stream(ALICE) as quick:
        await read_along(slow)
        await read_along(quick)
        for n in range(100):
            await note(story, alice, f"n{n}", f"{n} " + "x" * 100_000)
            await gateway.live.deltas.send(piece(alice, "task-0", "y" * 1000, offset=n))
            while (await quick.until("event")).sequence != n + 1:
                pass
        for reader in gateway.live.readers._readers[alice]:
            assert len(reader._deltas) <= MOST_DELTAS
        # The slow one then reads all of it, in order.
        assert [(await slow.until("event")).sequence for _ in range(100)] == list(range(1, 101))


async def test_a_session_that_was_just_made_can_be_read_before_the_operator_took_it_in(
    gateway: Gateway, story: Story
) -> None:
    uid = await gateway.desk.session("bob", registered=False)
    async with gateway.stream("/sessions/bob/stream") as stream:
        assert (await stream.until("hello")).data == {"lastSequence": 0}
        async with story.conn() as conn:
            await sessions.register_session(
                conn, story.fence, uid=uid, cluster=story.fence.cluster, namespace="shop", name="bob"
            )
        await note(story, uid, "n1", "Hi")
        await stream.until("event", content="Hi")


@pytest.mark.usefixtures("alice")
async def test_readers_leave_nothing_behind(gateway: Gateway) -> None:
    for _ in range(20):
        async with gateway.stream(ALICE) as stream:
            await stream.until("hello")

    async def reading() -> list[str]:
        return gateway.live.readers.sessions

    await until(reading, lambda sessions: sessions == [])
    assert len(gateway.live.readers) == 0
