"""Server-sent events as the gateway's models, over connections that break: the rules of both clients, without I/O."""

import httpx2
from pydantic import ValidationError

from parley.api.common import ApiModel
from parley.api.events import EventView
from parley.api.messages import MessageAccepted
from parley.api.stream import (
    LAST_EVENT_ID_HEADER,
    Bye,
    DeltaView,
    Done,
    Hello,
    SessionChange,
    TaskChange,
)
from parley.client.errors import ParleyError, Unreachable
from parley.client.patience import Patience, Retries

StreamItem = Hello | EventView | DeltaView | TaskChange | SessionChange
"""What a stream brings: every event once and in order, the others as they happen."""
ChatItem = MessageAccepted | EventView | DeltaView | TaskChange | SessionChange | Done
"""What a chat brings: the message is accepted first, the turn is done last."""

_MODELS: dict[str, type[ApiModel]] = {
    "hello": Hello,
    "event": EventView,
    "delta": DeltaView,
    "task": TaskChange,
    "session": SessionChange,
    "accepted": MessageAccepted,
    "done": Done,
    "bye": Bye,
}
_ONCE = (Hello, MessageAccepted)
"""Told anew by each connection, and to whoever reads once."""


class Following:
    """Where a stream is.

    Args:
        url: of the gateway, for messages.
        retries: how long nobody may answer.
        last: sequence of the event after which it begins; None: where the gateway begins.
    """

    def __init__(self, url: str, retries: Retries, last: int | None = None) -> None:
        self.over = False
        """Nothing more will come."""
        self._url = url
        self._retries = retries
        self._last = last
        self._begun = False
        self._heard = False
        self._patience = Patience(retries, repeatable=True)
        self._refusal: httpx2.Response | None = None

    def headers(self) -> dict[str, str]:
        """What a connection says of where to go on."""
        self._heard, self._refusal = False, None
        headers = {"Accept": "text/event-stream"}
        if self._last is not None:
            headers[LAST_EVENT_ID_HEADER] = str(self._last)
        return headers

    def refused(self, response: httpx2.Response) -> None:
        """Take note of an answer that is no stream."""
        self._refusal = response

    def pause(self, error: Exception | None) -> float:
        """How many seconds to wait before connecting again.

        Raises:
            ParleyError: the gateway refused.
            Unreachable: nobody has answered for too long, or what answers is no gateway.
        """
        if isinstance(error, httpx2.SSEError):
            raise Unreachable(self._url, f"what answers is no gateway: {error}") from error
        if self._heard:
            # It was there a moment ago: a gateway that ends, or a connection that broke.
            self._patience = Patience(self._retries, repeatable=True)
        if self._refusal is not None:
            pause = self._patience.after_answer(self._refusal)
            if pause is None:
                raise ParleyError.of(self._refusal)
            return pause
        pause = self._patience.after_end()
        if pause is None:
            raise Unreachable(
                self._url, str(error) if error else "the stream ends again and again"
            ) from error
        return pause

    def take(self, told: httpx2.ServerSentEvent) -> ApiModel | None:
        """What is new in a server-sent event; None for what was told before, and for what a newer gateway says.

        Raises:
            Unreachable: it cannot be read.
        """
        model = _MODELS.get(told.event)
        if model is None:
            return None
        try:
            item = model.model_validate_json(told.data)
        except ValidationError as error:
            raise Unreachable(self._url, f"its {told.event!r} cannot be read by this client") from error
        self._heard = True
        if isinstance(item, EventView):
            if self._last is not None and item.sequence <= self._last:
                return None
            self._last = item.sequence
        if isinstance(item, Bye):
            self.over = item.reason != "Shutdown"
            return None
        if isinstance(item, _ONCE):
            if told.id.isdecimal():
                # Where this connection begins: from there the next one goes on, if this one breaks at once.
                self._last = max(self._last or 0, int(told.id))
            if self._begun:
                return None
            self._begun = True
        self.over = isinstance(item, Done)
        return item
