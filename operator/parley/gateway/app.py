"""The gateway's app, put together."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from parley.gateway import delta_routes, file_routes, health, runner_routes
from parley.gateway.access.people import People
from parley.gateway.api import context, events, messages, replies, sessions, stream, tasks, transfer
from parley.gateway.calling import Backend
from parley.gateway.identity import StepIdentities
from parley.gateway.live.hub import Live
from parley.gateway.metrics import Metrics, RequestMetrics
from parley.gateway.openapi import describe_with
from parley.gateway.problems import add_problem_handlers
from parley.gateway.requests import BodyLimits, RequestIds
from parley.gateway.settings import GatewaySettings
from parley.kube.client import KubeApi
from parley.store.pool import Pool


def create_app(settings: GatewaySettings, pool: Pool, kube: KubeApi) -> FastAPI:
    """Make the app; the caller opens and closes ``pool`` and ``kube``."""
    app = FastAPI(
        title="Parley",
        version=version("parley"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_listening,
    )
    app.state.pool = pool
    app.state.live = Live(pool)
    app.state.delta_sources = delta_routes.Sources()
    app.state.backend = Backend(StepIdentities(kube), pool, settings.call_seconds)
    people = app.state.people = People.over(kube, settings)
    app.state.metrics = Metrics(lambda: people.streams.open)
    add_problem_handlers(app)
    app.include_router(runner_routes.router)
    app.include_router(file_routes.router)
    app.include_router(delta_routes.router)
    for module in (sessions, context, events, messages, stream, tasks, replies, transfer):
        app.include_router(module.router)
    app.include_router(health.router)
    describe_with(app)
    app.add_middleware(BodyLimits, settings=settings)
    # The last one added is the outermost: refused bodies are counted too.
    app.add_middleware(RequestMetrics, metrics=app.state.metrics)
    app.add_middleware(RequestIds)
    return app


@asynccontextmanager
async def _listening(app: FastAPI) -> AsyncGenerator[None]:
    """Hear of what happens while the app is served."""
    live: Live = app.state.live
    async with live.running():
        yield
