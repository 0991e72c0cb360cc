"""Entry point ``parley-gateway``: serve until SIGTERM, then answer what is under way and leave."""

import asyncio
import gc
import logging
import signal
import sys

import uvicorn
from starlette.types import ASGIApp

from parley.gateway.app import create_app
from parley.gateway.connections import PromptHeaders
from parley.gateway.live.hub import Live
from parley.gateway.settings import GatewaySettings
from parley.kube.client_live import KubeConfigError, LiveKube
from parley.store.pool import open_pool

DRAIN_SECONDS = 15
"""How long requests under way may take after SIGTERM."""
KEEP_ALIVE_SECONDS = 75
_LOOK_SECONDS = 0.1

log = logging.getLogger("parley.gateway")


def server_config(settings: GatewaySettings, app: ASGIApp) -> uvicorn.Config:
    """Return how the app is served."""
    return uvicorn.Config(
        app,
        host="0.0.0.0",  # noqa: S104 - a pod's port
        port=settings.http_port,
        http=PromptHeaders,
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        server_header=False,
    )


async def serve(settings: GatewaySettings) -> None:
    """Serve until a signal says stop."""
    # uvicorn raises the signal again once it has drained; the default would then end the process at once, with
    # the connections still open.
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    async with (
        await LiveKube.open() as kube,
        open_pool(settings.database_url, size=settings.pool_size) as pool,
    ):
        app = create_app(settings, pool, kube)
        log.info("serving on port %d", settings.http_port)
        server = uvicorn.Server(server_config(settings, app))
        ending = asyncio.create_task(_end_streams(server, app.state.live))
        try:
            await server.serve()
        finally:
            ending.cancel()
    log.info("stopped")


async def _end_streams(server: uvicorn.Server, live: Live) -> None:
    """Let streams end when the server is told to stop: it waits for them, and tells the app only afterwards."""
    while not server.should_exit:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(_LOOK_SECONDS)
    live.end_streams()


def main() -> None:
    """Run the gateway."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # What was imported stays: it need not be looked through again and again, while everybody waits.
    gc.collect()
    gc.freeze()
    try:
        asyncio.run(serve(GatewaySettings.from_environment()))
    except KubeConfigError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
