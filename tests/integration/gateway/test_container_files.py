"""The helpers beside a container, as real processes against a real gateway and store."""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

import pytest
from parley.gateway.app import create_app
from parley.gateway.settings import GatewaySettings
from parley.protocol.messages import MAX_FILE_BYTES
from parley.protocol.request import InputFile
from parley.store.pool import Pool

from tests.fake_kube import FakeKube
from tests.integration.gateway.running import LONG, Shop, free_port, serving
from tests.integration.gateway.test_file_calls import container, uploaded
from tests.integration.store.story import Story
from tests.unit.gateway.steps import StepInCluster

# The same code as in a pod, with the pod's directories elsewhere.
INPUT = (
    "import sys; from pathlib import Path; import parley.runner.input_file as f; here = Path(sys.argv[1]); "
    "f.INPUT_FILE, f.TERMINATION_LOG = here / 'input.json', here / 'termination-log'; sys.exit(f.write_input())"
)
OUTPUT = (
    "import sys; from pathlib import Path; import parley.runner.output_file as f; here = Path(sys.argv[1]); "
    "f.OUTPUT_FILE, f.READY_FILE = here / 'output', here / 'ready'; sys.exit(f.send_output())"
)


async def start(shop: Shop, step: StepInCluster, code: str, **environment: str) -> Process:
    token = shop.directory / "helper-token"
    token.write_text(step.token)
    (shop.directory / "termination-log").touch()
    given = {
        "PATH": os.environ["PATH"],
        "PARLEY_GATEWAY_URL": shop.gateway_url,
        "PARLEY_STORE_ID": shop.store,
        "PARLEY_TOKEN_FILE": str(token),
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(shop.directory), env=given | environment, stderr=PIPE
    )


async def ended(process: Process) -> tuple[int | None, str]:
    async with asyncio.timeout(LONG):
        _, said = await process.communicate()
    return process.returncode, said.decode()


async def uploader(shop: Shop, step: StepInCluster) -> Process:
    """Start it and wait until a container could start."""
    process = await start(shop, step, OUTPUT)
    end = time.monotonic() + LONG
    while not (shop.directory / "ready").exists():
        assert process.returncode is None, "the uploader ended"
        assert time.monotonic() < end, "the uploader is never ready"
        await asyncio.sleep(0.01)
    return process


def file(template: Any, **scope: Any) -> InputFile:
    return InputFile(path="spec.steps[1].container.inputFile", template=template, scope=scope)


async def test_an_input_file_is_written_for_any_user(shop: Shop) -> None:
    given = {
        "order": "{{ inputs.order }}",
        "all": "{{ inputs }}",
        "n": [1, None],
        "text": "n: {{ inputs.n }}",
    }
    _, _, step = await container(shop.story, shop.kube, file(given, inputs={"order": "Grüße", "n": 2}))

    code, said = await ended(await start(shop, step, INPUT))

    assert code == 0, said
    written = shop.directory / "input.json"
    assert json.loads(written.read_text()) == {
        "order": "Grüße",
        "all": {"order": "Grüße", "n": 2},
        "n": [1, None],
        "text": "n: 2",
    }
    assert written.stat().st_mode & 0o777 == 0o644
    assert step.token not in said


async def test_a_large_value_is_passed_on_whole(shop: Shop) -> None:
    large = "x" * (MAX_FILE_BYTES - 100)
    _, _, step = await container(
        shop.story, shop.kube, file({"all": "{{ inputs.large }}"}, inputs={"large": large})
    )

    code, said = await ended(await start(shop, step, INPUT))

    assert code == 0, said
    assert json.loads((shop.directory / "input.json").read_text()) == {"all": large}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ inputs.none }}", "TemplateError: spec.steps[1].container.inputFile: inputs.none is not defined"),
        (
            {"a": "{{ 'x' * 17_000_000 }}"},
            "TemplateError: spec.steps[1].container.inputFile.a: the result is larger",
        ),
        (
            ["{{ 'x' * 10_000_000 }}"] * 2,
            "TemplateError: spec.steps[1].container.inputFile: the file has 20000007",
        ),
    ],
)
async def test_a_template_that_cannot_be_rendered_is_never_tried_again(
    shop: Shop, template: Any, words: str
) -> None:
    _, _, step = await container(shop.story, shop.kube, file(template, inputs={}))

    code, _ = await ended(await start(shop, step, INPUT))

    assert code == 64
    assert (shop.directory / "termination-log").read_text().startswith(words)
    assert not (shop.directory / "input.json").exists()


async def test_told_to_stop_before_it_starts_the_container_does_not_start(shop: Shop) -> None:
    task, _, step = await container(shop.story, shop.kube, file({}))
    assert await shop.story.end(task, "Cancelled")

    code, _ = await ended(await start(shop, step, INPUT))

    assert code == 1
    assert "told to stop: Cancelled" in (shop.directory / "termination-log").read_text()


async def test_the_uploader_sends_what_is_there_when_the_container_has_ended(shop: Shop) -> None:
    _, _, step = await container(shop.story, shop.kube)
    process = await uploader(shop, step)
    (shop.directory / "output").write_text('{"amount": 7}')
    assert await uploaded(shop.story) == []

    process.send_signal(signal.SIGTERM)
    code, said = await ended(process)

    assert code == 0, said
    assert await uploaded(shop.story) == [({"amount": 7}, None, None)]
    assert step.token not in said


async def test_the_uploader_says_that_there_is_nothing(shop: Shop) -> None:
    _, _, step = await container(shop.story, shop.kube)
    process = await uploader(shop, step)

    process.send_signal(signal.SIGTERM)

    assert (await ended(process))[0] == 0
    ((value, reason, problem),) = await uploaded(shop.story)
    assert (value, reason) == (None, "Error")
    assert "the container wrote no" in problem


async def test_a_gateway_that_is_away_at_the_end_gets_the_file_when_it_is_back(
    story: Story, kube: FakeKube, pool: Pool, store: str, tmp_path: Path
) -> None:
    port = free_port()
    shop = Shop(story, kube, None, store, f"http://127.0.0.1:{port}", tmp_path)  # type: ignore[arg-type]
    _, _, step = await container(story, kube)
    process = await uploader(shop, step)
    (tmp_path / "output").write_text("kept")

    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    async with asyncio.timeout(LONG):
        while b"asked again" not in (line := await process.stderr.readline()):
            assert line, "the uploader ended before the gateway was there"
    async with serving(create_app(GatewaySettings(database_url=""), pool, kube), port):
        code, said = await ended(process)

    assert code == 0, said
    assert await uploaded(story) == [("kept", None, None)]
