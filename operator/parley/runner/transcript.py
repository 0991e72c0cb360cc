"""What a turn adds to its session beside its messages: calls, their results, and in which order.

Each event has a key, so that pausing and finishing may both send all of them: the store leaves out what it has.
"""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from parley.protocol.messages import CallContent, EventDraft, ResultContent
from parley.runner.chat import ModelCall

NOT_RUN = "returned to the caller, not run"


class Transcript:
    """The events of one step's rounds so far.

    Args:
        step: its name.
        item: the place of the forEach's item, -1 without one.
        speaker: name of the agent whose model calls.
    """

    def __init__(self, step: str, item: int, speaker: str) -> None:
        self._step = step
        self._item = item
        self._speaker = speaker
        self.events: list[EventDraft] = []

    def add_round(
        self, number: int, text: str, calls: Sequence[ModelCall], results: Mapping[int, JsonValue]
    ) -> None:
        """Add a round's calls, then the results that there are, both in the order of the calls.

        Args:
            number: the round's.
            text: what the model said beside the calls.
            calls: all of the round.
            results: by the call's place; those that are missing wait.
        """
        self._add_calls(number, text, calls)
        for place in sorted(results):
            self._add_result(number, place, calls[place].name, result=results[place])

    def add_calls_not_run(self, text: str, calls: Sequence[ModelCall]) -> None:
        """Add calls that are given to whoever asked, and that say so in place of their results."""
        self._add_calls(0, text, calls)
        for place, call in enumerate(calls):
            self._add_result(0, place, call.name, note=NOT_RUN)

    def _add_calls(self, number: int, text: str, calls: Sequence[ModelCall]) -> None:
        for place, call in enumerate(calls):
            content = CallContent(
                id=self._id(number, place),
                round=number,
                call=place,
                tool=call.name,
                arguments=call.arguments,
                text=(text or None) if place == 0 else None,
            )
            left_out = {"text"} if content.text is None else None
            written = content.model_dump(mode="json", by_alias=True, exclude=left_out)
            key = f"call/{number}/{place}"
            self.events.append(EventDraft(type="toolCall", content=written, key=key, speaker=self._speaker))

    def _add_result(
        self, number: int, place: int, tool: str, *, result: JsonValue = None, note: str | None = None
    ) -> None:
        content = ResultContent(
            id=self._id(number, place), round=number, call=place, tool=tool, result=result, note=note
        )
        left_out = {"note"} if note is None else {"result"}
        written = content.model_dump(mode="json", by_alias=True, exclude=left_out)
        key = f"result/{number}/{place}"
        self.events.append(EventDraft(type="toolResult", content=written, key=key, speaker=self._speaker))

    def _id(self, number: int, place: int) -> str:
        return f"{self._step}/{self._item}/{number}/{place}"
