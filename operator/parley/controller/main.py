"""The operator's entry point: stand by, win the Lease, lead, and leave cleanly."""

import asyncio
import gc
import logging
import signal
import sys

from parley.controller.health import Health
from parley.controller.leadership import Leadership
from parley.controller.metrics import API_WRITES
from parley.controller.settings import Settings
from parley.kube.client_live import LiveKube
from parley.kube.fenced import FencedKube
from parley.kube.lease import LeaseElector, LostLease, process_identity
from parley.store.pool import open_pool

log = logging.getLogger("parley.operator")
_POOL_SIZE = 10
_RECURSION_LIMIT = 60_000
_COLLECT_EVERY = 20_000
"""New containers between two runs of the collector; with Python's 700 a long list takes twice as long to read."""


async def operate(settings: Settings) -> int:
    """Run one candidate's life; returns the process's exit code."""
    health = Health()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with (
        await LiveKube.open() as kube,
        health.serve(settings.http_port),
        open_pool(settings.database_url, size=_POOL_SIZE) as pool,
    ):
        elector = LeaseElector(
            kube, namespace=settings.namespace, identity=process_identity(settings.identity)
        )
        fenced = FencedKube(
            kube, elector.assert_fresh, lambda verb, kind: API_WRITES.labels(verb, kind).inc()
        )
        leadership = Leadership(settings, fenced, pool, elector, health)
        leading = asyncio.create_task(elector.lead(leadership.lead), name="election")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait({leading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            log.info("told to stop")
        stopping.cancel()
        leading.cancel()
        outcome = (await asyncio.gather(leading, return_exceptions=True))[0]
    if isinstance(outcome, LostLease):
        log.error("%s", outcome)
        return 1
    if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
        log.error("the leader failed", exc_info=outcome)
        return 1
    return 0 if stop.is_set() else 1


def main() -> None:
    """Run the operator."""
    # The API server takes JSON up to 10,000 levels deep; one such object must not end every list and watch.
    sys.setrecursionlimit(_RECURSION_LIMIT)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # What was imported stays; it need not be looked through again and again.
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 10, 10)
    sys.exit(asyncio.run(operate(Settings.from_environment())))
