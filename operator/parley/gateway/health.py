"""Liveness, readiness and metrics. Liveness never depends on the store or the API server: a restart mends neither."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from parley.gateway.metrics import Metrics
from parley.gateway.problems import unavailable
from parley.store.errors import StoreUnavailable
from parley.store.identity import store_id
from parley.store.pool import Pool, connect

READY_SECONDS = 3.0

router = APIRouter(include_in_schema=False)


def _pool(request: Request) -> Pool:
    return request.app.state.pool


def _metrics(request: Request) -> Metrics:
    return request.app.state.metrics


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Tell that the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(pool: Annotated[Pool, Depends(_pool)]) -> Response:
    """Tell whether the store is there, with its schema."""
    try:
        async with asyncio.timeout(READY_SECONDS), connect(pool) as conn:
            store = await store_id(conn)
    except (StoreUnavailable, TimeoutError) as error:
        return unavailable("Not ready", str(error) or "the store does not answer")
    return JSONResponse({"status": "ok", "store": store})


@router.get("/metrics")
async def metrics(metrics: Annotated[Metrics, Depends(_metrics)]) -> Response:
    """Give Prometheus what it scrapes."""
    return metrics.exposition()
