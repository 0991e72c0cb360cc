"""What was said in a session before this turn, from its events to what a model can be shown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import JsonValue, ValidationError

from parley.protocol.messages import CallContent, ResultContent, StoredEvent, SummaryContent
from parley.runner.chat import Called, ModelCall, Said
from parley.runner.journal import error_result
from parley.runner.limits import Unit

Content = TypeVar("Content", CallContent, ResultContent, SummaryContent)

LOST_RESULT = error_result("the result is no longer kept")


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose view of the conversation it is.

    Attributes:
        agent: name of the agent that speaks now.
        several: the session has several users or agents, so messages say who they are from.
        knows_tools: the model is offered tools; servers refuse calls in a conversation without.
    """

    agent: str
    several: bool = False
    knows_tools: bool = True

    def said(self, role: str | None, text: str, speaker: str | None) -> Said:
        """A message as this agent's model sees it: what other agents say, is said to it."""
        mine = role == "assistant" and (not self.several or speaker in {None, self.agent})
        if mine:
            return Said("assistant", text)
        return Said("user", f"{speaker}: {text}" if self.several and speaker else text)

    def is_other(self, speaker: str | None) -> bool:
        """Whether another agent said it."""
        return speaker is not None and speaker != self.agent


@dataclass(frozen=True, slots=True)
class Past:
    """What was said before: the newest summary, and what it does not stand for, oldest first."""

    units: list[Unit] = field(default_factory=list[Unit])
    summary: SummaryContent | None = None
    summary_sequence: int | None = None


@dataclass(slots=True)
class _Round:
    """One round's calls, as they are found among the events."""

    speaker: str | None
    calls: list[tuple[int, CallContent]] = field(default_factory=list[tuple[int, CallContent]])
    results: dict[str, tuple[int, JsonValue]] = field(default_factory=dict[str, tuple[int, JsonValue]])


def past_of(history: Sequence[StoredEvent], reader: Reader) -> Past:
    """Read events of ended turns, in the order their turns were granted.

    A call whose result is missing is shown with an error as its result; a result without its call is not shown.
    """
    units: list[Unit] = []
    rounds: dict[tuple[object, ...], _Round] = {}
    newest: tuple[int, SummaryContent] | None = None

    def flush() -> None:
        for found in rounds.values():
            units.extend(_units_of_round(found, reader))
        rounds.clear()

    for event in history:
        match event.type:
            case "message" if isinstance(event.content, str):
                flush()
                units.append(Unit(reader.said(event.role, event.content, event.speaker), (event.sequence,)))
            case "toolCall" if (call := _read(CallContent, event)) is not None:
                found = rounds.setdefault(_round_of(event, call.round), _Round(event.speaker))
                found.calls.append((event.sequence, call))
            case "toolResult" if (result := _read(ResultContent, event)) is not None:
                if (found := rounds.get(_round_of(event, result.round))) is not None:
                    found.results[result.id] = event.sequence, _told(result)
            case "state":
                if (note := _task_ended(event.content)) is not None:
                    flush()
                    units.append(Unit(Said("user", note), (event.sequence,), counts=False))
            case "summary" if (summary := _read(SummaryContent, event)) is not None:
                if newest is None or event.sequence > newest[0]:
                    newest = event.sequence, summary
            case _:
                pass
    flush()
    sequence, summary = newest or (None, None)
    return Past(units, summary, sequence)


def _round_of(event: StoredEvent, number: int) -> tuple[object, ...]:
    return event.task, event.step, event.item, number


def _told(result: ResultContent) -> JsonValue:
    return result.result if result.note is None else {"note": result.note}


def _units_of_round(found: _Round, reader: Reader) -> list[Unit]:
    """A round as it is shown: another agent's calls are not, for its tools are none of this one's."""
    text = next((call.text for _, call in found.calls if call.text), "")
    used = [found.results[call.id] for _, call in found.calls if call.id in found.results]
    sequences = tuple(sequence for sequence, _ in [*found.calls, *used])
    if reader.several and reader.is_other(found.speaker):
        said = reader.said("assistant", text, found.speaker)
        return [Unit(said, sequences, counts=False)] if text else []
    # Ids that tell calls apart in the whole conversation, in characters that every server takes.
    calls = tuple(ModelCall(f"call_{sequence}", call.tool, call.arguments) for sequence, call in found.calls)
    results = tuple(found.results.get(call.id, (0, LOST_RESULT))[1] for _, call in found.calls)
    called = Called(text, calls, results)
    return [Unit(called if reader.knows_tools else Said("user", in_words(called)), sequences, counts=False)]


def in_words(called: Called) -> str:
    """Calls and results as a note."""
    told = [
        f"Tool {call.name} was called with {_json(call.arguments)} and gave {_json(result)}"
        for call, result in zip(called.calls, called.results, strict=True)
    ]
    return note_of("; ".join(told))


def note_of(text: str) -> str:
    """Mark what Parley says among what people say."""
    return f"[Note of the system: {text}]"


def _task_ended(content: JsonValue) -> str | None:
    """What the model is told of the end of a Task that it queued."""
    if not isinstance(content, dict) or content.get("state") != "TaskEnded":
        return None
    told = f"Task {content.get('task')} has ended: {content.get('phase')}."
    if content.get("phase") != "Succeeded" and content.get("message"):
        told += f" {content.get('reason')}: {content.get('message')}"
    if content.get("output") is not None:
        told += f" Its output: {_json(content.get('output'))}"
    return note_of(told)


def _json(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _read(model: type[Content], event: StoredEvent) -> Content | None:
    """An event's content; None for one that is erased, or of a version that writes it otherwise."""
    try:
        return model.model_validate(event.content)
    except ValidationError:
        return None
