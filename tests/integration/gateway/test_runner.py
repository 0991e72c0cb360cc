"""Real runner processes against a real gateway, store and model: attempts end once, whatever is killed."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from parley.gateway.app import create_app
from parley.gateway.settings import GatewaySettings
from parley.protocol.model_keys import model_key_variable
from parley.resources.common import SecretKeyRef
from parley.store.identity import store_id
from parley.store.leader import raise_epoch
from parley.store.migrate import migrate
from parley.store.pool import Pool, connect, open_pool

from tests.fake_kube import FakeKube
from tests.integration.gateway.running import LONG, Shop, free_port, serving
from tests.integration.store.story import Story
from tests.postgres import EmbeddedPostgres
from tests.unit.runner.scripted import ScriptedModel


async def test_a_conversation_is_remembered_and_no_other_knows_of_it(shop: Shop) -> None:
    alice, bob = await shop.story.session("alice"), await shop.story.session("bob")
    turns: list[tuple[str, int, str]] = []
    for session, text in [
        (alice, "My name is Alice."),
        (alice, "What is my name?"),
        (bob, "What is my name?"),
    ]:
        task, attempt, step = await shop.start_turn(session, text)
        runner = await shop.run(step)
        assert await runner.exit_code() == 0, runner.log.read_text()
        turns.append((task, attempt, step.pod))

    assert await shop.story.events(alice) == [
        (1, "user", "My name is Alice."),
        (2, "assistant", "Nice to meet you, Alice."),
        (3, "user", "What is my name?"),
        (4, "assistant", "Your name is Alice."),
    ]
    assert await shop.story.events(bob) == [
        (1, "user", "What is my name?"),
        (2, "assistant", "I do not know your name."),
    ]
    record = await shop.story.load(turns[1][0])
    assert await shop.story.outputs(turns[1][0]) == {"reply": "Your name is Alice."}
    assert record.attempts[0].state == "Succeeded"
    assert record.input_tokens > 0
    assert [turn.state for turn in record.turns] == ["Done"]


async def test_structured_output_is_json_in_the_store(shop: Shop) -> None:
    task = await shop.story.task()
    schema: Any = {
        "type": "object",
        "properties": {"kind": {"enum": ["late", "broken"]}},
        "required": ["kind"],
    }
    _, step = await shop.start_step(
        task,
        "",
        literal=False,
        inputs={"complaint": "it is broken"},
        prompt={"text": "Classify: {{ inputs.complaint }}", "outputSchema": schema},
    )

    assert await (await shop.run(step)).exit_code() == 0

    assert await shop.story.outputs(task) == {"reply": {"kind": "broken"}}


async def test_a_flaky_model_is_asked_again_within_the_attempt(shop: Shop) -> None:
    task = await shop.story.task()
    text = f"[fail 503 x2 {task}] echo: at last"
    _, step = await shop.start_step(task, text)

    assert await (await shop.run(step)).exit_code() == 0

    assert await shop.story.outputs(task) == {"reply": "at last"}
    assert [entry["status"] for entry in shop.model.requests(task)] == [503, 503, 200]


async def test_a_failure_is_an_outcome_with_a_reason_and_exit_code_0(shop: Shop) -> None:
    session = await shop.story.session()
    task, _, step = await shop.start_turn(session, "[refuse] please")

    assert await (await shop.run(step)).exit_code() == 0

    (attempt,) = (await shop.story.load(task)).attempts
    assert (attempt.state, attempt.reason, attempt.definite) == ("Failed", "ModelError", True)
    assert attempt.message is not None
    assert "refused to answer: I cannot help with that." in attempt.message
    assert attempt.output_tokens > 0
    # What the user said stays said; the model's answer is none.
    assert await shop.story.events(session) == [(1, "user", "[refuse] please")]


async def test_the_secret_key_reaches_the_model_and_no_log(shop: Shop) -> None:
    task = await shop.story.task()
    key = SecretKeyRef(name="openai", key="api-key")
    _, step = await shop.start_step(task, f"echo: {task}", agent=agent(shop, apiKeySecretRef=key.to_json()))

    runner = await shop.run(step, **{model_key_variable(key): "sk-secret-key"})

    assert await runner.exit_code() == 0
    assert shop.model.requests(task)[0]["apiKeySha256"] is not None
    said = runner.log.read_text()
    assert "sk-secret-key" not in said
    assert step.token not in said
    assert "echo:" not in said


def agent(shop: Shop, **model: Any) -> dict[str, Any]:
    spec = {"provider": "OpenAI", "name": "scripted", "baseURL": shop.model.base_url, **model}
    return {"name": "support", "model": spec}


async def test_when_a_model_fails_its_fallback_answers_and_the_attempt_says_so(shop: Shop) -> None:
    task = await shop.story.task()
    spare = {"provider": "OpenAI", "name": "spare", "baseURL": shop.model.base_url}
    broken = agent(shop, baseURL=f"{shop.model.url}/nowhere", fallbacks=[spare])
    _, step = await shop.start_step(task, f"echo: {task}", agent=broken)

    runner = await shop.run(step)

    assert await runner.exit_code() == 0
    (attempt,) = (await shop.story.load(task)).attempts
    assert attempt.state == "Succeeded"
    assert attempt.message is not None
    assert "answered by fallback model spare at" in attempt.message
    assert ", for model scripted at" in attempt.message
    assert shop.model.requests(task)[0]["request"]["model"] == "spare"


async def test_killed_while_the_model_thinks_the_next_attempt_says_it_once(shop: Shop) -> None:
    # Given a runner that has stored its input and waits for the model
    session = await shop.story.session()
    task, first, step = await shop.start_turn(session, "[slow 30s] My name is Alice.")
    runner = await shop.run(step)
    await events_are(shop, session, 1)

    # When its process is killed, and the container is started again in the same pod
    runner.kill()
    assert await runner.exit_code() == -signal.SIGKILL
    again = await shop.run(step)

    # Then the new process is another holder: it stops and writes nothing
    assert await again.exit_code() == 0
    assert await shop.state_of(first) == "Running"
    assert "told to stop" in again.log.read_text()

    # And when the leader makes a successor, it continues with the input as stored
    successor, pod = await shop.start_step(
        task, "My name is Zed.", number=2, session=session, cause="Disruption", close=shop.story.close(first)
    )
    assert await (await shop.run(pod)).exit_code() == 0
    assert await shop.state_of(first) == "Lost"
    assert await shop.state_of(successor) == "Succeeded"
    assert await shop.story.events(session) == [
        (1, "user", "[slow 30s] My name is Alice."),
        (2, "assistant", "Nice to meet you, Alice."),
    ]


async def test_a_zombie_that_finishes_late_is_told_to_stop(shop: Shop) -> None:
    # Given a runner that is frozen while it waits for the model
    session = await shop.story.session()
    task, first, step = await shop.start_turn(session, "[slow 1s] echo: late")
    zombie = await shop.run(step)
    await events_are(shop, session, 1)
    zombie.process.send_signal(signal.SIGSTOP)

    # When a successor has finished and the frozen one wakes
    _, pod = await shop.start_step(
        task, "unused", number=2, session=session, cause="Disruption", close=shop.story.close(first)
    )
    assert await (await shop.run(pod)).exit_code() == 0
    zombie.process.send_signal(signal.SIGCONT)

    # Then it ends quietly and everything was said once
    assert await zombie.exit_code() == 0
    assert await shop.story.events(session) == [(1, "user", "[slow 1s] echo: late"), (2, "assistant", "late")]


async def test_sigterm_is_a_disruption_not_an_outcome(shop: Shop) -> None:
    session = await shop.story.session()
    _, attempt, step = await shop.start_turn(session, "[slow 30s] hello")
    runner = await shop.run(step)
    await events_are(shop, session, 1)

    runner.terminate()

    assert await runner.exit_code() == 143
    assert await shop.state_of(attempt) == "Running"


async def test_a_token_that_is_refused_ends_with_1(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    task = await shop.story.task()
    _, step = await shop.start_step(task, "hello")
    shop.kube.identities.clear()
    # A whole minute is too long for a test; the loop is the same.
    script = (
        "import parley.runner.gateway_client as c, sys; c.NOT_ADMITTED_SECONDS = 0.5; "
        "from parley.runner.process import run_process; sys.exit(run_process())"
    )
    monkeypatch.setattr(sys, "argv", ["-"])
    token = shop.directory / "refused"
    token.write_text(step.token)
    environment = {
        "PATH": os.environ["PATH"],
        "PARLEY_GATEWAY_URL": shop.gateway_url,
        "PARLEY_STORE_ID": shop.store,
        "PARLEY_TOKEN_FILE": str(token),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, env=environment, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(LONG):
        _, said = await process.communicate()

    assert process.returncode == 1
    assert b"the API server does not know this token" in said


async def test_a_gateway_that_is_killed_and_started_again_loses_nothing(
    story: Story, kube: FakeKube, pool: Pool, model: ScriptedModel, store: str, tmp_path: Path
) -> None:
    session, port = await story.session(), free_port()
    app = create_app(GatewaySettings(database_url=""), pool, kube)
    async with serving(app, port) as url:
        shop = Shop(story, kube, model, store, url, tmp_path)
        _, _, step = await shop.start_turn(session, "[slow 2s] echo: still here")
        runner = await shop.run(step)
        await events_are(shop, session, 1)
    await runner.said("the gateway is asked again")

    async with serving(app, port):
        assert await runner.exit_code() == 0, runner.log.read_text()

    assert [row[2] for row in await story.events(session)] == ["[slow 2s] echo: still here", "still here"]


async def test_a_store_that_is_away_at_the_commit_gets_the_outcome_when_it_is_back(
    kube: FakeKube, model: ScriptedModel, tmp_path: Path
) -> None:
    server = EmbeddedPostgres()
    try:
        server.start()
        dsn = server.create("away")
        await migrate(dsn)
        async with open_pool(dsn, size=4) as pool:
            async with connect(pool) as conn:
                story = Story(pool, await raise_epoch(conn, "cluster-uid", "parley", "operator-0"))
                store = await store_id(conn)
            async with serving(create_app(GatewaySettings(database_url=""), pool, kube)) as url:
                # Given a runner that waits for the model
                shop = Shop(story, kube, model, store, url, tmp_path)
                session = await story.session()
                _, attempt, step = await shop.start_turn(session, "[slow 2s] echo: kept")
                runner = await shop.run(step)
                await events_are(shop, session, 1)

                # When the store goes away before the commit and comes back later
                await asyncio.to_thread(server.stop, signal.SIGQUIT)
                await runner.said('"path": "/attempts/')
                async with httpx2.AsyncClient(trust_env=False) as client:
                    alive = await client.get(f"{url}/healthz", timeout=30)
                    ready = await client.get(f"{url}/readyz", timeout=30)
                await asyncio.to_thread(server.start)

                # Then the outcome is committed once; meanwhile the gateway was alive but not ready
                assert await runner.exit_code() == 0, runner.log.read_text()
                assert (alive.status_code, ready.status_code) == (200, 503)
                assert await shop.state_of(attempt) == "Succeeded"
                assert [row[2] for row in await story.events(session)] == ["[slow 2s] echo: kept", "kept"]
    finally:
        server.remove()


async def events_are(shop: Shop, session: str, count: int) -> None:
    """Wait until a session has so many events."""
    end = time.monotonic() + LONG
    while len(found := await shop.story.events(session)) < count:
        logs = "\n".join(log.read_text() for log in shop.directory.glob("*.log"))
        assert time.monotonic() < end, f"only {found}; the runners said:\n{logs}"
        await asyncio.sleep(0.02)
