"""A session out of one place and into another: whole, the same, and however often."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from parley.gateway.api import transfer
from parley.store import erasing
from parley.store.pool import Pool

from tests.fake_kube import FakeKube
from tests.integration.gateway.people import EVERYTHING, Desk, open_desk, problem
from tests.integration.gateway.running import LONG
from tests.integration.store.posts import answer, note, post, shown
from tests.integration.store.story import Story

TOKEN = "token-of-alice"
LINES = {"Content-Type": "application/jsonl"}


@pytest.fixture
async def desk(pool: Pool, kube: FakeKube, story: Story) -> AsyncIterator[Desk]:
    async with open_desk(pool, kube, story) as opened:
        opened.person("alice", *EVERYTHING)
        yield opened


async def export(desk: Desk, name: str) -> bytes:
    answered = await desk.ask(TOKEN, "GET", f"/sessions/{name}/export")
    assert answered.status_code == 200, answered.text
    assert answered.headers["Content-Type"] == "application/jsonl"
    return answered.content


async def bring(desk: Desk, name: str, content: bytes) -> Any:
    return await desk.ask(TOKEN, "POST", f"/sessions/{name}/import", content=content, headers=LINES)


def but_its_origin(content: bytes) -> list[dict[str, Any]]:
    """The lines, without where and when they were written."""
    header, *lines = [json.loads(line) for line in content.splitlines()]
    return [{key: header[key] for key in header.keys() - {"session", "exportedAt"}}, *lines]


async def conversation(story: Story, session: str) -> None:
    """Two turns, a note, a message that waits, and one that was given up."""
    await note(story, session, "n1", "A note")
    for key in ("k1", "k2"):
        await post(story, session, key, f"Ask {key} \u2028 \x00 ß", speaker="Alice")
        task = await story.task(session, f"m-{key}")
        await story.queue(session, task)
        await answer(story, session, task, f"Answer {key}")
    await post(story, session, "k3", "Waits")
    await story.sql(
        "UPDATE sessions SET context = %s::json, context_version = 3 WHERE uid = %s",
        '{"paid": 12.5}',
        session,
    )


async def test_what_was_exported_is_the_same_when_it_was_imported(desk: Desk, story: Story) -> None:
    alice, again = await desk.session("alice"), await desk.session("again")
    await conversation(story, alice)
    exported = await export(desk, "alice")
    brought = await bring(desk, "again", exported)
    assert (brought.status_code, brought.json()) == (
        200, {"imported": 6, "alreadyThere": 0, "lastSequence": 6},
    )  # fmt: skip
    assert but_its_origin(await export(desk, "again")) == but_its_origin(exported)
    # And models are shown the same of it, from the next turn on.
    withdrawn = await story.sql(
        "DELETE FROM turns WHERE session_uid = %s AND state = 'Waiting' RETURNING 1", alice
    )
    assert withdrawn == [(1,)]
    assert await shown(story, again) == await shown(story, alice) != []


async def test_an_import_that_is_repeated_changes_nothing(desk: Desk, story: Story) -> None:
    alice, again = await desk.session("alice"), await desk.session("again")
    await conversation(story, alice)
    exported = await export(desk, "alice")
    for imported in (6, 0):
        brought = await bring(desk, "again", exported)
        assert brought.json() == {"imported": imported, "alreadyThere": 6 - imported, "lastSequence": 6}
    # Also when the conversation has gone on since, here or there.
    await note(story, again, "n9", "went on here")
    assert (await bring(desk, "again", exported)).json() == {
        "imported": 0, "alreadyThere": 6, "lastSequence": 7
    }  # fmt: skip
    assert (await bring(desk, "alice", exported)).json()["alreadyThere"] == 6, "into where it came from"
    rows = await story.sql("SELECT last_sequence, messages FROM sessions WHERE uid = %s", again)
    assert rows == [(7, 7)]


async def test_imports_at_the_same_time_bring_it_once(desk: Desk, story: Story) -> None:
    alice = await desk.session("alice")
    await desk.session("again")
    await conversation(story, alice)
    exported = await export(desk, "alice")

    brought = await asyncio.gather(*(bring(desk, "again", exported) for _ in range(4)))

    assert [one.status_code for one in brought] == [200] * 4
    assert sum(one.json()["imported"] for one in brought) == 6
    assert but_its_origin(await export(desk, "again")) == but_its_origin(exported)


async def test_an_import_has_bounds(
    pool: Pool, kube: FakeKube, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_CHUNK_SECONDS", 0.05)

    async def stops_half_way() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(LONG)

    async with open_desk(pool, kube, story, max_import_bytes=2000) as desk:
        desk.person("alice", *EVERYTHING)
        uid = await desk.session("alice")
        large = await bring(desk, "alice", b"x" * 2001)
        slow = await desk.ask(
            TOKEN, "POST", "/sessions/alice/import", content=stops_half_way(), headers=LINES
        )
    assert problem(large)[:2] == (413, "TooLarge")
    assert problem(slow)[:2] == (408, "Timeout")
    assert slow.headers["Connection"] == "close"
    assert await story.events(uid) == []


async def test_a_later_export_brings_what_came_since(desk: Desk, story: Story) -> None:
    alice, again = await desk.session("alice"), await desk.session("again")
    await note(story, alice, "n1")
    await bring(desk, "again", await export(desk, "alice"))
    await note(story, alice, "n2", "and more")
    assert (await bring(desk, "again", await export(desk, "alice"))).json() == {
        "imported": 1, "alreadyThere": 1, "lastSequence": 2
    }  # fmt: skip
    assert [text for _, _, text in await story.events(again)] == ["By the way", "and more"]


async def test_a_session_with_a_conversation_of_its_own_keeps_it(desk: Desk, story: Story) -> None:
    alice, bob, carol = [await desk.session(name) for name in ("alice", "bob", "carol")]
    await conversation(story, alice)
    exported = await export(desk, "alice")
    await note(story, bob, "n1", "Bob's own")
    # One that has said nothing yet, but in whose queue somebody stands.
    await story.queue(carol, await story.task(carol))
    for name, uid, kept in (("bob", bob, ["Bob's own"]), ("carol", carol, [])):
        refused = await bring(desk, name, exported)
        assert (refused.status_code, refused.json()["reason"]) == (409, "TranscriptConflict")
        assert [text for _, _, text in await story.events(uid)] == kept


def without_line(lines: list[bytes], number: int) -> list[bytes]:
    return lines[:number] + lines[number + 1 :]


def with_line(lines: list[bytes], number: int, **changes: Any) -> list[bytes]:
    changed = json.loads(lines[number]) | changes
    return [*lines[:number], json.dumps(changed).encode(), *lines[number + 1 :]]


BROKEN = {
    "cut off": (lambda lines: lines[:-1], "line 8"),
    "an event is missing": (lambda lines: without_line(lines, 3), "line 4"),
    "no header": (lambda lines: lines[1:], "line 1"),
    "another version": (lambda lines: with_line(lines, 0, version=2), "line 1"),
    "another count": (lambda lines: with_line(lines, 0, lastSequence=5), "line 7"),
    "a turn of nobody": (lambda lines: with_line(lines, 2, turn=99), "line 3"),
    "a message of nobody": (lambda lines: with_line(lines, 2, role=None), "line 3"),
    "another kind": (lambda lines: with_line(lines, 2, type="rumour"), "line 3"),
    "something after its end": (lambda lines: [*lines, b"{}"], "line 9"),
    "a time that no calendar has here": (lambda lines: with_line(lines, 2, time=-62_135_600_000), "line 3"),
    "a time that Postgres keeps and nobody reads": (
        lambda lines: with_line(lines, 2, time="9999-12-31T23:30:00-02:00"),
        "line 3",
    ),
    "a time before all computers": (lambda lines: with_line(lines, 2, time="0001-01-01T00:00:00Z"), "line 3"),
    "a line of 5 MiB": (lambda lines: with_line(lines, 2, content="x" * 5 * 1024 * 1024), "line 3"),
    "no JSON": (lambda lines: [*lines[:4], b"{", *lines[5:]], "line 5"),
    "empty": (lambda _lines: [], "line 1"),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_broken_file_is_refused_by_its_line_and_leaves_nothing(
    desk: Desk, story: Story, how: str
) -> None:
    alice, again = await desk.session("alice"), await desk.session("again")
    await conversation(story, alice)
    breaks, line = BROKEN[how]
    content = b"\n".join(breaks((await export(desk, "alice")).splitlines()))
    refused = await bring(desk, "again", content)
    assert (refused.status_code, refused.json()["reason"]) == (422, "InvalidTranscript"), refused.text
    assert refused.json()["field"] == line, refused.text
    assert await story.events(again) == []
    assert await story.sql("SELECT count(*) FROM turns WHERE session_uid = %s", again) == [(0,)]


async def test_an_id_that_stands_twice_is_refused(desk: Desk, story: Story) -> None:
    alice, again = await desk.session("alice"), await desk.session("again")
    await conversation(story, alice)
    lines = (await export(desk, "alice")).splitlines()
    content = b"\n".join(with_line(lines, 3, id=json.loads(lines[2])["id"]))
    refused = await bring(desk, "again", content)
    assert (refused.status_code, refused.json()["reason"]) == (409, "TranscriptConflict")
    assert await story.events(again) == []


async def test_erased_contents_stay_erased(desk: Desk, story: Story) -> None:
    alice, again = await desk.session("alice"), await desk.session("again")
    await conversation(story, alice)
    async with story.conn() as conn:
        await erasing.clear_history(conn, story.fence, alice, 3, "maria")
    exported = await export(desk, "alice")
    assert (await bring(desk, "again", exported)).status_code == 200
    assert [text for _, _, text in await story.events(again)][:3] == [None] * 3
    assert but_its_origin(await export(desk, "again")) == but_its_origin(exported)


async def test_other_types_of_bodies_are_refused(desk: Desk) -> None:
    await desk.session("alice")
    refused = await desk.ask(TOKEN, "POST", "/sessions/alice/import", json={})
    assert refused.status_code == 415


async def test_a_session_that_was_never_spoken_in_has_an_empty_transcript(desk: Desk) -> None:
    await desk.session("alice", registered=False)
    lines = (await export(desk, "alice")).splitlines()
    assert json.loads(lines[-1]) == {"end": True, "events": 0}
    assert len(lines) == 2


async def test_an_export_is_one_of_a_callers_streams(pool: Pool, kube: FakeKube, story: Story) -> None:
    async with open_desk(pool, kube, story, streams_per_caller=0) as desk:
        desk.person("alice", *EVERYTHING)
        await desk.session("alice")
        refused = await desk.ask(TOKEN, "GET", "/sessions/alice/export")
    assert problem(refused)[:2] == (429, "TooManyRequests")
