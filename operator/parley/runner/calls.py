"""The calls of one round: which run now, which wait for a person, a Job or a Task, and what each gives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from pydantic import JsonValue

from parley.protocol.messages import ContextBody, PausedCall, ReplyEntry
from parley.runner.chat import ModelCall
from parley.runner.journal import Journal, error_in, error_result, size_of
from parley.runner.text import storable
from parley.runner.tools.errors import ToolProblem

if TYPE_CHECKING:
    from parley.runner.tools.box import Found

MAX_RESULT_BYTES = 256 * 1024
"""Largest result that a model is given, as JSON."""


class Tools(Protocol):
    """What calls need of the agent's tools; see ``tools.box.ToolBox``."""

    def find(self, name: str) -> "Found | None":
        """Return what a name stands for."""
        ...

    async def check(self, name: str, arguments: JsonValue) -> str | None:
        """Say what is wrong with arguments."""
        ...

    async def check_result(self, name: str, result: JsonValue) -> str | None:
        """Say what is wrong with a result."""
        ...

    async def run(self, name: str, arguments: JsonValue, *, key: str, timeout_seconds: float) -> JsonValue:
        """Make a call of kind Http or Mcp."""
        ...


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """What has become of a round's calls: each has a result or waits."""

    results: dict[int, JsonValue] = field(default_factory=dict[int, JsonValue])
    waiting: list[PausedCall] = field(default_factory=list[PausedCall])


class Calls:
    """Carries out what a model asks for.

    Args:
        journal: of the step; everything that is done is there before the next thing begins.
        tools: the agent's.
        names: of the tools the model is offered, for telling it so.
        context_version: of the session's stored context, as the model was told it.
        remaining: seconds until the attempt's deadline.
    """

    def __init__(
        self,
        journal: Journal,
        tools: Tools,
        names: Sequence[str],
        context_version: int | None,
        remaining: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._tools = tools
        self._names = names
        self._context_version = context_version
        self._remaining = remaining

    async def run(self, number: int, calls: Sequence[ModelCall]) -> RoundOutcome:
        """Run what can run now, one call after the other; collect what must wait."""
        outcome = RoundOutcome()
        for place, call in enumerate(calls):
            done = await self._call(number, place, call)
            if isinstance(done, PausedCall):
                outcome.waiting.append(done)
            else:
                outcome.results[place] = done.result
        return outcome

    async def _call(self, number: int, place: int, call: ModelCall) -> "PausedCall | _Result":
        found = self._tools.find(call.name)
        if (done := self._journal.result(number, place)) is not None:
            self._note_version(found, done.result)
            return _Result(await self._as_shown(found, call.name, done.result))
        if found is None:
            return await self._refuse(number, place, self._unknown(call.name))
        wrong = await self._tools.check(call.name, call.arguments)
        if wrong is not None:
            return await self._refuse(number, place, wrong)
        decision = self._journal.decision(number, place)
        if decision is not None and decision.choice != "approve":
            # Also where the tool needs no approval any more.
            return await self._refuse(number, place, rejection(decision))
        if found.needs_approval and decision is None:
            return _paused(number, place, "Approval", call)
        match found.kind:
            case "Container" | "Task":
                return _paused(number, place, found.kind, call)
            case "Builtin":
                return await self._update_context(number, place, call)
            case _:
                return await self._run(number, place, call)

    async def _run(self, number: int, place: int, call: ModelCall) -> "_Result":
        key = await self._journal.begin(number, place, call.name)
        try:
            result = await self._tools.run(
                call.name, call.arguments, key=key, timeout_seconds=max(self._remaining(), 1.0)
            )
        except ToolProblem as problem:
            result = error_result(str(problem))
        result = storable(result)
        return _Result(await self._journal.put_result(number, place, _too_large(result) or result))

    async def _update_context(self, number: int, place: int, call: ModelCall) -> "_Result":
        arguments = cast("dict[str, JsonValue]", call.arguments)
        changes = cast("dict[str, JsonValue]", arguments.get("changes"))
        body = ContextBody(changes=changes, version=self._context_version)
        result = await self._journal.update_context(number, place, body)
        self._note_version(self._tools.find(call.name), result)
        return _Result(result)

    async def _refuse(self, number: int, place: int, why: str) -> "_Result":
        return _Result(await self._journal.put_result(number, place, error_result(why)))

    async def _as_shown(self, found: "Found | None", name: str, result: JsonValue) -> JsonValue:
        """A journaled result, as the model is given it: a container's was not looked at by any runner before."""
        if found is None or found.kind != "Container" or error_in(result) is not None:
            return result
        wrong = await self._tools.check_result(name, result)
        return error_result(wrong) if wrong is not None else _too_large(result) or result

    def _note_version(self, found: "Found | None", result: JsonValue) -> None:
        """Whatever the model was told last of the context is what its next change starts from."""
        if found is not None and found.kind == "Builtin" and isinstance(result, dict):
            version = result.get("version")
            self._context_version = version if isinstance(version, int) else self._context_version

    def _unknown(self, name: str) -> str:
        known = f"there are: {', '.join(self._names)}" if self._names else "there are none"
        return f"there is no tool called {name!r}; {known}"


@dataclass(frozen=True, slots=True)
class _Result:
    result: JsonValue


def rejection(decision: ReplyEntry) -> str:
    """Say who has rejected a call, and why."""
    if decision.by is None:
        return f"rejected: {decision.message or 'nobody answered in time'}"
    return f"rejected by {decision.by}" + (f": {decision.message}" if decision.message else "")


def _paused(number: int, place: int, kind: str, call: ModelCall) -> PausedCall:
    return PausedCall.model_validate(
        {"round": number, "call": place, "kind": kind, "tool": call.name, "arguments": call.arguments}
    )


def _too_large(result: JsonValue) -> dict[str, JsonValue] | None:
    size = size_of(result)
    if size <= MAX_RESULT_BYTES:
        return None
    return error_result(f"the result has {size} bytes as JSON, more than the {MAX_RESULT_BYTES} it may have")
