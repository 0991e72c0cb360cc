"""What a model says, passed on while it says it, for people who watch. Nothing here delays a turn or fails it."""

import asyncio
from collections.abc import Awaitable, Callable

from parley.protocol.messages import DeltaBody
from parley.runner.gateway_client import GatewayClient
from parley.runner.text import storable_text

FIRST_SECONDS = 0.05
"""Until the first piece: an answer that is whole by then comes as the event that it is, and once."""
PACE_SECONDS = 0.08
"""Between two pieces: faster than anybody reads."""
UNWATCHED_SECONDS = 3.0
"""How long nothing is sent once nobody watches."""
LAST_SECONDS = 0.2
"""How long the last piece may be on its way when the turn is over and committed."""
MAX_PIECE = 2000
"""Characters of one piece: what the gateways tell each other must be short."""


class Deltas:
    """Passes on the answers of one attempt's model. Close it at the end.

    Args:
        gateway: where they go.
        attempt: whose they are.
        sleep: between pieces, for tests.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        attempt: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gateway = gateway
        self._attempt = attempt
        self._sleep = sleep
        self._round = 0
        self._text = ""
        self._sent = 0
        self._more = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        self._under_way = False
        self._over = False

    def hears(self, round_number: int) -> Callable[[str], None]:
        """Return what is told an answer's text piece by piece; "" says that it begins anew."""

        def on_text(piece: str) -> None:
            if not piece:
                self._round, self._text, self._sent = round_number, "", 0
                return
            self._text += storable_text(piece)
            self._more.set()
            if self._sending is None:
                self._sending = asyncio.create_task(self._send())

        return on_text

    def stop(self) -> None:
        """Begin to send no more: what is left comes with the answer itself."""
        self._over = True

    async def close(self) -> None:
        """End; a piece on its way is waited for a little, for its connection is worth keeping."""
        self.stop()
        if self._sending is not None:
            if self._under_way:
                await asyncio.wait({self._sending}, timeout=LAST_SECONDS)
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    async def _send(self) -> None:
        await self._sleep(FIRST_SECONDS)
        while not self._over:
            await self._more.wait()
            piece = self._text[self._sent : self._sent + MAX_PIECE]
            if not piece:
                self._more.clear()
                continue
            told = self._round, self._sent
            body = DeltaBody(round=told[0], offset=told[1], text=piece)
            self._under_way = True
            wanted = await self._gateway.tell(self._attempt, body)
            self._under_way = False
            # Where nobody watched it counts as unsent: who comes later is shown all of it.
            if wanted and told == (self._round, self._sent):
                self._sent += len(piece)
            if not self._over:
                await self._sleep(PACE_SECONDS if wanted else UNWATCHED_SECONDS)
