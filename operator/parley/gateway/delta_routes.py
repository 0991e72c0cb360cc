"""Pieces of answers, as runners send them ahead (``/runner/v1``). None is kept, and no turn waits for one."""

import time
from typing import Annotated

from fastapi import Path, Request

from parley.gateway.calling import Backend, Caller, Calling, Store, step_router
from parley.gateway.identity import Remembered
from parley.gateway.live.hub import Live
from parley.gateway.live.readers import Delta
from parley.protocol.messages import DeltaAnswer, DeltaBody
from parley.store.readers import DeltaSource, delta_source

SOURCE_SECONDS = 5.0
"""How long a piece may still be shown of an attempt that was closed; the committed events are not touched by it."""
_MAX_ID = 2**63 - 1

router = step_router()


class Sources:
    """Whose answers pieces are of, as the store said a moment ago."""

    def __init__(self) -> None:
        self._known: Remembered[tuple[int, str], tuple[DeltaSource | None]] = Remembered(
            SOURCE_SECONDS, time.monotonic
        )

    async def of(self, attempt: int, caller: Caller, backend: Backend) -> DeltaSource | None:
        """Return what the attempt is, None for one that the caller does not hold or that is no turn's."""
        key = (attempt, caller.holder)
        if (known := self._known.get(key)) is not None:
            return known[0]
        async with backend.store_of(caller) as conn:
            found = await delta_source(conn, attempt, caller.holder)
        return self._known.put(key, (found,))[0]


@router.post("/attempts/{attempt}/deltas")
async def put_delta(
    request: Request,
    attempt: Annotated[int, Path(ge=1, le=_MAX_ID)],
    body: DeltaBody,
    caller: Calling,
    backend: Store,
) -> DeltaAnswer:
    """Show a piece of the answer to whoever reads the session along; the answer tells whether anybody does."""
    sources: Sources = request.app.state.delta_sources
    live: Live = request.app.state.live
    source = await sources.of(attempt, caller, backend)
    if source is None:
        return DeltaAnswer(wanted=False)
    delta = Delta(
        session_uid=source.session_uid,
        task=source.task,
        step=source.step,
        attempt=source.attempt,
        round=body.round,
        offset=body.offset,
        text=body.text,
    )
    return DeltaAnswer(wanted=await live.deltas.send(delta))
