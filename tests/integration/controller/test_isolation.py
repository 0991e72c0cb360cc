"""Isolation, as a property: of 50 sessions of one agent no text of one ever appears where another's belongs.

For random interleavings with retries, kills and changes of the leader. Where a text belongs is said by the word in it;
whose a place is, by the name of its session, which all names of its tasks, Jobs and pods begin with.
"""

import asyncio
import json
import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from parley.kube.kinds import SESSION, TASK_TEMPLATE

from tests.integration.controller.cluster import Cluster
from tests.integration.controller.isolated import SHAPES, TOOLS, WORD, World
from tests.postgres import EmbeddedPostgres

SESSIONS = 50
TEXTS: dict[str, LiteralString] = {
    "events": "SELECT s.name, e::text FROM events e JOIN sessions s ON s.uid = e.session_uid",
    "sessions": "SELECT s.name, s::text FROM sessions s",
    "tasks": "SELECT t.name, t::text FROM tasks t",
    "attempts": "SELECT t.name, a::text FROM attempts a JOIN tasks t ON t.uid = a.task_uid",
    "inputs": "SELECT t.name, i::text FROM inputs i JOIN tasks t ON t.uid = i.task_uid",
    "journal": "SELECT t.name, j::text FROM journal j JOIN tasks t ON t.uid = j.task_uid",
    "outputs": "SELECT t.name, o::text FROM outputs o JOIN tasks t ON t.uid = o.task_uid",
    "waits": "SELECT t.name, w::text FROM waits w JOIN tasks t ON t.uid = w.task_uid",
    "replies": "SELECT t.name, r::text FROM replies r JOIN tasks t ON t.uid = r.task_uid",
}
turns = st.lists(st.sampled_from(SHAPES), min_size=1, max_size=2)


def session_of(name: str) -> int:
    """Which session a name belongs to; every name here begins with it."""
    return int(name.removeprefix("s").partition("-")[0])


async def begin(cluster: Cluster, shapes: list[list[str]], dice: random.Random) -> list[str]:
    """Make the agent, the sessions, and a task for each turn; returns the sessions' words."""
    await cluster.agent(
        tools=TOOLS, builtinTools=["update_context"], instructions="You talk with {{ user.about }}."
    )
    steps = [{"name": "only", "container": {"image": "i", "args": ["{{ inputs.word }}"]}}]
    await cluster.apply(TASK_TEMPLATE, "send", {"task": {"steps": steps}})
    words: list[str] = []
    tasks: list[tuple[int, int, str]] = []
    for number, wanted in enumerate(shapes):
        word = f"word-{number}-{''.join(dice.choices('abcdefghijklmnop', k=6))}"
        words.append(word)
        person = {"id": f"u-{word}", "name": f"N-{word}", "about": word}
        told: dict[str, Any] = {
            "user": person,
            "situation": word,
            "context": {"first": word},
            "metadata": {"m": word},
        }
        window = {"limits": {"contextWindow": 3}} if number % 3 == 0 else {}
        await cluster.session(f"s{number}", **told, **window)
        tasks += [(number, turn, shape) for turn, shape in enumerate(wanted)]
    dice.shuffle(tasks)
    for number, turn, shape in tasks:
        prompt = {"text": f"{{{{ inputs.word }}}} {shape} {turn}"}
        retry = {"limit": 3, "backoff": {"initial": "1ms", "max": "1ms"}, "causes": ["Error"]}
        step = {"name": "ask", "retry": retry, "prompt": prompt}
        await cluster.task(
            f"s{number}-t{turn}", step, sessionRef={"name": f"s{number}"}, inputs={"word": words[number]}
        )
    return words


def foreign(own: str | None, text: str) -> set[str]:
    """Words in a text that are not its own."""
    return set(WORD.findall(text)) - {own}


async def check(cluster: Cluster, world: World, words: list[str], logged: str) -> None:
    """Assert that every word is only where its session's texts belong."""
    for asked in (*world.model.asked, *world.ran):
        assert len(set(WORD.findall(asked))) == 1, f"a model or a tool was told of others: {asked}"
    for (kind, _, name), body in cluster.kube.objects.items():
        own = words[session_of(name)] if name.startswith("s") and name[1:2].isdigit() else None
        assert not foreign(own, json.dumps(body)), f"{kind} {name} has texts of others"
    for told in cluster.told:
        own = words[session_of(told.name)] if told.name[1:2].isdigit() else None
        assert not foreign(own, told.note), told
    for table, question in TEXTS.items():
        async with await psycopg.AsyncConnection.connect(cluster.database) as connection:
            rows = await (await connection.execute(question)).fetchall()
        wrong = [row for row in rows if foreign(words[session_of(row[0])], row[1])]
        assert not wrong, f"{table} has texts of others: {wrong[:2]}"
        assert rows or table not in {"events", "attempts", "inputs"}, table
    assert not WORD.findall(logged), "what is said in a session is in no log"


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """All that the parts log."""
    with caplog.at_level(logging.DEBUG, logger="parley"):
        yield caplog.records


@given(
    shapes=st.lists(turns, min_size=SESSIONS, max_size=SESSIONS),
    seed=st.integers(0, 2**32),
    deadly=st.sampled_from((0.5, 0.2, 0.0)),
)
@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
def test_no_text_of_one_session_is_seen_in_another(
    postgres_server: EmbeddedPostgres,
    logged: list[logging.LogRecord],
    tmp_path: Path,
    shapes: list[list[str]],
    seed: int,
    deadly: float,
) -> None:
    logged.clear()
    name = f"test_{uuid4().hex}"
    url = postgres_server.create(name, "migrated")
    try:
        deaths = asyncio.run(play(url, tmp_path, shapes, random.Random(seed), deadly, logged))
    finally:
        postgres_server.drop(name)
    assert deaths > 0 or deadly == 0


async def play(
    url: str,
    directory: Path,
    shapes: list[list[str]],
    dice: random.Random,
    deadly: float,
    logged: list[logging.LogRecord],
) -> int:
    """Let all sessions work to their end, and look at everything; returns how many runners died."""
    async with Cluster(url) as cluster:
        world = World(cluster, directory, dice, deadly)
        await world.open()
        words = await begin(cluster, shapes, dice)
        await world.work()
        await check(cluster, world, words, "\n".join(f"{one.getMessage()} {one.__dict__}" for one in logged))
        for number, wanted in enumerate(shapes):
            for turn in range(len(wanted)):
                status = cluster.status(f"s{number}-t{turn}")
                assert status["phase"] == "Succeeded" or "lost" in str(status), status
            # It knows its own: else nothing was compared.
            assert words[number] in json.dumps(cluster.object(SESSION, f"s{number}")["status"])
        return world.deaths


def test_a_leak_is_found() -> None:
    assert foreign("word-1-abcdef", "word-1-abcdef and word-2-abcdef") == {"word-2-abcdef"}
    assert foreign(None, "word-2-abcdef") == {"word-2-abcdef"}
