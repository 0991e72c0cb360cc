"""Real runners against a real gateway: what an operator and a kubelet would do, without Kubernetes."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from parley.store.records import Inserted

from tests.fake_kube import FakeKube
from tests.integration.store.story import Story
from tests.unit.gateway.steps import StepInCluster, add_step
from tests.unit.runner.fake_gateway import prompt_request
from tests.unit.runner.scripted import ScriptedModel

LONG = 120.0
"""Seconds until a wait gives up; nothing here is meant to take that long."""


class QuietServer(uvicorn.Server):
    """Leaves signals to the tests."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def serving(app: FastAPI, port: int | None = None) -> AsyncIterator[str]:
    """Serve an app on a real port; yields its URL."""
    port = port or free_port()
    server = QuietServer(
        uvicorn.Config(app, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    )
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(LONG):
            while not server.started:
                assert not task.done(), "the server ended at its start"
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


@dataclass
class RunnerProcess:
    """``parley-runner`` as a pod would run it."""

    process: asyncio.subprocess.Process
    log: Path

    async def exit_code(self) -> int:
        try:
            async with asyncio.timeout(LONG):
                return await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"the runner does not end; it said:\n{self.log.read_text()}") from None

    async def said(self, words: str) -> None:
        """Wait until its log has these words."""
        try:
            async with asyncio.timeout(LONG):
                while words not in self.log.read_text():
                    assert self.process.returncode is None, self.log.read_text()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"the runner never says {words!r}, but:\n{self.log.read_text()}") from None

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


@dataclass
class Shop:
    """An operator's and a kubelet's hands, and the parts they work on."""

    story: Story
    kube: FakeKube
    model: ScriptedModel
    store: str
    gateway_url: str
    directory: Path
    _processes: int = field(default=0)

    def request(self, text: str, **changes: Any) -> dict[str, Any]:
        """A prompt step's request to the scripted model."""
        spec = {"provider": "OpenAI", "name": "scripted", "baseURL": self.model.base_url}
        given = {"prompt": {"text": text}, "literal": True, "agent": {"name": "support", "model": spec}}
        return prompt_request(**(given | changes)).model_dump(mode="json", by_alias=True)

    async def start_step(
        self, task: str, text: str, *, number: int = 1, session: str | None = None, **changes: Any
    ) -> tuple[int, StepInCluster]:
        """Insert an attempt and make its Job and pod; returns the attempt's id and the pod."""
        close, cause = changes.pop("close", None), changes.pop("cause", "First")
        changes = changes if session else {"session": None, "history": "None", **changes}
        inserted = await self.story.insert(
            task,
            number=number,
            session_uid=session,
            close=close,
            cause=cause,
            request=self.request(text, **changes),
        )
        assert isinstance(inserted, Inserted), inserted
        step = await add_step(self.kube, job=f"{task}-reply-{number}", task_uid=task)
        return inserted.id, step

    async def start_turn(self, session: str, text: str, **changes: Any) -> tuple[str, int, StepInCluster]:
        """Make a task whose turn it is; returns its uid, the attempt's id and the pod."""
        task = await self.story.task(session)
        await self.story.queue(session, task)
        return task, *await self.start_step(task, text, session=session, **changes)

    async def stay(self, task: str) -> StepInCluster:
        """Make the Job and the pod of a runner that stays with a task."""
        return await add_step(self.kube, job=f"{task}-serve", task_uid=task, stays=True)

    async def run(self, step: StepInCluster, command: str = "step", **environment: str) -> RunnerProcess:
        """Start the runner in a step's pod."""
        self._processes += 1
        token = self.directory / f"token-{self._processes}"
        token.write_text(step.token)
        log = self.directory / f"runner-{self._processes}.log"
        given = {
            "PATH": os.environ["PATH"],
            "PARLEY_GATEWAY_URL": self.gateway_url,
            "PARLEY_STORE_ID": self.store,
            "PARLEY_TOKEN_FILE": str(token),
        }
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "parley.runner.main", command, env=given | environment, stderr=stderr
            )
        return RunnerProcess(process, log)

    async def state_of(self, attempt: int) -> str:
        return str((await self.story.sql("SELECT state FROM attempts WHERE id = %s", attempt))[0][0])
