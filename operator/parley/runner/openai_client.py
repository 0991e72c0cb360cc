"""OpenAI's client, as a runner uses it: quick on long conversations."""

from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any, cast

from openai import AsyncOpenAI
from openai.resources.chat import AsyncChat
from openai.resources.chat.completions import AsyncCompletions


class PlainCompletions(AsyncCompletions):
    """Sends messages as they are.

    The library walks through all of them to rename what is named otherwise on the wire. In messages nothing is, and the
    walk takes 25 ms for 200 of them, in which no other attempt of the process goes on.
    """

    # Takes and gives whatever the overload of the library's own takes and gives.
    async def create(self, **options: Any) -> Any:  # noqa: ANN401 # pyright: ignore[reportIncompatibleMethodOverride]
        """See ``AsyncCompletions.create``."""
        body = cast("dict[str, object]", options.pop("extra_body", None) or {})
        body = {"messages": options.pop("messages"), **body}
        create = cast("Callable[..., Awaitable[object]]", super().create)
        return await create(**options, messages=[], extra_body=body)


class PlainChat(AsyncChat):
    """Chat whose completions send messages as they are."""

    @cached_property
    def completions(self) -> PlainCompletions:  # pyright: ignore[reportIncompatibleMethodOverride] - narrower
        """See ``PlainCompletions``."""
        return PlainCompletions(self._client)


class PlainOpenAI(AsyncOpenAI):
    """OpenAI's client whose chat sends messages as they are."""

    @cached_property
    def chat(self) -> PlainChat:  # pyright: ignore[reportIncompatibleMethodOverride] - narrower
        """See ``PlainCompletions``."""
        return PlainChat(self)
