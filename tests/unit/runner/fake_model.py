"""A model that says what the test tells it to, in order."""

from collections.abc import Callable, Sequence
from typing import Any

from parley.protocol.messages import Usage
from parley.runner.chat import ChatMessage, JsonSchema, ModelCall, ModelFailure, ModelReply, ToolDefinition


def reply(text: str = "", **more: Any) -> ModelReply:
    return ModelReply(text=text, usage=Usage(input_tokens=10, output_tokens=3), **more)


def calls(*names: str) -> ModelReply:
    return reply(calls=tuple(ModelCall(f"call_{i}", name, {"n": i}) for i, name in enumerate(names)))


class FakeModel:
    def __init__(self, *says: ModelReply | ModelFailure | Exception) -> None:
        self._says = list(says)
        self.asked: list[list[ChatMessage]] = []
        self.offered: list[list[str]] = []
        self.schemas: list[JsonSchema | None] = []
        self.closed = False

    async def ask(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: JsonSchema | None,
        tools: Sequence[ToolDefinition] = (),
        timeout_seconds: float,
        on_text: Callable[[str], None] | None = None,
    ) -> ModelReply:
        assert timeout_seconds > 0
        self.asked.append(list(messages))
        self.offered.append([tool.name for tool in tools])
        self.schemas.append(schema)
        said = self._says.pop(0)
        if isinstance(said, Exception):
            raise said
        if on_text is not None and said.text:
            on_text(said.text)
        return said

    async def close(self) -> None:
        self.closed = True
