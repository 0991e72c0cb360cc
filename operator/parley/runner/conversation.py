"""What the model is shown: the system prompt, what was said before as far as there is room, and this turn."""

from collections.abc import Sequence
from dataclasses import dataclass

from parley.protocol.messages import SummaryContent
from parley.protocol.request import ContextOverflow
from parley.resources.reasons import Reason
from parley.runner.chat import ChatMessage, Said
from parley.runner.failure import StepFailure
from parley.runner.limits import Room, Unit, first_shown, tokens_of
from parley.runner.past import Past, note_of

_MOST_SUMMARY_BYTES = 8192
_LEAST_SUMMARY_BYTES = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """A session's limits of what one request to the model may hold.

    Attributes:
        window: newest messages, this turn's included.
        budget: tokens, estimated.
        overflow: what becomes of what is beyond.
        session: the session's name, for messages.
    """

    window: int | None = None
    budget: int | None = None
    overflow: ContextOverflow = "Truncate"
    session: str = ""

    @property
    def summary_bytes(self) -> int:
        """Longest summary: a quarter of the budget."""
        return max(min(_MOST_SUMMARY_BYTES, self.budget or _MOST_SUMMARY_BYTES), _LEAST_SUMMARY_BYTES)


class Conversation:
    """Puts requests to the model together.

    Args:
        system: the system prompt; left out if empty.
        past: what was said before this turn.
        own: how many messages this turn begins with; a window counts them.
        limits: the session's.
        tools_tokens: what it takes to offer the tools.
    """

    def __init__(
        self, system: str, past: Past, own: int, limits: Limits | None = None, tools_tokens: int = 0
    ) -> None:
        self._system = [Said("system", system)] if system.strip() else []
        self._past = past
        self._own = own
        self._limits = limits or Limits()
        self._tools_tokens = tools_tokens

    @property
    def past(self) -> Past:
        """What was said before this turn."""
        return self._past

    def shown(self, turn: Sequence[ChatMessage]) -> list[ChatMessage]:
        """The whole request; the oldest of what was said before is left out where there is no room.

        Args:
            turn: this turn's messages so far, which are always shown.

        Raises:
            StepFailure: BudgetExceeded, definite: this turn alone has no room, or the session wants nothing left out.
        """
        start = first_shown(self._past.units, self._room(turn))
        if start > 0 and self._limits.overflow == "Fail":
            self._fail()
        return [*self._beginning, *(unit.message for unit in self._past.units[start:]), *turn]

    def to_sum_up(self, turn: Sequence[ChatMessage]) -> Sequence[Unit]:
        """What a summary must stand for so that the rest has room, and more than the next message has.

        Nothing if this turn alone has no room: no summary would help.
        """
        budget = self._limits.budget
        if self._limits.overflow != "Summarize" or (budget is not None and self._needed(turn) > budget):
            return []
        room = self._room(turn)
        if first_shown(self._past.units, room) == 0:
            return []
        free = tokens_of(Said("user", "x" * self._limits.summary_bytes))
        return self._past.units[: first_shown(self._past.units, room.halved(free))]

    def with_summary(self, summary: SummaryContent, stands_for: int) -> "Conversation":
        """The conversation with a summary in place of the first units."""
        past = Past(self._past.units[stands_for:], summary)
        return Conversation(self._only_system, past, self._own, self._limits, self._tools_tokens)

    @property
    def _only_system(self) -> str:
        return self._system[0].text if self._system else ""

    @property
    def _beginning(self) -> list[ChatMessage]:
        if self._past.summary is None:
            return [*self._system]
        told = note_of(f"What was said before, summed up:\n{self._past.summary.text}")
        return [*self._system, Said("user", told)]

    def _room(self, turn: Sequence[ChatMessage]) -> Room:
        window, budget = self._limits.window, self._limits.budget
        messages = None if window is None else max(window - self._own, 0)
        if budget is None:
            return Room(messages)
        needed = self._needed(turn)
        if needed > budget:
            raise StepFailure(
                Reason.BUDGET_EXCEEDED,
                f"session {self._limits.session} allows {budget} tokens in one request (spec.limits.tokenBudget), and "
                f"the system prompt, the tools and this turn alone need about {needed}",
                definite=True,
            )
        return Room(messages, budget - needed)

    def _needed(self, turn: Sequence[ChatMessage]) -> int:
        """Tokens of all that is always shown."""
        return sum(map(tokens_of, [*self._beginning, *turn])) + self._tools_tokens

    def _fail(self) -> None:
        window, budget = self._limits.window, self._limits.budget
        allowed = [f"{window} messages (contextWindow)"] if window is not None else []
        allowed += [f"{budget} tokens (tokenBudget)"] if budget is not None else []
        raise StepFailure(
            Reason.BUDGET_EXCEEDED,
            f"session {self._limits.session} has outgrown what its spec.limits allow to show the model, "
            f"{' and '.join(allowed)}, and its contextOverflow is Fail: raise the limit, let it Truncate or Summarize, "
            "or clear the history (spec.clearHistory)",
            definite=True,
        )
