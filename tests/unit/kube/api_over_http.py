"""A small HTTP server that answers as an API server does, and the live client at it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from parley.kube.client_live import LiveKube


class ApiServer:
    """Answers every request with the next of ``answers`` and keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], object]] = []
        self.content_types: list[str] = []
        self.authorization: list[str] = []
        self.answers: list[web.Response] = []
        self.released = asyncio.Event()
        self.released.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append(
            (request.method, request.path, dict(request.query), json.loads(body) if body else None)
        )
        self.content_types.append(request.headers.get("Content-Type", ""))
        self.authorization.append(request.headers.get("Authorization", ""))
        await self.released.wait()
        return self.answers.pop(0) if self.answers else web.Response(status=500)

    def answer(self, body: object, status: int = 200, **headers: str) -> None:
        self.answers.append(
            web.json_response(
                body, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()}
            )
        )

    def refuse(self, status: int, reason: str, message: str = "no", **headers: str) -> None:
        self.answer(
            {"kind": "Status", "status": "Failure", "reason": reason, "message": message}, status, **headers
        )


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    api = ApiServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {"token": "secret"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    yield api
    await runner.cleanup()


@pytest.fixture
async def kube(server: ApiServer) -> AsyncIterator[LiveKube]:
    del server
    async with await LiveKube.open() as client:
        yield client
