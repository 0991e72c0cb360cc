"""A gateway on a real port, in a thread of its own, for clients that block: with a Session, a Task and some people."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from uuid import uuid4

import pytest
from parley.gateway.api import replies
from parley.gateway.app import create_app
from parley.gateway.settings import GatewaySettings
from parley.kube.client import TokenIdentity
from parley.store.leader import raise_epoch
from parley.store.pool import connect, open_pool

from tests.fake_kube import FakeKube
from tests.integration.gateway.people import EVERYTHING, Desk, add_task, waiting_task
from tests.integration.gateway.running import LONG, serving
from tests.integration.store.story import Story
from tests.postgres import EmbeddedPostgres

SLOW_SECONDS = 3.0
"""How long a body may take here."""


def in_a_thread(
    run: Callable[[asyncio.Event, Callable[[str], None]], Coroutine[Any, Any, None]],
) -> Iterator[str]:
    """Run a server in an event loop of its own, for a client that blocks; yields its URL."""
    told: list[str] = []
    ready, ended = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        await run(ended, lambda url: (told.append(url), ready.set())[0])

    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failures.append(error)
            ready.set()
            raise

    thread = threading.Thread(target=guarded)
    thread.start()
    assert ready.wait(LONG), "the server does not start"
    assert not failures, failures
    try:
        yield told[0]
    finally:
        loops[0].call_soon_threadsafe(ended.set)
        thread.join(LONG)
        assert not thread.is_alive(), "the server does not end"


@pytest.fixture(scope="module")
def people_gateway(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The gateway's URL. ann may do everything in the namespace, nobody nothing."""
    name = f"fuzz_{uuid4().hex}"
    database = postgres_server.create(name, "migrated")
    kube = FakeKube()

    async def run(ended: asyncio.Event, tell: Callable[[str], None]) -> None:
        async with open_pool(database, size=8) as pool:
            async with connect(pool) as conn:
                story = Story(pool, await raise_epoch(conn, str(uuid4()), "parley", "operator-0"))
            app = create_app(
                GatewaySettings(database_url="", requests_per_second=0, body_seconds=SLOW_SECONDS), pool, kube
            )
            desk = Desk(kube, story, None)  # type: ignore[arg-type]
            kube.allowed = desk.allows
            desk.person("ann", *EVERYTHING, "act-for users/alice")
            desk.person("nobody")
            kube.identities["token-of-a-step"] = TokenIdentity(
                authenticated=True,
                username="system:serviceaccount:shop:default",
                audiences=("parley", "https://kubernetes.default.svc"),
            )
            await desk.session("first", spec={"user": {"id": "alice"}, "context": {"order": "12345"}})
            await add_task(desk, waiting_task("one", "first", "Refund?"))
            async with serving(app) as url:
                tell(url)
                await ended.wait()

    with pytest.MonkeyPatch.context() as patch:
        # Nobody decides about a Reply here.
        patch.setattr(replies, "DECISION_SECONDS", 0.05)
        yield from in_a_thread(run)
    postgres_server.drop(name)
