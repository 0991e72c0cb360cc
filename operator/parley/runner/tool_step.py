"""A tool step's attempt: one call without a model, journaled as a round of its own, so it pauses and resumes alike.

Unlike a model, a task is not told of errors: they fail the step. A failed call is not journaled, so that a retry makes
it again, with the same idempotency key.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from parley.protocol.messages import ContextBody, FinishBody, PauseBody, PausedCall, TakeAnswer, Usage
from parley.protocol.request import AgentSnapshot, ToolRequest
from parley.resources.reasons import Reason
from parley.resources.tools import tool_called
from parley.runner.answers import check_size
from parley.runner.calls import rejection
from parley.runner.chat import ModelCall, ModelReply
from parley.runner.failure import StepFailure
from parley.runner.journal import Journal, error_in
from parley.runner.means import Means
from parley.runner.prompt import step_scope
from parley.runner.text import storable
from parley.runner.tool_opening import OpenTools, open_tools
from parley.runner.tools.errors import ToolProblem
from parley.templates.errors import TemplateError

if TYPE_CHECKING:
    from parley.runner.tools.box import Found

_ROUND = _CALL = 0


class ToolStepRun:
    """One attempt of a tool step."""

    def __init__(self, taken: TakeAnswer, request: ToolRequest, means: Means) -> None:
        self._request = request
        self._means = means
        self._scope = step_scope(request, taken.outputs)
        self._journal = Journal(means.gateway, taken.attempt, taken.journal, taken.replies)
        self.spent = Usage()
        """None: no model is asked."""

    async def run(self) -> FinishBody | PauseBody:
        """Run it.

        Raises:
            StepFailure: it has failed.
        """
        agent = _with_one_tool(self._request.agent, self._request.tool.name)
        tools = await open_tools(self._means.load_tools, agent, self._means.secrets, self._scope)
        try:
            return await self._outcome(tools)
        finally:
            await tools.close()

    async def close(self) -> None:
        """Nothing goes on."""

    async def _outcome(self, tools: OpenTools) -> FinishBody | PauseBody:
        call = await self._journaled_call()
        found = tools.find(call.name)
        done = self._journal.result(_ROUND, _CALL)
        if done is not None:
            return self._success(await self._checked(tools, found, call, done.result))
        if found is None:
            raise self._failure(_unknown(self._request.agent, call.name))
        wrong = await tools.check(call.name, call.arguments)
        if wrong is not None:
            # What a server says of its tools may be otherwise the next time, or the server was away.
            raise self._failure(wrong, definite=found.kind != "Mcp")
        decision = self._journal.decision(_ROUND, _CALL)
        if decision is not None and decision.choice != "approve":
            # Also where the tool needs no approval any more.
            raise StepFailure(
                Reason.REJECTED, f"the call of tool {call.name} was {rejection(decision)}", definite=True
            )
        if found.needs_approval and decision is None:
            return _pause("Approval", call)
        match found.kind:
            case "Container" | "Task":
                return _pause(found.kind, call)
            case "Builtin":
                result = await self._update_context(call)
                return self._success(await self._checked(tools, found, call, result))
            case _:
                return self._success(await self._run(tools, call))

    async def _journaled_call(self) -> ModelCall:
        """The call as the first attempt rendered it: later ones make the same."""
        response = self._journal.response(_ROUND)
        if response is None:
            name = self._request.tool.name
            call = ModelCall(f"call_{_CALL}", name, await self._arguments())
            response = await self._journal.put_response(_ROUND, ModelReply("", Usage(), calls=(call,)))
        return response.model_calls[_CALL]

    async def _arguments(self) -> JsonValue:
        request = self._request
        path = f"{request.path}.arguments"
        try:
            return storable(await self._means.renderer.value(dict(request.tool.arguments), self._scope, path))
        except TemplateError as error:
            raise StepFailure(Reason.TEMPLATE_ERROR, str(error), definite=True) from error

    async def _run(self, tools: OpenTools, call: ModelCall) -> JsonValue:
        key = await self._journal.begin(_ROUND, _CALL, call.name)
        seconds = max(self._means.remaining(), 1.0)
        try:
            result = await tools.run(call.name, call.arguments, key=key, timeout_seconds=seconds)
        except ToolProblem as problem:
            raise self._failure(str(problem), definite=False) from problem
        return await self._journal.put_result(_ROUND, _CALL, storable(result))

    async def _update_context(self, call: ModelCall) -> JsonValue:
        arguments = cast("Mapping[str, JsonValue]", call.arguments)
        changes = cast("dict[str, JsonValue]", arguments.get("changes"))
        return await self._journal.update_context(_ROUND, _CALL, ContextBody(changes=changes))

    async def _checked(
        self, tools: OpenTools, found: "Found | None", call: ModelCall, result: JsonValue
    ) -> JsonValue:
        """A result that the journal has; but for those of http and mcp it may say why there is none."""
        match found.kind if found is not None else None:
            case "Container" | "Task":
                wrong = error_in(result)
            case "Builtin" if isinstance(result, dict):
                wrong = cast("str | None", result.get("error"))
            case _:
                return result
        if wrong is None:
            wrong = await tools.check_result(call.name, result)
        if wrong is not None:
            raise self._failure(wrong)
        return result

    def _success(self, output: JsonValue) -> FinishBody:
        check_size(output, self._request.path)
        return FinishBody(outcome="Succeeded", output=output, events=[], usage=self.spent)

    def _failure(self, why: str, *, definite: bool = True) -> StepFailure:
        return StepFailure(Reason.TOOL_ERROR, f"{self._request.path}: {why}", definite=definite)


def _unknown(agent: AgentSnapshot, name: str) -> str:
    offered = [f"{tool.name}_<its tool>" if tool.mcp is not None else tool.name for tool in agent.tools]
    offered += agent.builtin_tools
    known = f"it has {', '.join(offered)}" if offered else "it has none"
    return f"agent {agent.name} has no tool called {name!r}; {known}"


def _with_one_tool(agent: AgentSnapshot, name: str) -> AgentSnapshot:
    """The agent with no tool but the one that is called: the others may be out of order, or lack their secrets here."""
    called = tool_called(agent.tools, name)
    return agent.model_copy(update={"tools": [called] if called is not None else []})


def _pause(kind: str, call: ModelCall) -> PauseBody:
    waiting = PausedCall.model_validate(
        {"round": _ROUND, "call": _CALL, "kind": kind, "tool": call.name, "arguments": call.arguments}
    )
    return PauseBody(calls=[waiting], events=[], usage=Usage())
