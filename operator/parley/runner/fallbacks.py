"""An agent's models in order: who is asked, when the next one is, and who answered."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from parley.protocol.model_keys import model_key_variable
from parley.resources.agent import ModelEndpoint, ModelSpec
from parley.resources.common import shorten
from parley.resources.reasons import Reason
from parley.runner.chat import ChatMessage, ChatModel, JsonSchema, ModelFailure, ModelReply, ToolDefinition
from parley.runner.daemon_thread import in_daemon_thread
from parley.runner.failure import MAX_MESSAGE_BYTES, StepFailure, model_label
from parley.runner.patience import ask_patiently

LONGEST_REQUEST_SECONDS = 600.0
_SHORTEST_REQUEST_SECONDS = 1.0
_FAILURES = frozenset({Reason.MODEL_ERROR, Reason.MODEL_RATE_LIMITED})

MakeModel = Callable[[ModelEndpoint, str | None], ChatModel]
ConnectModel = Callable[[ModelEndpoint, str | None], Awaitable[ChatModel]]

log = logging.getLogger(__name__)


def in_thread(make: MakeModel) -> ConnectModel:
    """Make models in a thread: it may import much."""

    async def connect(spec: ModelEndpoint, key: str | None) -> ChatModel:
        return await in_daemon_thread(lambda: make(spec, key))

    return connect


class ModelChain:
    """The model of an agent and its fallbacks.

    The next model is asked when one has failed for good or its patience is over. A refusal and an answer that is cut
    off are answers: nobody else is asked for a better one. A model that has failed is not asked again in this attempt.

    Args:
        spec: the agent's models.
        keys: API keys by variable, see ``model_key_variable``.
        connect: gives a model.
        remaining: seconds until the attempt's deadline.
        sleep: between tries, for tests.
    """

    def __init__(
        self,
        spec: ModelSpec,
        keys: Mapping[str, str],
        connect: ConnectModel,
        remaining: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._specs = spec.in_order
        self._keys = keys
        self._connect = connect
        self._remaining = remaining
        self._sleep = sleep
        self._failures: list[StepFailure] = []
        self._model: ChatModel | None = None

    @property
    def spec(self) -> ModelEndpoint:
        """The model that is asked at present."""
        return self._specs[self._place]

    @property
    def label(self) -> str:
        """Name and server of the model that is asked at present."""
        return model_label(self.spec)

    @property
    def field(self) -> str:
        """The Agent's field that describes it."""
        return f"spec.model.fallbacks[{self._place - 1}]" if self._place else "spec.model"

    @property
    def _place(self) -> int:
        return min(len(self._failures), len(self._specs) - 1)

    @property
    def note(self) -> str | None:
        """Who answered and why not the agent's first model; None if that one did."""
        if not self._failures:
            return None
        return shorten(f"answered by fallback model {self.label}, for {self._told()}", MAX_MESSAGE_BYTES)

    async def ask(
        self,
        messages: Sequence[ChatMessage],
        schema: JsonSchema | None,
        tools: Sequence[ToolDefinition] = (),
        on_text: Callable[[str], None] | None = None,
    ) -> ModelReply:
        """Ask until a model answers.

        Args:
            messages: the whole conversation.
            schema: the answer should fit it.
            tools: what the model may call.
            on_text: is told the answer's text as it comes, and "" before each try: it begins anew.

        Raises:
            StepFailure: ModelError or ModelRateLimited: none has.
        """
        while len(self._failures) < len(self._specs):
            try:
                reply = await self._ask_one(messages, schema, tools, on_text)
            except StepFailure as failure:
                if failure.reason not in _FAILURES:
                    raise
                self._failures.append(failure)
                await self.close()
                if len(self._failures) < len(self._specs):
                    log.warning("a model has failed, the next one is asked", extra={"why": failure.message})
            else:
                return replace(reply, model=self.label)
        raise self._outcome()

    async def close(self) -> None:
        """Close all connections."""
        model, self._model = self._model, None
        if model is not None:
            await model.close()

    async def _ask_one(
        self,
        messages: Sequence[ChatMessage],
        schema: JsonSchema | None,
        tools: Sequence[ToolDefinition],
        on_text: Callable[[str], None] | None,
    ) -> ModelReply:
        model = self._model = self._model or await self._connected()
        # A model that does not answer leaves the others their shares of what is left of the time.
        others = len(self._specs) - len(self._failures) - 1
        kept = self._remaining() * others / (others + 1)

        async def once() -> ModelReply:
            # The last one's is not the deadline's: that may move, and cuts the request short by itself.
            share = max(self._remaining() - kept, _SHORTEST_REQUEST_SECONDS) if others else math.inf
            seconds = min(share, LONGEST_REQUEST_SECONDS)
            if on_text is not None:
                on_text("")
            return await model.ask(
                messages, schema=schema, tools=tools, timeout_seconds=seconds, on_text=on_text
            )

        return await ask_patiently(
            once, model=self.label, remaining=lambda: self._remaining() - kept, sleep=self._sleep
        )

    async def _connected(self) -> ChatModel:
        spec, reference = self.spec, self.spec.api_key_secret_ref
        key = None if reference is None else self._keys.get(model_key_variable(reference))
        if reference is not None and key is None:
            raise StepFailure(
                Reason.MODEL_ERROR,
                f"model {self.label} needs key {reference.key} of Secret {reference.name}, and this pod was started "
                "without it: the Agent has changed since",
            )
        try:
            return await self._connect(spec, key)
        except ModelFailure as failure:
            message = f"model {self.label} {failure.message}"
            raise StepFailure(Reason.MODEL_ERROR, message, definite=True) from failure

    def _outcome(self) -> StepFailure:
        """Sum up: worth a retry if one of the models may be, and then as soon as the first of them may be asked."""
        if len(self._failures) == 1:
            return self._failures[0]
        open_ = [failure for failure in self._failures if not failure.definite]
        limited = bool(open_) and all(failure.reason is Reason.MODEL_RATE_LIMITED for failure in open_)
        waits = [failure.retry_after or 0 for failure in open_]
        return StepFailure(
            Reason.MODEL_RATE_LIMITED if limited else Reason.MODEL_ERROR,
            f"no model answered: {self._told()}",
            definite=not open_,
            retry_after=min(waits, default=0) or None,
        )

    def _told(self) -> str:
        """All failures, each cut so that all are told."""
        room = MAX_MESSAGE_BYTES // len(self._specs) - 32
        return "; ".join(shorten(failure.message, room) for failure in self._failures)
