"""What the model is shown: the system prompt, what was said before, and this turn's own messages."""

from collections.abc import Sequence

from parley.protocol.messages import InputMessage, StoredEvent
from parley.runner.chat import ChatMessage, Said


def conversation(
    system: str, history: Sequence[StoredEvent], own: Sequence[InputMessage], window: int | None
) -> list[ChatMessage]:
    """Put the conversation together.

    Args:
        system: the system prompt; left out if empty.
        history: the events of earlier turns; those that are no messages (states, calls) are not shown.
        own: this turn's messages, always shown.
        window: how many of the newest messages, this turn's included, are shown; None for all.
    """
    earlier = [
        Said(event.role, event.content)
        for event in history
        if event.type == "message" and event.role is not None and isinstance(event.content, str)
    ]
    if window is not None:
        kept = max(window - len(own), 0)
        earlier = earlier[len(earlier) - kept :] if kept < len(earlier) else earlier
    shown: list[ChatMessage] = [Said("system", system)] if system.strip() else []
    return [*shown, *earlier, *(Said(message.role, message.content) for message in own)]
