"""Models that stay connected between attempts: a connection costs more than all else before a model's first word."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from parley.resources.agent import ModelEndpoint
from parley.runner.chat import ChatMessage, ChatModel, JsonSchema, ModelReply, ToolDefinition
from parley.runner.fallbacks import MakeModel

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
        self._lock = threading.Lock()
        self._models: OrderedDict[_Key, ChatModel] = OrderedDict()
        self._users: dict[_Key, int] = {}

    def load(self) -> MakeModel:
        """Import what models need; returns what lends one. For threads."""
        make = self._load()
        return lambda spec, key: self._lend(make, spec, key)

    def _lend(self, make: MakeModel, spec: ModelEndpoint, key: str | None) -> "LentModel":
        name = (spec.model_dump_json(), key)
        with self._lock:
            model = self._models.get(name)
            if model is None:
                model = self._models[name] = make(spec, key)
            self._models.move_to_end(name)
            self._users[name] = self._users.get(name, 0) + 1
        return LentModel(model, lambda: self._returned(name))

    async def _returned(self, name: _Key) -> None:
        with self._lock:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name]
            idle = [other for other in self._models if other not in self._users]
            leaving = [self._models.pop(other) for other in idle[: max(len(idle) - MOST_IDLE, 0)]]
        for model in leaving:
            await model.close()

    async def close(self) -> None:
        """Close all connections."""
        with self._lock:
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
