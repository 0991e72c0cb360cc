"""The gateway's own process: it starts while everything is away, and leaves when told to."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx2

from tests.integration.gateway.running import LONG, free_port

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: none, user: {token: none}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
current-context: none
"""


async def test_it_serves_while_database_and_api_server_are_away_and_ends_on_sigterm(tmp_path: Path) -> None:
    port, kubeconfig = free_port(), tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    environment = {
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(kubeconfig),
        "PARLEY_DATABASE_URL": "postgresql://parley:secret-word@127.0.0.1:1/parley",
        "PARLEY_HTTP_PORT": str(port),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "parley.gateway.main", env=environment, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(LONG), httpx2.AsyncClient(trust_env=False) as client:
        while True:
            try:
                alive = await client.get(f"http://127.0.0.1:{port}/healthz")
                break
            except httpx2.ConnectError:
                assert process.returncode is None
                await asyncio.sleep(0.05)
        ready = await client.get(f"http://127.0.0.1:{port}/readyz", timeout=30)
        take = await client.post(
            f"http://127.0.0.1:{port}/runner/v1/take", headers={"Authorization": "Bearer abc"}, timeout=60
        )
        process.send_signal(signal.SIGTERM)
        _, said = await process.communicate()

    assert (alive.status_code, ready.status_code, take.status_code) == (200, 503, 503)
    assert process.returncode == 0, said.decode()
    assert b"stopped" in said
    assert b"secret-word" not in said
