"""Models that stay connected between attempts: a connection costs more than all else before a model's first word."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from parley.resources.agent import ModelEndpoint
from parley.runner.chat import ChatMessage, ChatModel, JsonSchema, ModelReply, ToolDefinition
from parley.runner.daemon_thread import in_daemon_thread
from parley.runner.fallbacks import ConnectModel, MakeModel

MOST_IDLE = 16
"""Models without a user that stay connected: an agent that is edited leaves its former ones behind."""

_Key = tuple[str, str | None]


class KeptModels:
    """Models by endpoint and key. They know nothing of who asks: all that is said is in each request.

    Args:
        load: gives the constructor of a model; it imports much the first time.
    """

    def __init__(self, load: Callable[[], MakeModel]) -> None:
        self._load = load
        self._make: MakeModel | None = None
        self._one_at_a_time = asyncio.Lock()
        self._models: OrderedDict[_Key, ChatModel] = OrderedDict()
        self._users: dict[_Key, int] = {}

    async def ready(self) -> ConnectModel:
        """Import what models need, in a thread; returns what lends one."""
        if self._make is None:
            async with self._one_at_a_time:
                self._make = self._make or await in_daemon_thread(self._load)
        return self._lend

    async def _lend(self, spec: ModelEndpoint, key: str | None) -> ChatModel:
        name = (spec.model_dump_json(), key)
        if name not in self._models:
            async with self._one_at_a_time:
                if name not in self._models:
                    self._models[name] = await in_daemon_thread(lambda: self._made(spec, key))
        self._models.move_to_end(name)
        self._users[name] = self._users.get(name, 0) + 1
        return LentModel(self._models[name], lambda: self._returned(name))

    def _made(self, spec: ModelEndpoint, key: str | None) -> ChatModel:
        if self._make is None:
            raise AssertionError("nothing is lent before it is ready")
        return self._make(spec, key)

    async def _returned(self, name: _Key) -> None:
        self._users[name] -= 1
        if not self._users[name]:
            del self._users[name]
        idle = [other for other in self._models if other not in self._users]
        leaving = [self._models.pop(other) for other in idle[: max(len(idle) - MOST_IDLE, 0)]]
        for model in leaving:
            await model.close()

    async def close(self) -> None:
        """Close all connections."""
        models, self._models = list(self._models.values()), OrderedDict()
        await asyncio.gather(*(model.close() for model in models))


class LentModel:
    """A kept model in the hands of one attempt.

    Args:
        model: it.
        give_back: awaited once, when the attempt closes it.
    """

    def __init__(self, model: ChatModel, give_back: Callable[[], Awaitable[None]]) -> None:
        self._model = model
        self._give_back: Callable[[], Awaitable[None]] | None = give_back

    async def ask(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: JsonSchema | None,
        tools: Sequence[ToolDefinition] = (),
        timeout_seconds: float,
        on_text: Callable[[str], None] | None = None,
    ) -> ModelReply:
        """See ``ChatModel``."""
        return await self._model.ask(
            messages, schema=schema, tools=tools, timeout_seconds=timeout_seconds, on_text=on_text
        )

    async def close(self) -> None:
        """Give it back."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            await give_back()
