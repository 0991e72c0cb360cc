"""The operator's HTTP port: liveness, readiness, metrics.

Liveness never depends on Postgres or the API server: a restart mends neither. It fails when the event loop hangs (no
answer at all) or when the leader's own writes do not come back through its watches. Readiness: a candidate is ready;
a leader is ready while it can work.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

_OVERDUE_SECONDS = 90.0


class Health:
    """What the probes answer."""

    def __init__(self) -> None:
        self._trouble: str | None = None
        self._overdue: Callable[[], float] | None = None

    def ready(self) -> None:
        """Say that this process can do its work."""
        self._trouble = None

    def not_ready(self, why: str) -> None:
        """Say why this process cannot do its work now."""
        self._trouble = why

    def lead(self, overdue: Callable[[], float] | None) -> None:
        """Watch a leader's watches, or no more."""
        self._overdue = overdue

    async def _healthz(self, _request: web.Request) -> web.Response:
        overdue = self._overdue() if self._overdue else 0.0
        if overdue > _OVERDUE_SECONDS:
            return web.Response(
                status=500, text=f"a watch is stuck: a write of {overdue:.0f} s ago was not seen\n"
            )
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        if self._trouble is not None:
            return web.Response(status=503, text=f"{self._trouble}\n")
        return web.Response(text="ok: leads\n" if self._overdue else "ok: stands by\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @asynccontextmanager
    async def serve(self, port: int) -> AsyncGenerator[None]:
        """Serve the probes while the block runs."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 - a pod's port, for the kubelet and Prometheus
        try:
            yield
        finally:
            await runner.cleanup()
